"""The log of a Delta destination: commits that carry which version of the change log is in the table.

How a commit gets into its place is `delta_commit.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from deltalake import DeltaTable

from cdc_platform.delta_commit import LOG, commit_info, now, put
from cdc_platform.destinations.commit import Conflict
from cdc_platform.destinations.destination import Applied
from cdc_platform.failpoints import failpoint
from cdc_platform.model.evidence import Evidence

__all__ = [
    "BASIS",
    "CHECKPOINT_INTERVAL",
    "EVIDENCE",
    "LOG",
    "LOG_ID",
    "POSITION",
    "VERSION",
    "app_id",
    "commit",
    "commit_info",
    "now",
    "put",
    "whole_number",
]

LOG_ID, VERSION, POSITION, EVIDENCE = "cdc.log_id", "cdc.version", "cdc.position", "cdc.evidence"
BASIS: Final = "cdc.basis"
CHECKPOINT_INTERVAL: Final = "delta.checkpointInterval"


def commit(
    table: DeltaTable,
    root: Path,
    operation: str,
    actions: Sequence[Mapping[str, Any]],
    applied: Applied | None,
    evidence: Evidence | None = None,
) -> None:
    """Make the version after the table's, holding `applied` and `evidence` if any; the table is brought up to it.

    Raises Conflict when somebody else made that version first: nothing has been written then.
    """
    noted: list[Mapping[str, Any]] = [commit_info(operation)]
    if applied is not None:
        position = {LOG_ID: applied.log_id, VERSION: str(applied.version), POSITION: applied.position}
        position |= {BASIS: applied.basis} if applied.basis else {}
        position |= {} if evidence is None else {EVIDENCE: evidence.text()}
        transaction = {"appId": app_id(applied.log_id), "version": applied.version, "lastUpdated": now()}
        noted = [commit_info(operation, **position), {"txn": transaction}]
    try:
        put(root, table.version() + 1, [*noted, *actions])
        failpoint("delta.commit.made")
    except FileExistsError as error:
        raise Conflict from error
    table.update_incremental()
    interval = whole_number(table.metadata().configuration, CHECKPOINT_INTERVAL, 100)
    if interval > 0 and table.version() % interval == 0:
        table.create_checkpoint()
        failpoint("delta.checkpointed")
        table.cleanup_metadata()


def whole_number(properties: Mapping[str, str], name: str, default: int) -> int:
    """A table property that is a whole number; what is none counts as not set."""
    try:
        return int(properties.get(name, default))
    except ValueError:
        return default


def app_id(log_id: str) -> str:
    """Under which a table keeps the version of a change log that is in it."""
    return f"cdc:{log_id}"
