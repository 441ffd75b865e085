"""What Postgres' catalogue says of tables and types. Reads only; changes nothing. Layer: sources."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

import psycopg2.extensions

from cdc_platform.errors import ConfigError, NotUnderstood
from cdc_platform.model.schema import Column, TableName, TableSchema
from cdc_platform.sources.postgres.types import PgType

Session = psycopg2.extensions.connection

_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence", "i": "an index"}

AsText = Mapping[TableName, Collection[str]]
"""Columns that are read as the server's own text, whatever their type (`source.tables[].as_text`)."""

NO_TEXT: Final[AsText] = MappingProxyType({})

_COLUMNS = """
select n.nspname, c.relname, c.oid::bigint, c.relkind, c.relpersistence, c.relreplident,
       a.attname, a.attnum, a.attnotnull, a.atttypid::bigint, a.atttypmod, format_type(a.atttypid, a.atttypmod),
       array_position((i.indkey::int2[])[0:i.indnkeyatts - 1], a.attnum) as key_place,
       case when p.attnames is not null then a.attname = any(p.attnames) else true end
       and (a.attgenerated = '' or {generated}) as is_sent,
       a.attgenerated <> '' as is_generated
from unnest(%(schemas)s::text[], %(names)s::text[]) as wanted (nspname, relname)
join pg_namespace n on n.nspname = wanted.nspname
join pg_class c on c.relnamespace = n.oid and c.relname = wanted.relname
left join pg_index i on i.indrelid = c.oid and case c.relreplident when 'i' then i.indisreplident
     else i.indisprimary and i.indimmediate end
left join {published} p on p.schemaname = n.nspname and p.tablename = c.relname
left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
order by c.oid, a.attnum
"""

# Generated columns are logged since Postgres 18, where they are stored and the publication says so. For a table that is
# yet to be published it is what the publication does, or will do when the platform makes it.
_GENERATED = """(p.attnames is not null or a.attgenerated = 's'
       and coalesce((select pubgencols = 's' from pg_publication where pubname = %(publication)s), true))"""

# A publication's column list is known since Postgres 15; before, all columns are published.
_PUBLISHED = "(select * from pg_publication_tables where pubname = %(publication)s)"
_ALL_PUBLISHED = "(select null::name as schemaname, null::name as tablename, null::name[] as attnames)"

_TYPES = """
with recursive chain (oid, base, typmod, kind) as (
  select t.oid, t.oid, -1, t.typtype from pg_type t where t.oid = any(%s::bigint[]::oid[])
  union all
  select c.oid, d.typbasetype, d.typtypmod, b.typtype
  from chain c join pg_type d on d.oid = c.base join pg_type b on b.oid = d.typbasetype
  where c.kind = 'd'
)
select c.oid::bigint, c.base::bigint, c.typmod,
       quote_ident(n.nspname) || '.' || quote_ident(t.typname),
       quote_ident(fn.nspname) || '.' || quote_ident(f.proname)
from chain c
join pg_type t on t.oid = c.base join pg_namespace n on n.oid = t.typnamespace
join pg_proc f on f.oid = t.typoutput join pg_namespace fn on fn.oid = f.pronamespace
where c.kind <> 'd'
"""

_TABLES = """
select n.nspname, c.relname, c.oid::bigint from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
"""


@dataclass(frozen=True, slots=True)
class CatalogueTable:
    """A table as the catalogue has it now. `schema` holds the columns that are sent. Its key is the replica identity's:
    the columns of the index, else those of a primary key that is checked at once.

    `texts` are the numbers of those that are read as text; `left_out` names generated columns that are not sent.
    `kind` is `r` (plain) or `p` (partitioned), `identity` the replica identity: d(efault), f(ull), i(ndex), n(othing).
    """

    oid: int
    schema: TableSchema
    types: Mapping[str, PgType]
    kind: str
    permanent: bool
    identity: str
    texts: frozenset[int] = frozenset()
    left_out: tuple[str, ...] = ()

    @property
    def partitioned(self) -> bool:
        return self.kind == "p"


def read_tables(
    session: Session,
    tables: Sequence[TableName],
    publication: str,
    as_text: AsText = NO_TEXT,
    oids: Mapping[TableName, int] | None = None,
) -> dict[TableName, CatalogueTable]:
    """Each of `tables`; one that is missing or is no table is a ConfigError that names near ones.

    `oids` are those of tables seen before: of one that was renamed the new name is told.
    """
    version = session.server_version
    statement = _COLUMNS.format(
        published=_PUBLISHED if version >= 150000 else _ALL_PUBLISHED,
        generated=_GENERATED if version >= 180000 else "false",
    )
    names = {"schemas": [t.schema for t in tables], "names": [t.name for t in tables]}
    with session.cursor() as cursor:
        cursor.execute(statement, {**names, "publication": publication})
        rows = cursor.fetchall()
    found: dict[TableName, list[tuple[Any, ...]]] = {}
    for row in rows:
        found.setdefault(TableName(row[0], row[1]), []).append(row)
    for table in tables:
        if table not in found:
            raise ConfigError(_missing(session, table, (oids or {}).get(table)))
        kind = found[table][0][3]
        if kind not in ("r", "p"):
            raise ConfigError(f"{table} is {_KINDS.get(kind, 'no table')}; only tables can be followed")
    types = read_types(session, {row[9] for row in rows if row[9] is not None})
    return {table: _table(table, found[table], types, as_text.get(table, ())) for table in tables}


def read_types(session: Session, oids: Collection[int]) -> dict[int, PgType]:
    """The types of these OIDs; one that is gone is missing from the result."""
    if not oids:
        return {}
    with session.cursor() as cursor:
        cursor.execute(_TYPES, [sorted(oids)])
        return {row[0]: PgType(*row) for row in cursor.fetchall()}


def type_names(session: Session, types: Sequence[tuple[int, int]]) -> list[str]:
    """SQL names of (oid, modifier) pairs, in their order, as the catalogue spells a column's type."""
    with session.cursor() as cursor:
        cursor.execute(
            "select format_type(oid::oid, modifier) from unnest(%s::bigint[], %s::int[]) with ordinality"
            " as wanted (oid, modifier, place) order by place",
            [[oid for oid, _ in types], [modifier for _, modifier in types]],
        )
        return [row[0] for row in cursor.fetchall()]


def published_tables(session: Session, publication: str) -> set[TableName]:
    with session.cursor() as cursor:
        cursor.execute("select schemaname, tablename from pg_publication_tables where pubname = %s", [publication])
        return {TableName(*row) for row in cursor.fetchall()}


def _table(
    table: TableName, rows: list[tuple[Any, ...]], types: Mapping[int, PgType], as_text: Collection[str]
) -> CatalogueTable:
    columns, key, column_types, texts, left_out = [], [], {}, set(), []
    for row in rows:
        name, number, not_null, oid, typmod, type_name, place, is_sent, is_generated = row[6:]
        if place is not None:
            key.append((place, name))
        if not is_sent:
            left_out += [name] if is_generated else []
            continue
        if name in as_text:
            texts.add(number)
        column_types[name] = replace(types[oid], as_text=name in as_text)
        columns.append(Column(name, column_types[name].arrow(typmod), not not_null, type_name, number))
    if not columns:
        raise NotUnderstood(f"{table} has no column that can be followed")
    _check_as_text(table, as_text, column_types)
    if any(name not in column_types for _, name in key):
        key = []  # a part of it would not tell rows apart
    schema = TableSchema(table, tuple(columns), tuple(name for _, name in sorted(key)))
    _, _, oid, kind, persistence, identity = rows[0][:6]
    return CatalogueTable(
        oid, schema, column_types, kind, persistence == "p", identity, frozenset(texts), tuple(left_out)
    )


def _check_as_text(table: TableName, as_text: Collection[str], known: Collection[str]) -> None:
    for name in as_text:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; it has {', '.join(known)}"
            raise ConfigError(f"source.tables[].as_text: {table} has no column '{name}'{hint}")


def _missing(session: Session, table: TableName, oid: int | None) -> str:
    with session.cursor() as cursor:
        cursor.execute(_TABLES)
        known = {TableName(*row[:2]): row[2] for row in cursor.fetchall()}
    now = next((other for other, number in known.items() if number == oid), None)
    if now is not None:
        return renamed(table, now)
    near = [str(other) for other in known if other.name == table.name]
    near = near or difflib.get_close_matches(str(table), map(str, known), 3, 0.75)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"there is no table {table} in database '{session.info.dbname}'{hint}"


def renamed(table: TableName, now: TableName) -> str:
    return f"{table} was renamed to {now}; rename it back, or let its pipeline follow {now} and begin anew"
