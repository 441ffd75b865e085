"""What following costs the server, and how it ends: WAL kept back, slots and tables that nobody follows any more.

Layer: sources.
"""

from __future__ import annotations

from collections.abc import Sequence

from cdc_platform.model.keeping import Extent, Keeping
from cdc_platform.model.schema import TableName
from cdc_platform.sources.postgres import slot as slots
from cdc_platform.sources.postgres.catalogue import CatalogueTable, Session
from cdc_platform.sources.postgres.connection import identifier
from cdc_platform.sources.postgres.locks import own_rows

_KEPT = """
select slot_name, (pg_current_wal_lsn() - restart_lsn)::bigint, safe_wal_size,
       (select setting::bigint << 20 from pg_settings where name = 'max_slot_wal_keep_size')
from pg_replication_slots where slot_name = any(%s) and plugin = 'pgoutput'
"""

_OWNED = """
select pg_has_role(p.pubowner, 'usage'), coalesce(array_agg(n.nspname) filter (where c.oid is not null), '{}'),
       coalesce(array_agg(c.relname) filter (where c.oid is not null), '{}')
from pg_publication p left join pg_publication_rel r on r.prpubid = p.oid
left join pg_class c on c.oid = r.prrelid left join pg_namespace n on n.oid = c.relnamespace
where p.pubname = %s group by p.pubowner
"""


def keeping(session: Session, slot: str) -> Keeping:
    """What the server keeps for the slot. The limit is the server's for every slot."""
    with session.cursor() as cursor:
        cursor.execute(_KEPT, [[slot]])
        row = cursor.fetchone()
    if row is None:
        return Keeping()
    _, kept, left, limit = row
    return Keeping(kept, limit if limit >= 0 else None, left)


def readers(session: Session, slots: Sequence[str]) -> dict[str, int]:
    """Those of these slots that the server has, in whichever database, and how many bytes it keeps for each."""
    with session.cursor() as cursor:
        cursor.execute(_KEPT, [list(slots)])
        return {row[0]: row[1] or 0 for row in cursor.fetchall()}


def remove(session: Session, name: str) -> None:
    """Drop the slot, and the publication of its name where that is in this database and the user's own."""
    if readers(session, [name]):
        slots.drop(session, name)
    owned, _ = _publication(session, name)
    if owned:
        with session.cursor() as cursor:
            cursor.execute(f"drop publication {identifier(name)}")


def withdraw(session: Session, name: str, tables: Sequence[TableName]) -> list[TableName]:
    """Take these tables out of the publication, where it names them and is the user's own; those that were in it."""
    owned, published = _publication(session, name)
    gone = [table for table in tables if table in published]
    if not owned or not gone:
        return []
    listed = ", ".join(f"{identifier(table.schema)}.{identifier(table.name)}" for table in gone)
    with session.cursor() as cursor:
        cursor.execute(f"alter publication {identifier(name)} drop table {listed}")
    return gone


def extent(session: Session, table: CatalogueTable) -> Extent:
    """Rows as the planner estimates them, and the size on disk (with TOAST, without indexes), of all partitions."""
    with session.cursor() as cursor:
        cursor.execute(f"explain (format json) select 1 from {own_rows(table)}")
        row = cursor.fetchone()
        assert row is not None
        rows = int(row[0][0]["Plan"]["Plan Rows"])
        cursor.execute(
            "select coalesce(sum(pg_table_size(t.oid)), 0)::bigint from ("
            " select %(oid)s::bigint::oid union select relid from pg_partition_tree(%(oid)s::bigint::oid)) t (oid)",
            {"oid": table.oid},
        )
        size = cursor.fetchone()
    assert size is not None
    return Extent(rows, size[0])


def _publication(session: Session, name: str) -> tuple[bool, set[TableName]]:
    """Whether there is such a publication of the user's own, and the tables that it names."""
    with session.cursor() as cursor:
        cursor.execute(_OWNED, [name])
        row = cursor.fetchone()
    if row is None:
        return False, set()
    owned, schemas, names = row
    return owned, {TableName(*pair) for pair in zip(schemas, names, strict=True)}
