"""The checks of a derived table: against its inputs' change logs, at the versions that its commit names."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cdc_platform.config.load import Pipeline
from cdc_platform.config.pipeline import QualityCheck
from cdc_platform.config.settings import Settings
from cdc_platform.engine.derivation.opened import Derivation, open_derivation
from cdc_platform.engine.derivation.standing import standing
from cdc_platform.engine.derivation.verified import Compared, up_to_date, verified
from cdc_platform.engine.progress import Progress
from cdc_platform.errors import CdcError, ConfigError
from cdc_platform.quality import checks
from cdc_platform.quality.checks import DEFAULT_LAG_THRESHOLD_SECONDS, Checked, ValidationType, Verdict

Options = Mapping[ValidationType, QualityCheck]


def check_derived(
    settings: Settings,
    environment: Mapping[str, str],
    everything: Sequence[Pipeline],
    pipeline: Pipeline,
    options: Options,
    progress: Progress,
) -> Checked:
    """The enabled checks of one derived pipeline."""
    verdicts: list[Verdict] = []
    error: CdcError | None = None
    try:
        flow = open_derivation(settings, environment, pipeline)
        if (gap := flow.gap()) is not None:
            return Checked(pipeline.id, tuple(checks.in_gap(kind, gap.reason) for kind in options), gap.error())
        if not flow.captured() or flow.destination.schema() is None:
            reason = f"nothing derived yet; run: cdc run {pipeline.id}"
            return Checked(pipeline.id, tuple(checks.absent(kind, reason) for kind in options))
        if "lag" in options:
            began = time.monotonic()
            behind = standing(settings, environment, everything, flow).lag_seconds or 0.0
            threshold = options["lag"].threshold_seconds or DEFAULT_LAG_THRESHOLD_SECONDS
            verdicts.append(_timed(checks.lag(behind, threshold), began))
        if "schema" in options:
            began = time.monotonic()
            verdicts.append(_timed(_schema(flow), began))
        up_to_date(settings, environment, everything, flow, progress)
        began = time.monotonic()
        compared = verified(flow, progress, hashed=_hashed(flow, options))
        verdicts += [_timed(verdict, began) for verdict in _compared(flow, compared, options)]
    except CdcError as caught:
        error = caught
    return Checked(pipeline.id, tuple(verdicts), error)


def _compared(flow: Derivation, compared: Compared, options: Options) -> list[Verdict]:
    found = compared.found
    kinds: list[ValidationType] = [kind for kind in ("row_count", "checksum") if kind in options]
    if found is None:
        return [checks.absent(kind, "; ".join(compared.columns)) for kind in kinds]
    verdicts = []
    if "row_count" in options:
        tolerance = options["row_count"].tolerance
        verdicts.append(checks.row_count(found.expected.rows, found.found.rows, compared.position, tolerance))
    if "checksum" in options:
        columns = _hashed(flow, options) or [field.name for field in flow.definition.table.computed]
        verdicts.append(checks.checksum(found.expected, found.found, compared.position, columns))
    return verdicts


def _hashed(flow: Derivation, options: Options) -> list[str] | None:
    """The columns that the checksum is over, where the check names them."""
    named = options["checksum"].columns if "checksum" in options else None
    known = [field.name for field in flow.definition.table.computed]
    for name in named or ():
        if name not in known:
            raise ConfigError(f"{flow.pipeline.where}: quality_checks.columns: there is no column '{name}' to compare")
    return named


def _schema(flow: Derivation) -> Verdict:
    expected = {field.name: str(field.type) for field in flow.target.fields}
    found = {field.name: str(field.type) for field in flow.destination.schema() or ()}
    return checks.schema(expected, found)


def _timed(verdict: Verdict, began: float) -> Verdict:
    return replace(verdict, duration_ms=round((time.monotonic() - began) * 1000))
