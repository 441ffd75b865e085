"""Where changes are kept that may not reach a pipeline's destination: one Delta table a pipeline.

A row says which change it is (event, position, key), why it was held back, and its images as JSON text. The change
log keeps the change itself: a replay reads it there.

Why each change is in once: `log_version` is the version of the change log with which the destination goes on past it.
The rows are committed before that; when the process dies in between, the destination is still before `log_version`,
and `settle` takes them out before the same changes are looked at again. One writer at a time (the engine's lock).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final, Literal

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from cdc_platform.errors import ConfigError

_UTC: Final = pa.timestamp("us", "UTC")
SCHEMA: Final = pa.schema(
    [
        ("pipeline_id", pa.string()),
        ("log_id", pa.string()),  # of which change log, and between which of its versions the change is
        ("log_after", pa.int64()),
        ("log_version", pa.int64()),
        ("event_id", pa.string()),
        ("operation", pa.string()),
        ("position", pa.string()),
        ("key", pa.string()),
        ("rule", pa.string()),  # the rule that is broken, or null where the destination cannot hold a value
        ("column", pa.string()),
        ("reason", pa.string()),
        ("before", pa.string()),
        ("after", pa.string()),
        ("source_ts", _UTC),
        ("capture_ts", _UTC),
        ("quarantined_ts", _UTC),
    ]
)


class Quarantine:
    """The quarantine at `path`; made when the first change is put there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        return self._table() is not None

    def rows(self) -> pl.DataFrame:
        """Everything in it, with the columns of `SCHEMA`, in order of arrival."""
        table = self._table()
        empty = pl.from_arrow(SCHEMA.empty_table())
        assert isinstance(empty, pl.DataFrame)
        if table is None:
            return empty
        try:
            held = pl.scan_delta(table).select(SCHEMA.names).collect()
        except (OSError, DeltaError, pl.exceptions.PolarsError) as error:
            raise ConfigError(f"the quarantine at {self.path} cannot be read: {type(error).__name__}") from error
        return held.cast(empty.schema).sort("log_version", "position", "event_id", maintain_order=True)

    def add(self, rows: pl.DataFrame) -> None:
        """Put rows in, in one commit."""
        self._write(rows, "append")

    def settle(self, log_id: str, version: int) -> None:
        """Take out what a process that died before its destination's commit has put in; the log is at `version`."""
        if not self.exists():
            return
        rows = self.rows()
        early = (pl.col("log_id") == log_id) & (pl.col("log_version") > version)
        if rows.select(early.any()).item():
            self._write(rows.filter(~early), "overwrite")

    def remove(self, events: Collection[str]) -> None:
        """Take out the changes of these ids, in one commit."""
        if events:
            rows = self.rows()
            self._write(rows.filter(~pl.col("event_id").is_in(list(events))), "overwrite")

    def _write(self, rows: pl.DataFrame, mode: Literal["append", "overwrite"]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            table = rows.select(SCHEMA.names).to_arrow().cast(SCHEMA)
            write_deltalake(str(self.path), table, mode=mode)
        except (OSError, DeltaError) as error:
            raise ConfigError(f"cannot write the quarantine at {self.path}: {type(error).__name__}") from error

    def _table(self) -> DeltaTable | None:
        try:
            return DeltaTable(str(self.path))
        except TableNotFoundError:
            return None
        except (OSError, DeltaError) as error:
            raise ConfigError(f"the quarantine at {self.path} cannot be read: {type(error).__name__}") from error
