"""What tells that a table is still the one that was followed, and that its rows were not replaced. Reads only.

identity   the table's OID, those of the rows by which the publication holds it, the publication's own: a table that was
           dropped and made again has another OID, one that was out of the publication in between another row
storage    the number of the table's file; of a partitioned one, OID and file of each partition: TRUNCATE of one, ATTACH
           and DETACH, and every ALTER that rewrites rows change it without a row in the log (VACUUM FULL, CLUSTER and
           another tablespace, which change no row, do so too: only comparing tells); and the labels of the columns'
           enums, because a row shows a label's name of today

A publication holds a table by name (pg_publication_rel; the name of what it is a partition of counts as well), by its
schema (pg_publication_namespace, since Postgres 15), or because it is for all tables. Layer: sources.
"""

from __future__ import annotations

from collections.abc import Sequence

from cdc_platform.model.schema import Fingerprint, TableName
from cdc_platform.sources.postgres.catalogue import Session

_FINGERPRINTS = """
select n.nspname, c.relname, c.oid::text,
       (select string_agg(m.held, ' ' order by m.held) from (
          select 'table ' || r.oid from pg_publication_rel r
          where r.prpubid = p.oid
            and (r.prrelid = c.oid or r.prrelid in (select relid from pg_partition_ancestors(c.oid)))
          {schemas}
          union all select 'all' where p.puballtables
        ) m (held)),
       p.oid::text,
       case when c.relkind = 'p' then
         (select string_agg(l.oid || ':' || coalesce(pg_relation_filenode(l.oid), 0), ' ' order by l.oid)
          from (select relid::oid from pg_partition_tree(c.oid) where isleaf) l (oid))
       else pg_relation_filenode(c.oid)::text end,
       (select md5(string_agg(e.enumtypid || ' ' || e.oid || ' ' || e.enumlabel, ',' order by e.oid))
        from pg_enum e where e.enumtypid in (
          select unnest(array[t.oid, t.typelem, t.typbasetype, b.typelem]) from pg_attribute a
          join pg_type t on t.oid = a.atttypid left join pg_type b on b.oid = t.typbasetype
          where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped))
from unnest(%(schemas)s::text[], %(names)s::text[]) as wanted (nspname, relname)
join pg_namespace n on n.nspname = wanted.nspname
join pg_class c on c.relnamespace = n.oid and c.relname = wanted.relname and c.relkind in ('r', 'p')
left join pg_publication p on p.pubname = %(publication)s
"""

_SCHEMAS = """
          union all
          select 'schema ' || s.oid from pg_publication_namespace s
          where s.pnpubid = p.oid and s.pnnspid in (
            select k.relnamespace from pg_class k
            where k.oid = c.oid or k.oid in (select relid from pg_partition_ancestors(c.oid)))
"""


def read_fingerprints(session: Session, tables: Sequence[TableName], publication: str) -> dict[TableName, Fingerprint]:
    """Of each of `tables` that there is."""
    statement = _FINGERPRINTS.format(schemas=_SCHEMAS if session.server_version >= 150000 else "")
    names = {"schemas": [t.schema for t in tables], "names": [t.name for t in tables]}
    found = {}
    with session.cursor() as cursor:
        cursor.execute(statement, {**names, "publication": publication})
        for schema, name, oid, held, publication_oid, files, labels in cursor.fetchall():
            identity = f"table {oid}; held by {held or 'nothing'}; publication {publication_oid or 'none'}"
            found[TableName(schema, name)] = Fingerprint(identity, f"{files or ''} {labels or ''}".strip())
    return found
