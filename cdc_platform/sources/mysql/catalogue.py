"""What the server's information schema says: tables, columns, keys, collations, character sets.

What was read is kept, because a stream asks again for each table map: character sets for good, tables until `forget`.
Layer: sources.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cdc_platform.errors import CdcError, ConfigError, NeedsPerson, NotUnderstood, Unavailable
from cdc_platform.model.schema import Column, TableName, TableSchema
from cdc_platform.sources.mysql.characters import Codepage
from cdc_platform.sources.mysql.charset_tables import read_codepage
from cdc_platform.sources.mysql.connection import Session, quote
from cdc_platform.sources.mysql.defaults import Defaults, Rules, read_defaults
from cdc_platform.sources.mysql.server import describe
from cdc_platform.sources.mysql.types import AS_TEXT, Declared, MySQLType, charset_name, from_declared


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is now: `types[i]` belongs to `schema.columns[i]`; `engine` keeps its rows."""

    schema: TableSchema
    types: tuple[MySQLType, ...]
    engine: str


@dataclass(slots=True)
class Catalogue:
    """The information schema through a session, which is asked for when it is needed.

    `as_text` names the columns that are taken as the server's text; what it names must be there and be of a type for
    which that makes sense, which is found when the table is read.
    """

    _session: Callable[[], Session]
    _as_text: Mapping[TableName, Collection[str]] = field(default_factory=dict)
    _tables: dict[TableName, Table] = field(default_factory=dict)
    _defaults: dict[TableName, Defaults] = field(default_factory=dict)
    _charsets: dict[int, str] = field(default_factory=dict)
    _widths: dict[str, int] = field(default_factory=dict)
    _codepages: dict[str, Codepage | None] = field(default_factory=dict)
    _mariadb: bool | None = None

    def tables(self, names: Iterable[TableName]) -> Mapping[TableName, Table]:
        """Those of these tables; a ConfigError names the first that is missing, NotUnderstood a column's odd type."""
        wanted = list(dict.fromkeys(names))
        unknown = [name for name in wanted if name not in self._tables]
        if unknown:
            self._tables |= self._read(unknown)
        return {name: self._tables[name] for name in wanted}

    def existing(self, names: Iterable[TableName]) -> list[TableName]:
        """Those of these tables that are there and can be seen."""
        wanted = list(dict.fromkeys(names))
        if not wanted:
            return []
        places = ", ".join(["(%s, %s)"] * len(wanted))
        rows = self._session().rows(
            "select table_schema, table_name from information_schema.tables"
            f" where (table_schema, table_name) in ({places})",
            [part for name in wanted for part in (name.schema, name.name)],
        )
        there = {TableName(str(schema), str(name)) for schema, name in rows}
        return [name for name in wanted if name in there]

    def rules(self, name: TableName, *, certain: bool, mariadb: bool) -> Rules:
        """What is known of columns that row images lack. Defaults only where they are `certain` to be those of then."""
        if name not in self._defaults:
            try:
                table = self.tables([name])[name]
                types = dict(zip(table.schema.names, table.types, strict=True))
                self._defaults[name] = read_defaults(self._session(), name, types, mariadb)
            except (ConfigError, NotUnderstood):  # gone, or changed to what cannot be followed: nothing is known
                return Rules(replaces=mariadb)
        known = self._defaults[name]
        stored = frozenset(self.tables([name])[name].schema.names) - known.virtual
        return Rules(known.constants if certain else {}, stored, mariadb)

    def forget(self, tables: Iterable[TableName]) -> None:
        """Ask the server again when these are next wanted."""
        for table in tables:
            self._tables.pop(table, None)
            self._defaults.pop(table, None)

    def charset_of(self, collation: int) -> str:
        """The character set of a collation's number, empty when the server knows no such collation."""
        if collation not in self._charsets:
            self._charsets[collation] = self._charset_of(collation) if collation else ""
        return self._charsets[collation]

    def _charset_of(self, collation: int) -> str:
        """Newer MariaDB numbers some collations in another table than everyone else."""
        ask = self._session().rows
        rows = ask("select character_set_name from information_schema.collations where id = %s", [collation])
        table = "information_schema.collation_character_set_applicability"
        if not rows and ask(f"show columns from {table} like 'id'"):
            rows = ask(f"select character_set_name from {table} where id = %s", [collation])
        return charset_name(str(rows[0][0])) if rows else ""

    def character_bytes(self, charset: str) -> int:
        """The most bytes that one character takes."""
        if not self._widths:
            rows = self._session().rows("select character_set_name, maxlen from information_schema.character_sets")
            self._widths = {charset_name(str(name)): int(width) for name, width in rows}
        return self._widths.get(charset, 1)

    def codepage(self, charset: str) -> Codepage | None:
        """A character set other than UTF-8 as the server itself converts it; None for what is no such thing."""
        if charset not in self._codepages:
            self._codepages[charset] = read_codepage(self._session(), charset, self.character_bytes(charset))
        return self._codepages[charset]

    def taken_as_text(self, table: TableName) -> Collection[str]:
        """The names of the columns that are taken as the server's text."""
        return self._as_text.get(table, ())

    @property
    def mariadb(self) -> bool:
        """Whether the server is MariaDB, which counts some things in its log differently."""
        if self._mariadb is None:
            self._mariadb = describe(self._session()).mariadb
        return self._mariadb

    def _read(self, names: Sequence[TableName]) -> dict[TableName, Table]:
        places = ", ".join(["(%s, %s)"] * len(names))
        wanted = [part for name in names for part in (name.schema, name.name)]
        ask = self._session()
        engines = {
            TableName(str(schema), str(name)): (str(kind), str(engine or ""))
            for schema, name, kind, engine in ask.rows(
                "select table_schema, table_name, table_type, engine from information_schema.tables"
                f" where (table_schema, table_name) in ({places})",
                wanted,
            )
        }
        for name in names:
            if name not in engines:
                raise self._missing(name)
            if engines[name][0] == "SYSTEM VERSIONED":
                raise NotUnderstood(f"{name} keeps its rows' history, which is not understood; leave the table out")
            if engines[name][0] != "BASE TABLE":
                raise ConfigError(f"{name} is a {engines[name][0].lower()}; only tables can be captured")
        keys = ask.rows(
            "select table_schema, table_name, column_name from information_schema.statistics"
            f" where index_name = 'PRIMARY' and (table_schema, table_name) in ({places})"
            " order by table_schema, table_name, seq_in_index",
            wanted,
        )
        columns = ask.rows(
            "select table_schema, table_name, column_name, is_nullable, data_type, column_type,"
            " character_maximum_length, character_octet_length, numeric_precision, numeric_scale,"
            " datetime_precision, character_set_name from information_schema.columns"
            f" where (table_schema, table_name) in ({places}) order by table_schema, table_name, ordinal_position",
            wanted,
        )
        tables = {
            name: _table(
                name,
                [row[2:] for row in columns if (row[0], row[1]) == (name.schema, name.name)],
                tuple(str(row[2]) for row in keys if (row[0], row[1]) == (name.schema, name.name)),
                engines[name][1],
                self.taken_as_text(name),
            )
            for name in names
        }
        for table in tables.values():
            if any(kind.base == "vector" for kind in table.types) and self.mariadb:
                raise NotUnderstood(f"{table.schema.table}: MariaDB's vectors are not understood; leave the table out")
        return tables

    def _missing(self, name: TableName) -> CdcError:
        """Why the information schema does not show a table: it hides those that the user may not read."""
        ask = self._session()
        try:
            ask.run(f"select 1 from {quoted(name)} limit 0")
        except ConfigError:
            rows = ask.rows("select table_name from information_schema.tables where table_schema = %s", [name.schema])
            near = difflib.get_close_matches(name.name, [str(row[0]) for row in rows], n=3)
            hint = f"did you mean {', '.join(near)}?" if near else "correct its name"
            return ConfigError(f"there is no table {name}; {hint}")
        except NeedsPerson as error:
            return error
        return Unavailable(f"table {name} has only just been made; run again")


def _table(
    name: TableName, rows: Sequence[Sequence[object]], key: tuple[str, ...], engine: str, as_text: Collection[str]
) -> Table:
    columns, types = [], []
    for column, nullable, data_type, column_type, *sizes, charset in rows:
        characters, octets, precision, scale, fraction = (None if size is None else int(str(size)) for size in sizes)
        declared = Declared(
            str(data_type), str(column_type), characters, octets, precision, scale, fraction,
            None if charset is None else str(charset),
        )  # fmt: skip
        try:
            kind = from_declared(declared)
        except NotUnderstood as error:
            raise NotUnderstood(
                f"{name}, column {column}: {error}; leave the table out or change the column"
            ) from error
        if column in as_text:
            kind = _as_text(name, str(column), kind)
        columns.append(Column(str(column), kind.arrow, nullable == "YES", kind.declared))
        types.append(kind)
    schema = TableSchema(name, tuple(columns), key)
    for column in as_text:
        if column not in schema.names:
            raise ConfigError(f"as_text: {name} has no column '{column}'; it has {', '.join(schema.names)}")
    return Table(schema, tuple(types), engine)


def _as_text(table: TableName, column: str, kind: MySQLType) -> MySQLType:
    if kind.base not in AS_TEXT:
        raise ConfigError(
            f"as_text: {table}, column {column} is {kind.declared};"
            f" only {', '.join(sorted(AS_TEXT))} columns can be taken as text"
        )
    return replace(kind, text=True)


def quoted(table: TableName) -> str:
    return quote(table.schema, table.name)
