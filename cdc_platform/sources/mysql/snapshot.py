"""A consistent read of the whole database, bound to the place in the binlog that it corresponds to.

    start transaction with consistent snapshot ──> coordinates ──> touch all tables ──> select, select, ...

Rows come as text, one SELECT a table, read from the socket in chunks whose cells are walked column by column for
all rows at once; `sources/cells.py` makes them typed columns. Texts come in their columns' own character sets, because
the server would make question marks of what it cannot convert: `characters.py` converts them.

MariaDB keeps the coordinates that belong to the snapshot; on MySQL a short global read lock makes the two agree.
Layer: sources.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import polars as pl

from cdc_platform.errors import ConfigError, InvalidRow, NeedsPerson, Unavailable
from cdc_platform.model import canonical
from cdc_platform.model.change import INSERT, OPERATION, TIMESTAMP_UTC, ChangeBatch
from cdc_platform.model.key_range import WHOLE, Bound, KeyRange, cut, runs
from cdc_platform.model.position import Notation, Position, binlog_at
from cdc_platform.model.schema import TableName, TableSchema
from cdc_platform.sources.cells import BadCell, Cells, column
from cdc_platform.sources.mysql.batches import struct_type
from cdc_platform.sources.mysql.binlog import file_sequence
from cdc_platform.sources.mysql.catalogue import Catalogue, Table, quoted
from cdc_platform.sources.mysql.characters import UTF8, Codepage
from cdc_platform.sources.mysql.connection import MySQLConnection, Session, TableChanged, quote, session
from cdc_platform.sources.mysql.digests import NO_HASH, in_sql
from cdc_platform.sources.mysql.digests import statement as digest_statement
from cdc_platform.sources.mysql.moments import ZERO_DATE
from cdc_platform.sources.mysql.packets import COM_QUERY, PacketReader, Packets
from cdc_platform.sources.mysql.ranges import bound_of, ranged, step, where
from cdc_platform.sources.mysql.server import NO_BINLOG, Server, read_head
from cdc_platform.sources.mysql.textrows import expression, walk_text_rows
from cdc_platform.sources.mysql.types import LABELLED, STRINGS, MySQLType
from cdc_platform.sources.mysql.values import string_column

CHUNK_BYTES = 16 << 20
_LOCK_SECONDS = 30
_MOMENTS = {"date", "datetime", "timestamp"}
_ATTEMPTS = 5

Altered = Callable[[int], bool]
"""Whether the log from this place on tells that a table of the snapshot was altered, renamed, dropped or truncated."""

_SETTINGS = (
    "set session sql_mode = ''",  # how values print must not depend on the server's settings
    "set session time_zone = '+00:00'",
    "set session character_set_results = null",  # texts as they are kept
    "set session net_write_timeout = 3600",  # the reader may be busy writing
    "set session wait_timeout = 28800",
    "set session transaction isolation level repeatable read",
)


@dataclass(slots=True)
class MySQLSnapshot:
    """The state of the database at `position`, which is in the terms of `notation`; lives as long as its session, the
    server's connection `number`."""

    target: MySQLConnection
    session: Session
    notation: Notation
    position: Position
    taken: datetime
    number: int
    catalogue: Catalogue
    readers: int = 1
    _reader: PacketReader | None = field(default=None)

    def schema(self, table: TableName) -> TableSchema:
        """The table's shape in this snapshot."""
        return self.catalogue.tables([table])[table].schema

    def count(self, table: TableName) -> int:
        """Rows of the table in this snapshot."""
        self._finish()
        ((count,),) = self.session.rows(f"select count(*) from {quoted(table)}")
        return int(count)

    def read(
        self, table: TableName, columns: Sequence[str] | None = None, within: KeyRange | None = None
    ) -> Iterator[ChangeBatch]:
        """All rows of the table or of a range of it, chunk by chunk; see `sources.source.Snapshot`."""
        self._finish()
        whole = self.catalogue.tables([table])[table]
        schema, done = _narrowed(whole, columns).schema, 0
        for rows in self.select(table, where(whole, within), columns):
            yield self._batch(schema, rows, done)
            done += rows.height

    def select(self, table: TableName, rest: str, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """Bare rows that `rest`, the SQL behind FROM, picks and orders; with `columns`, only those."""
        self._finish()
        narrowed = _narrowed(self.catalogue.tables([table])[table], columns)
        select = ", ".join(
            expression(quote(name), kind) for name, kind in zip(narrowed.schema.names, narrowed.types, strict=True)
        )
        sql = f"select {select} from {quoted(table)}{rest}"
        codepages = [self._codepage(kind) for kind in narrowed.types]  # asked for before the session is busy
        reader = PacketReader(self.session.connection, COM_QUERY, sql.encode(), CHUNK_BYTES)
        self._reader = reader
        reader.preamble()
        done = 0
        while True:
            packets = reader.read()
            reader.keep(len(packets))
            if len(packets):
                yield self._rows(narrowed, codepages, packets, done)
                done += len(packets)
            if reader.ended:
                return

    def split(self, table: TableName, rows: int, within: KeyRange | None = None) -> list[KeyRange]:
        """The table in key ranges of about so many rows; see `sources.source.Snapshot`."""
        self._finish()
        whole = self.catalogue.tables([table])[table]
        name = ranged(whole)
        if name is None:
            return [within or WHOLE]
        high = within.high[0] if within and within.high else None

        def key(low: Bound | None, beyond: bool) -> Bound | None:
            found = self.session.rows(step(whole, name, low, high, beyond=beyond, rows=rows))
            return bound_of(found[0][0], whole, name) if found else None

        return cut(name, within or WHOLE, key)

    def digests(self, table: TableName, columns: Sequence[str], ranges: Sequence[KeyRange]) -> pl.DataFrame:
        """Rows and digest of each range; see `sources.source.Snapshot`."""
        self._finish()
        whole = self.catalogue.tables([table])[table]
        if not all(in_sql(kind, self.catalogue.codepage) for kind in _narrowed(whole, columns).types):
            return canonical.digests(self._frames(table, columns, ranges), columns, ranges)
        found = []
        for one in ranges:
            ((rows, *words),) = self.session.rows(digest_statement(whole, columns, one))
            first, second = (int(word or 0) for word in words)
            if first < NO_HASH:
                found.append((rows, first % 2**64, second % 2**64))
            else:
                found.append(canonical.digests(self._frames(table, columns, [one]), columns, [one]).row(0)[1:])
        return canonical.frame_of(*zip(*found, strict=True)) if found else canonical.frame_of([], [], [])

    def resume(self, table: TableName) -> str | None:
        """None: the position says all."""
        return None

    def _frames(self, table: TableName, columns: Sequence[str], ranges: Sequence[KeyRange]) -> Iterator[pl.DataFrame]:
        """Rows of these ranges, with their key."""
        wanted = list(dict.fromkeys([*columns, *(ranges[0].columns if ranges else ())]))
        for _, _, whole in runs(ranges):
            for batch in self.read(table, wanted, whole):
                yield batch.frame["after"].struct.unnest()

    def _rows(self, table: Table, codepages: Sequence[Codepage | None], packets: Packets, done: int) -> pl.DataFrame:
        series = []
        cells_by_column = walk_text_rows(packets.buffer, packets.starts, len(table.types))
        for (place, cells), kind in zip(enumerate(cells_by_column), table.types, strict=True):
            name = table.schema.columns[place].name
            try:
                series.append(_column(cells, kind, codepages[place]).alias(name))
            except BadCell as error:
                raise InvalidRow(
                    f"{table.schema.table}, column {name} at {self._text}, row {done + error.row} of the snapshot:"
                    f" the value {error.reason}; correct it at the source and start the snapshot again"
                ) from error
        return pl.DataFrame(series)

    def _batch(self, schema: TableSchema, rows: pl.DataFrame, done: int) -> ChangeBatch:
        count = rows.height
        frame = pl.DataFrame(
            [
                pl.repeat(INSERT, count, dtype=OPERATION, eager=True).alias("operation"),
                pl.repeat(self.position.at - 1, count, dtype=pl.Int64, eager=True).alias("at"),
                pl.Series("ordinal", np.arange(done, done + count)),
                pl.repeat(self._text, count, dtype=pl.String, eager=True).alias("lsn"),
                pl.repeat(None, count, dtype=pl.String, eager=True).alias("transaction_id"),
                pl.repeat(self.taken, count, dtype=TIMESTAMP_UTC, eager=True).alias("source_ts"),
                pl.repeat(None, count, dtype=struct_type(schema), eager=True).alias("before"),
                rows.to_struct("after"),
            ]
        )
        return ChangeBatch(schema, frame)

    def _codepage(self, kind: MySQLType) -> Codepage | None:
        return self.catalogue.codepage(kind.charset) if kind.charset and kind.charset not in UTF8 else None

    @property
    def _text(self) -> str:
        return self.notation.format(self.position)

    def _finish(self) -> None:
        """Get rid of the rest of a table that was not read to its end."""
        reader, self._reader = self._reader, None
        if reader is None or reader.ended:
            return
        with session(self.target) as other:
            other.run(f"kill query {self.number}")
        reader.drain()


def take_snapshot(
    target: MySQLConnection,
    opened: Session,
    server: Server,
    tables: Sequence[TableName],
    as_text: Mapping[TableName, Collection[str]],
    altered: Altered,
) -> MySQLSnapshot:
    """Begin a snapshot on this session, in which none of the tables can be altered until it ends.

    `as_text` is as in `Catalogue`.

    A consistent snapshot holds rows, not shapes: those of a table that is altered right after it are the new ones, or
    the table cannot be read in it any more (error 1412). Touching a table takes its metadata lock, which an ALTER waits
    for. On MySQL the global lock keeps ALTERs away until then; on MariaDB the log says whether one came in between, and
    another snapshot is begun.
    """
    prepare_reading(opened, server)
    begin = _begin_mariadb if server.mariadb else _begin_mysql
    for _ in range(_ATTEMPTS):
        try:
            base, at = begin(opened, server, tables)
        except TableChanged:
            opened.run("rollback")
            continue
        if not server.mariadb or not altered(at):
            ((taken, number),) = opened.rows("select utc_timestamp(6), connection_id()")
            catalogue = Catalogue(lambda: opened, as_text)
            return MySQLSnapshot(target, opened, Notation("binlog", base), Position(at), taken, int(number), catalogue)
        opened.run("rollback")
    raise Unavailable("a table was altered each time that a snapshot began; run again when its ALTERs are over")


def prepare_reading(opened: Session, server: Server) -> None:
    """Settings of the session on which values depend, and for how long it may read."""
    for setting in _SETTINGS:
        opened.run(setting)
    opened.run("set session max_statement_time = 0" if server.mariadb else "set session max_execution_time = 0")


def _begin_mariadb(opened: Session, _server: Server, tables: Sequence[TableName]) -> tuple[str, int]:
    opened.run("start transaction with consistent snapshot")
    status = {str(name).lower(): str(value) for name, value in opened.rows("show status like 'binlog_snapshot_%'")}
    if not status.get("binlog_snapshot_file"):
        raise NeedsPerson(NO_BINLOG)
    base, sequence = file_sequence(status["binlog_snapshot_file"])
    _hold(opened, tables)
    return base, binlog_at(sequence, int(status["binlog_snapshot_position"]))


def _begin_mysql(opened: Session, server: Server, tables: Sequence[TableName]) -> tuple[str, int]:
    opened.run(f"set session lock_wait_timeout = {_LOCK_SECONDS}")
    opened.run("flush tables with read lock")
    try:
        opened.run("start transaction with consistent snapshot")
        head = read_head(opened, server)
        _hold(opened, tables)
    finally:
        opened.run("unlock tables")
    return head.base, head.at


def _hold(opened: Session, tables: Sequence[TableName]) -> None:
    """Take the metadata lock of each table."""
    for table in tables:
        opened.run(f"select 1 from {quoted(table)} limit 1")


def _narrowed(table: Table, columns: Sequence[str] | None) -> Table:
    if columns is None:
        return table
    schema = table.schema
    unknown = [name for name in columns if name not in schema.names]
    if unknown:
        raise ConfigError(f"{schema.table} has no column '{unknown[0]}'; it has {', '.join(schema.names)}")
    kept = [place for place, name in enumerate(schema.names) if name in columns]
    key = schema.primary_key if set(schema.primary_key) <= set(columns) else ()
    narrowed = TableSchema(schema.table, tuple(schema.columns[place] for place in kept), key)
    return replace(table, schema=narrowed, types=tuple(table.types[place] for place in kept))


def _column(cells: Cells, kind: MySQLType, codepage: Codepage | None) -> pl.Series:
    """The cells of a text result as a series; raises BadCell."""
    if kind.base in STRINGS | LABELLED:
        return string_column(cells, kind, codepage)
    try:
        return column(cells, kind.arrow)
    except BadCell as error:
        raise BadCell(error.row, ZERO_DATE if kind.base in _MOMENTS else error.reason) from error
