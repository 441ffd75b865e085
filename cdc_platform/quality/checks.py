"""The verdicts: what was expected, what was found, and what follows. Pure; how the numbers are had is the engine's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from cdc_platform.errors import CdcError
from cdc_platform.model.digest import Digest

DEFAULT_LAG_THRESHOLD_SECONDS = 300.0

Status = Literal["PASS", "FAIL", "WARNING"]
ValidationType = Literal["row_count", "checksum", "lag", "schema", "verify"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One check's outcome (data model, section 4.2, without its identifiers). Details hold no cell values but keys.

    `type` is a `ValidationType`, or `rule:<name>`.
    """

    type: str
    status: Status
    expected: str
    actual: str
    details: Mapping[str, Any]
    duration_ms: int = 0

    @property
    def details_json(self) -> str:
        return json.dumps(self.details, default=str, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Checked:
    """The verdicts on one pipeline; with an error, those that could be had before it."""

    pipeline: str
    verdicts: tuple[Verdict, ...]
    error: CdcError | None = None


def row_count(source: int, destination: int, position: str, tolerance: float = 0.0) -> Verdict:
    """Rows at one position. `tolerance` is a share of the source's rows (data model 8.3 allows 0.01), 0 by default."""
    difference = destination - source
    passed = abs(difference) <= tolerance * source
    details = {"position": position, "difference": difference, "tolerance": tolerance}
    return Verdict("row_count", _status(passed), _rows(source), _rows(destination), details)


def checksum(source: Digest, destination: Digest, position: str, columns: list[str]) -> Verdict:
    """Digests of all rows at one position, over the named destination columns."""
    details = {
        "position": position,
        "columns": columns,
        "source_rows": source.rows,
        "destination_rows": destination.rows,
    }
    return Verdict("checksum", _status(source == destination), str(source), str(destination), details)


def checksum_impossible(reason: str) -> Verdict:
    """A checksum that cannot be computed is no pass."""
    return Verdict("checksum", "WARNING", "a digest", "none", {"reason": reason})


def lag(seconds: float, threshold_seconds: float) -> Verdict:
    """The age of the oldest change that is not in the destination yet; 0 when there is none."""
    details = {"lag_seconds": round(seconds, 3), "threshold_seconds": threshold_seconds}
    passed = seconds <= threshold_seconds
    return Verdict("lag", _status(passed), f"<= {threshold_seconds:g} s", f"{seconds:.3f} s", details)


def schema(
    expected: Mapping[str, str], actual: Mapping[str, str], version: int = 1, history: Mapping[int, Any] | None = None
) -> Verdict:
    """Column names and types: what the source's shape calls for, and what the destination has.

    `version` numbers the source's shape, `history` tells how it came from the first one.
    """
    missing = sorted(expected.keys() - actual.keys())
    unexpected = sorted(actual.keys() - expected.keys())
    different = {n: [expected[n], actual[n]] for n in expected if n in actual and expected[n] != actual[n]}
    passed = not (missing or unexpected or different)
    details = {
        "missing": missing,
        "unexpected": unexpected,
        "different": different,
        "schema_version": version,
        "schema_history": dict(history or {}),
    }
    found = f"{len(actual)} columns"
    if not passed:
        found += f": {len(missing)} missing, {len(unexpected)} unexpected, {len(different)} of another type"
    return Verdict("schema", _status(passed), f"{len(expected)} columns", found, details)


def beside_quarantine(verdict: Verdict, changes: int, rows: int) -> Verdict:
    """A comparison that left rows out because their last change is in quarantine: no pass, and no failure for that."""
    status: Status = "WARNING" if verdict.status == "PASS" else verdict.status
    details = {**verdict.details, "quarantined_changes": changes, "rows_left_out": rows}
    return replace(verdict, status=status, details=details, actual=f"{verdict.actual}, {changes} changes in quarantine")


def verified(
    rows: int, counts: Mapping[str, int], equal: bool, details: Mapping[str, Any], milliseconds: int
) -> Verdict:
    """Every row compared at one position. `counts` are of keys that are missing, unexpected and different.

    What was found is told also where it was mended: then it is a warning.
    """
    found = _rows(rows) if equal else ", ".join(f"{number} {kind}" for kind, number in counts.items())
    status: Status = "PASS" if equal else "WARNING" if details.get("repaired") else "FAIL"
    return Verdict("verify", status, _rows(rows), found, details, milliseconds)


def rule(
    name: str, words: str, rows: int, broken: int, keys: Sequence[Mapping[str, Any]], position: str, duration_ms: int
) -> Verdict:
    """A rule on the source's rows at one position: how many break it, and the keys of a few of them."""
    details = {"position": position, "rows": rows, "broken": broken, "keys": list(keys)}
    found = f"{broken} of {rows} rows break it"
    return Verdict(rule_type(name), _status(broken == 0), words, found, details, duration_ms)


def rule_absent(name: str, reason: str) -> Verdict:
    """A rule on a table that is not followed yet."""
    return Verdict(rule_type(name), "FAIL", "a captured table", "none", {"reason": reason})


def rule_type(name: str) -> str:
    """The validation type of a rule's verdicts."""
    return f"rule:{name}"


def absent(kind: ValidationType, reason: str) -> Verdict:
    """The check of a pipeline that has nothing to check yet."""
    return Verdict(kind, "FAIL", "a destination table", "none", {"reason": reason})


def in_gap(kind: ValidationType, reason: str) -> Verdict:
    """The check of a pipeline whose table is in a gap: whatever the numbers are, they are no proof."""
    return Verdict(kind, "FAIL", "no gap", "a gap", {"reason": reason})


def _status(passed: bool) -> Status:
    return "PASS" if passed else "FAIL"


def _rows(count: int) -> str:
    return f"{count} rows"
