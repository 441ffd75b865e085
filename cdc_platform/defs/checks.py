"""What is checked, as asset checks: destinations against their sources (row_count, checksum, lag, schema), and source
tables against the rules that their pipelines state, each rule a check.

The engine computes all of a pipeline, or of a table, at one source position; one op serves them and gives out those
asked for. They are not blocking: a destination is filled while its check is red, and `cdc check` is the command for CI.
"""

# Annotations are not postponed here: Dagster reads the context's type from them.

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from cdc_platform.defs.failures import as_dagster
from cdc_platform.defs.installation import Installation
from cdc_platform.defs.naming import FlowAssets
from cdc_platform.defs.progress import logged
from cdc_platform.engine.check import check, check_source_rules, enabled_checks
from cdc_platform.engine.source_rules import rules_of
from cdc_platform.errors import CdcError
from cdc_platform.quality.checks import ValidationType, Verdict, rule_type

_DESCRIPTIONS: dict[ValidationType, str] = {
    "row_count": "As many rows as the source has, counted at one source position.",
    "checksum": "The same rows as the source, by a digest of all cells at one source position.",
    "lag": "The oldest change that is missing in the table is younger than the threshold.",
    "schema": "The columns and types that the source's shape calls for.",
}


def destination_checks(installation: Installation, flow: FlowAssets) -> dg.AssetChecksDefinition | None:
    """The pipeline's enabled checks; None where it has none."""
    enabled = enabled_checks(flow.pipeline)
    if not enabled:
        return None

    @dg.multi_asset_check(
        name=f"check_{flow.resource}",
        specs=[dg.AssetCheckSpec(kind, asset=flow.destination, description=_DESCRIPTIONS[kind]) for kind in enabled],
        can_subset=True,
    )
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        wanted = {key.name for key in context.selected_asset_check_keys}
        settings, environment = installation.settings, installation.environment()
        (done,) = check(
            settings, environment, installation.pipelines, [flow.pipeline], logged(context.log), with_rules=False
        )
        for verdict in done.verdicts:
            if verdict.type in wanted:
                yield check_result(flow.destination, verdict)
        if done.error is not None:
            raise as_dagster(done.error, context) from None

    return checks


def source_checks(installation: Installation, flows: Sequence[FlowAssets]) -> dg.AssetChecksDefinition | None:
    """The rules of one source table, which all of `flows` read; None where they state none."""
    rules = {rule_type(one.rule.name): one.rule for one in rules_of([flow.part for flow in flows])}
    if not rules:
        return None
    source = flows[0].source

    @dg.multi_asset_check(
        name=f"rules_{'_'.join(source.path)}",
        specs=[dg.AssetCheckSpec(rule.name, asset=source, description=rule.words) for rule in rules.values()],
        can_subset=True,
    )
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        wanted = {key.name for key in context.selected_asset_check_keys}
        settings, environment = installation.settings, installation.environment()
        mine = [flow.pipeline for flow in flows]
        try:
            done = check_source_rules(settings, environment, installation.pipelines, mine, logged(context.log))
        except CdcError as error:
            raise as_dagster(error, context) from None
        for verdict in (v for checked in done for v in checked.verdicts):
            if rules[verdict.type].name in wanted:
                yield check_result(source, verdict, rules[verdict.type].name)
        if failed := [checked.error for checked in done if checked.error is not None]:
            raise as_dagster(failed[0], context) from None

    return checks


def check_result(asset: dg.AssetKey, verdict: Verdict, name: str = "") -> dg.AssetCheckResult:
    """A verdict as Dagster has it; details that are numbers become numbers, which are plotted over time."""
    metadata: dict[str, Any] = {
        "expected": verdict.expected,
        "actual": verdict.actual,
        "duration_ms": verdict.duration_ms,
        **verdict.details,
    }
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=name or verdict.type,
        passed=verdict.status == "PASS",
        severity=dg.AssetCheckSeverity.WARN if verdict.status == "WARNING" else dg.AssetCheckSeverity.ERROR,
        description=f"expected {verdict.expected}, found {verdict.actual}",
        metadata=metadata,
    )
