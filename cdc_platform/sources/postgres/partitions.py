"""What holds of partitioned tables alone: under whose name rows are published, and how partitions log them. Reads only.

A publication "via the root" gives rows of all partitions as rows of the highest table that is published; a partition
below it is silent. And a partition logs old rows by its own replica identity, whatever the root's is. Layer: sources.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cdc_platform.model.schema import TableName
from cdc_platform.sources.postgres.catalogue import CatalogueTable, Session
from cdc_platform.sources.postgres.connection import identifier

_ANCESTORS = """
select t.oid::bigint, n.nspname, c.relname
from unnest(%s::bigint[]::oid[]) as t (oid), pg_partition_ancestors(t.oid) a (relid)
join pg_class c on c.oid = a.relid join pg_namespace n on n.oid = c.relnamespace
where a.relid <> t.oid
"""

# A partition whose old rows are whole is as good as any. One that logs the key of the root's own index is, too.
_FOREIGN = """
select n.nspname, l.relname
from pg_class c, pg_partition_tree(c.oid) t
join pg_class l on l.oid = t.relid join pg_namespace n on n.oid = l.relnamespace
where c.oid = %s::bigint::oid and t.isleaf and l.relkind = 'r' and l.relreplident <> 'f'
  and not (c.relreplident = 'd' and l.relreplident = 'd')
  and not (c.relreplident = 'i' and l.relreplident = 'i' and exists (
    select from pg_index k join pg_index i on i.indrelid = l.oid and i.indisreplident
    where k.indrelid = c.oid and k.indisreplident
      and k.indexrelid in (select relid from pg_partition_ancestors(i.indexrelid))))
order by 1, 2
"""


def published_roots(
    session: Session, tables: Mapping[TableName, CatalogueTable], published: Collection[TableName]
) -> dict[TableName, TableName]:
    """Those of `tables` that are partitions of a published table, with that table: via the root, they are silent."""
    names = {shape.oid: table for table, shape in tables.items()}
    with session.cursor() as cursor:
        cursor.execute(_ANCESTORS, [list(names)])
        ancestors = [(names[oid], TableName(*name)) for oid, *name in cursor.fetchall()]
    return {table: root for table, root in ancestors if root in published}


def foreign_partitions(session: Session, shape: CatalogueTable) -> list[TableName]:
    """The table's partitions that log updates and deletes by another replica identity than its own."""
    if not shape.partitioned:
        return []
    with session.cursor() as cursor:
        cursor.execute(_FOREIGN, [shape.oid])
        return [TableName(*row) for row in cursor.fetchall()]


def foreign_partition(table: TableName, partition: TableName) -> str:
    """What to do about one of them."""
    name = f"{identifier(partition.schema)}.{identifier(partition.name)}"
    return (
        f"{partition}, a partition of {table}, does not log its updates and deletes as {table} does; "
        f"run: alter table {name} replica identity full"
    )
