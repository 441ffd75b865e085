"""The publication: which tables the log is decoded for. It has the slot's name. Layer: sources.

It may be made by the platform or by a database administrator beforehand, and may hold more tables than are followed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from psycopg2.errors import InsufficientPrivilege

from cdc_platform.errors import CdcError, Gap, Lost, NeedsPerson, NotUnderstood
from cdc_platform.model.schema import TableName, TableSchema
from cdc_platform.sources.postgres.catalogue import CatalogueTable, Session, published_tables, read_tables
from cdc_platform.sources.postgres.connection import identifier
from cdc_platform.sources.postgres.partitions import foreign_partition, foreign_partitions, published_roots

_PUBLICATION = """
select pubinsert and pubupdate and pubdelete and pubtruncate, pubviaroot, pg_has_role(pubowner, 'usage')
from pg_publication where pubname = %s
"""

_FILTERED = "select schemaname, tablename from pg_publication_tables where pubname = %s and rowfilter is not null"


@dataclass(frozen=True, slots=True)
class _Publication:
    all_operations: bool
    via_root: bool
    owned: bool


def ensure_published(session: Session, name: str, tables: Mapping[TableName, CatalogueTable]) -> None:
    """Make the publication, or add the tables that it lacks; NeedsPerson says what to run where that is not allowed."""
    publication = _read(session, name)
    published = published_tables(session, name)
    if publication is not None:
        _check(session, name, publication, tables)
    if publication is None or publication.via_root:
        for failure in _silent(session, name, tables, published | tables.keys()).values():
            raise failure
    missing = [table for table in sorted(tables) if table not in published]
    if publication is None:
        statement = _create(name, missing, session.server_version)
        _own(session, tables, missing, statement)
        with session.cursor() as cursor:
            cursor.execute(statement)
    elif missing:
        statement = f"alter publication {identifier(name)} add table {_list(missing)}"
        if not publication.owned:
            raise NeedsPerson(f"publication '{name}' is not the user's own; let its owner run: {statement}")
        _own(session, tables, missing, statement)
        with session.cursor() as cursor:
            cursor.execute(statement)


def identify(session: Session, tables: Mapping[TableName, CatalogueTable]) -> dict[TableName, CatalogueTable]:
    """Tables without a primary key get the replica identity that following them needs, where the user owns them.

    Published without one, the source's own updates and deletes of such a table would fail. Since Postgres 18 they would
    with it as well, where a generated column is not logged: the preflight says so. Partitions have their own.
    """
    identified = dict(tables)
    for table, shape in tables.items():
        unwanted = session.server_version >= 180000 and shape.left_out
        if shape.identity == "d" and not shape.schema.primary_key and shape.permanent and not unwanted:
            try:
                with session.cursor() as cursor:
                    cursor.execute(_full(table))
                    for partition in foreign_partitions(session, shape):
                        cursor.execute(_full(partition))
            except InsufficientPrivilege:
                continue  # the preflight says what its owner should run
            identified[table] = replace(shape, identity="f")
    return identified


def unpublished(session: Session, name: str, tables: Mapping[TableName, CatalogueTable]) -> dict[TableName, CdcError]:
    """The tables whose changes are not all in the log as it is decoded now, and why."""
    publication = _read(session, name)
    then = "changes since then are not to be had: run: cdc resync"
    if publication is None:
        gone = f"publication '{name}' does not exist any more; {then}"
        return {table: Gap(f"{table}: {gone}", Lost.UNPUBLISHED) for table in tables}
    published = published_tables(session, name)
    failures: dict[TableName, CdcError] = dict(
        _silent(session, name, tables, published) if publication.via_root else {}
    )
    for table, shape in tables.items():
        if table in failures:
            continue
        if table not in published:
            failures[table] = Gap(f"{table} has been taken out of publication '{name}'; {then}", Lost.UNPUBLISHED)
            continue
        try:
            _check(session, name, publication, {table: shape})
        except CdcError as error:
            failures[table] = error
    return failures


def renamed_to(session: Session, name: str, schema: TableSchema, followed: Collection[TableName]) -> TableName | None:
    """The published table that nobody follows and that has exactly the columns of one that is missing, by number."""
    others = [table for table in published_tables(session, name) if table not in followed]
    columns = {(c.source_id, c.name, c.source_type) for c in schema.columns}
    for table in others:
        try:
            shape = read_tables(session, [table], name)[table]
        except CdcError:  # of no interest here: it is not followed
            continue
        if {(c.source_id, c.name, c.source_type) for c in shape.schema.columns} == columns:
            return table
    return None


def _silent(
    session: Session, name: str, tables: Mapping[TableName, CatalogueTable], published: Collection[TableName]
) -> dict[TableName, NotUnderstood]:
    """The partitions whose rows a publication via the root gives as rows of another table."""
    return {
        table: NotUnderstood(
            f"{table} is a partition of {root}, and publication '{name}' gives its rows as rows of {root}; "
            f"follow {root} instead, or take {root} out of the publication"
        )
        for table, root in published_roots(session, tables, published).items()
    }


def _full(table: TableName) -> str:
    return f"alter table {identifier(table.schema)}.{identifier(table.name)} replica identity full"


def _read(session: Session, name: str) -> _Publication | None:
    with session.cursor() as cursor:
        cursor.execute(_PUBLICATION, [name])
        row = cursor.fetchone()
    return None if row is None else _Publication(*row)


def _check(session: Session, name: str, publication: _Publication, tables: Mapping[TableName, CatalogueTable]) -> None:
    quoted = identifier(name)
    if not publication.all_operations:
        raise NeedsPerson(
            f"publication '{name}' leaves operations out; run: "
            f"alter publication {quoted} set (publish = 'insert, update, delete, truncate')"
        )
    partitioned = next((table for table, shape in tables.items() if shape.partitioned), None)
    if partitioned is not None and not publication.via_root:
        raise NeedsPerson(
            f"{partitioned} is partitioned; run: alter publication {quoted} set (publish_via_partition_root = true)"
        )
    for table, shape in tables.items():
        # With `full` the decoder sees it where an old row is not whole; keys alone do not tell whose they are.
        if shape.identity != "f" and (foreign := foreign_partitions(session, shape)):
            raise NeedsPerson(foreign_partition(table, foreign[0]))
    if session.server_version >= 150000:
        with session.cursor() as cursor:
            cursor.execute(_FILTERED, [name])
            filtered = {TableName(*row) for row in cursor.fetchall()} & set(tables)
        if filtered:
            raise NotUnderstood(f"publication '{name}' filters the rows of {min(filtered)}; publish all its rows")


def _create(name: str, tables: Sequence[TableName], version: int) -> str:
    """Generated columns can be logged since Postgres 18. A publication that is there already is taken as it is."""
    options = ["publish_via_partition_root = true"] + ["publish_generated_columns = stored"] * (version >= 180000)
    return f"create publication {identifier(name)} for table {_list(tables)} with ({', '.join(options)})"


def _list(tables: Sequence[TableName]) -> str:
    """Each by itself: others that inherit from a table would come along (to a partitioned one, ONLY means nothing)."""
    return ", ".join(f"only {identifier(table.schema)}.{identifier(table.name)}" for table in tables)


def _own(
    session: Session, tables: Mapping[TableName, CatalogueTable], missing: Sequence[TableName], statement: str
) -> None:
    """Publishing a table needs its ownership, making a publication the right to create in the database."""
    with session.cursor() as cursor:
        cursor.execute(
            "select oid::bigint from pg_class where oid = any(%s::bigint[]::oid[]) and pg_has_role(relowner, 'usage')",
            [[tables[table].oid for table in missing]],
        )
        owned = {row[0] for row in cursor.fetchall()}
        cursor.execute("select has_database_privilege(current_database(), 'create')")
        may_create = cursor.fetchone() == (True,)
    foreign = [table for table in missing if tables[table].oid not in owned]
    if foreign:
        raise NeedsPerson(
            f"only the owner of {foreign[0]} may publish it; let the owner or an administrator run: {statement}"
        )
    if statement.startswith("create") and not may_create:
        user, database = session.info.user, session.info.dbname
        raise NeedsPerson(
            f"user '{user}' may not make a publication; let an administrator run: {statement}, or: "
            f"grant create on database {identifier(database)} to {identifier(user)}"
        )
