"""What Postgres' catalogue says of tables and types. Reads only; changes nothing. Layer: sources."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2.extensions

from cdc_platform.errors import ConfigError, NotUnderstood
from cdc_platform.model.schema import Column, TableName, TableSchema
from cdc_platform.sources.postgres.types import PgType

Session = psycopg2.extensions.connection

_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence", "i": "an index"}

_COLUMNS = """
select n.nspname, c.relname, c.oid::bigint, c.relkind, c.relpersistence, c.relreplident,
       a.attname, a.attnum, a.attnotnull, a.atttypid::bigint, a.atttypmod, format_type(a.atttypid, a.atttypmod),
       array_position((i.indkey::int2[])[0:i.indnkeyatts - 1], a.attnum) as key_place
from unnest(%(schemas)s::text[], %(names)s::text[]) as wanted (nspname, relname)
join pg_namespace n on n.nspname = wanted.nspname
join pg_class c on c.relnamespace = n.oid and c.relname = wanted.relname
left join pg_index i on i.indrelid = c.oid and case c.relreplident when 'i' then i.indisreplident
     when 'n' then false else i.indisprimary and i.indimmediate end
left join {published} p on p.schemaname = n.nspname and p.tablename = c.relname
left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     and (p.attnames is null or a.attname = any(p.attnames))
     and (a.attgenerated = '' or p.attnames is not null and %(version)s >= 180000)
order by c.oid, a.attnum
"""

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
    """A table as the catalogue has it now. `schema` holds the published columns; generated ones are not sent. Its key
    is the replica identity's: the columns of the index, else those of a primary key that is checked at once.

    `kind` is `r` (plain) or `p` (partitioned), `identity` the replica identity: d(efault), f(ull), i(ndex), n(othing).
    """

    oid: int
    schema: TableSchema
    types: Mapping[str, PgType]
    kind: str
    permanent: bool
    identity: str

    @property
    def partitioned(self) -> bool:
        return self.kind == "p"


def read_tables(
    session: Session, tables: Sequence[TableName], publication: str, oids: Mapping[TableName, int] | None = None
) -> dict[TableName, CatalogueTable]:
    """Each of `tables`; one that is missing or is no table is a ConfigError that names near ones.

    `oids` are those of tables seen before: of one that was renamed the new name is told.
    """
    version = session.server_version
    statement = _COLUMNS.format(published=_PUBLISHED if version >= 150000 else _ALL_PUBLISHED)
    names = {"schemas": [t.schema for t in tables], "names": [t.name for t in tables]}
    with session.cursor() as cursor:
        cursor.execute(statement, {**names, "publication": publication, "version": version})
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
    return {table: _table(table, found[table], types) for table in tables}


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


def _table(table: TableName, rows: list[tuple[Any, ...]], types: Mapping[int, PgType]) -> CatalogueTable:
    columns, key, column_types = [], [], {}
    for row in rows:
        name, number, not_null, oid, typmod, type_name, place = row[6:]
        if name is None:
            raise NotUnderstood(f"{table} has no column that can be followed")
        column_types[name] = types[oid]
        columns.append(Column(name, types[oid].arrow(typmod), not not_null, type_name, number))
        if place is not None:
            key.append((place, name))
    schema = TableSchema(table, tuple(columns), tuple(name for _, name in sorted(key)))
    _, _, oid, kind, persistence, identity = rows[0][:6]
    return CatalogueTable(oid, schema, column_types, kind, persistence == "p", identity)


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
