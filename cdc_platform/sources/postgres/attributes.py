"""What the catalogue says of a table's columns by number, dropped ones included. Reads only. Layer: sources."""

from __future__ import annotations

from dataclasses import dataclass

from cdc_platform.sources.postgres.catalogue import Session

_ATTRIBUTES = """
select a.attnum, case when not a.attisdropped then a.attname end, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       a.atthasdef, a.attidentity <> '', a.attgenerated <> '', a.atthasmissing,
       case when p.attnames is null then a.attgenerated = '' else a.attname = any(p.attnames) end,
       array_position((k.indkey::int2[])[0:k.indnkeyatts - 1], a.attnum),
       array_position((i.indkey::int2[])[0:i.indnkeyatts - 1], a.attnum),
       c.relreplident
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
left join pg_index k on k.indrelid = c.oid and k.indisprimary and k.indimmediate
left join pg_index i on i.indrelid = c.oid and i.indisreplident
left join {published} p on p.schemaname = n.nspname and p.tablename = c.relname
where c.oid = %(oid)s::bigint::oid
order by a.attnum
"""

# A publication's column list is known since Postgres 15, with generated columns in it where they are sent.
_PUBLISHED = "(select * from pg_publication_tables where pubname = %(publication)s)"
_ALL_PUBLISHED = "(select null::name as schemaname, null::name as tablename, null::name[] as attnames)"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One column as it is now; `origin` says how rows that were there before the column got a value, if they did."""

    number: int
    name: str
    type: str
    nullable: bool
    origin: str | None


@dataclass(frozen=True, slots=True)
class Attributes:
    """A table's columns now: those that are streamed, and the numbers of dropped ones.

    `primary` and `logged` are the numbers of the primary key and of the replica identity's key, in the key's order.
    """

    streamed: tuple[Attribute, ...]
    dropped: frozenset[int]
    primary: tuple[int, ...]
    logged: tuple[int, ...]


def read_attributes(session: Session, oid: int, publication: str) -> Attributes | None:
    """The columns of the table with this OID; None when it is gone."""
    statement = _ATTRIBUTES.format(published=_PUBLISHED if session.server_version >= 150000 else _ALL_PUBLISHED)
    with session.cursor() as cursor:
        cursor.execute(statement, {"oid": oid, "publication": publication})
        rows = cursor.fetchall()
    if not rows:
        return None
    streamed = [_attribute(*row[:8]) for row in rows if row[1] is not None and row[8]]
    dropped = frozenset(row[0] for row in rows if row[1] is None)
    primary, index = (
        tuple(number for _, number in sorted((row[place], row[0]) for row in rows if row[place] is not None))
        for place in (9, 10)
    )
    logged = {"d": primary, "f": primary, "i": index}.get(rows[0][11], ())
    return Attributes(tuple(streamed), dropped, primary, logged)


def _attribute(
    number: int, name: str, type_name: str, not_null: bool, default: bool, identity: bool, generated: bool, filled: bool
) -> Attribute:
    marks = {"a generation": generated, "an identity": identity, "a default": default or filled}
    origin = next((text for text, is_so in marks.items() if is_so), None)
    return Attribute(number, name, type_name, not not_null, origin)
