"""From a table map to everything needed to decode its rows: schema, types, character sets.

A map says what the columns are physically. Names, signs, character sets and members come from its optional metadata,
and where that leaves something out from the information schema, which shows the table as it is *now*: it counts
only if it agrees with the map in number and type of the columns. Layer: sources.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cdc_platform.errors import ConfigError, NotUnderstood, SchemaConflict
from cdc_platform.model.schema import Column, TableName, TableSchema
from cdc_platform.sources.cells import BadCell
from cdc_platform.sources.mysql.alter import Alteration
from cdc_platform.sources.mysql.catalogue import Catalogue, Table
from cdc_platform.sources.mysql.characters import UTF8, Codepage, decoded
from cdc_platform.sources.mysql.tablemap import TableMap
from cdc_platform.sources.mysql.types import (
    ADDRESSES,
    BINARIES,
    ENUM,
    SET,
    STRINGS,
    MySQLType,
    Physical,
    from_physical,
)

_LABELLED_CODES = (ENUM, SET)


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape of a table: everything has one entry a column."""

    schema: TableSchema
    types: tuple[MySQLType, ...]
    physical: tuple[Physical, ...]
    codepages: tuple[Codepage | None, ...]


Declared = Mapping[str, str | None]
"""Columns' types as they were declared (`Column.source_type`), by lower-case name; None for what is not understood."""


def declared(schema: TableSchema) -> Declared:
    """What a shape tells."""
    return {column.name.lower(): column.source_type for column in schema.columns}


def declared_after(known: Declared, alterations: Sequence[Alteration]) -> Declared:
    """What is known after these statements."""
    for alteration in alterations:
        gone = {name.lower() for name in alteration.dropped}
        names = {old.lower(): new.lower() for old, new in alteration.renamed.items()}
        types = {**known, **{old.lower(): kind for old, kind in alteration.retyped.items()}}
        known = {names.get(name, name): kind for name, kind in types.items() if name not in gone}
        known = {**known, **{name.lower(): kind for name, kind in alteration.added.items()}}
    return known


def shape_of(table_map: TableMap, catalogue: Catalogue, known: Declared) -> Shape:
    """The shape that rows under this map have. `known` is of when the map was written: it tells what maps leave out,
    and before the present table does.

    NotUnderstood for a column type or character set that cannot be decoded, SchemaConflict when neither the map nor
    the table as it is now tells what the columns are.
    """
    for place, column in enumerate(table_map.physical):
        if not column.understood:
            name = table_map.names[place] if table_map.names else f"number {place + 1}"
            raise NotUnderstood(
                f"{table_map.table}, column {name}: binlog column type {column.code} is not understood;"
                " leave the table out or change the column"
            )
    for refresh in (False, True):
        if refresh:
            catalogue.forget([table_map.table])
        present = _present(table_map, catalogue)
        table = present if present and len(present.types) == len(table_map.physical) else None
        types = _types(table_map, table, present, catalogue, known)
        if table is not None and _agree(types, table.types) and table_map.names in (None, table.schema.names):
            assert types is not None
            return _shape(table_map, types, table.schema, catalogue)
    if table_map.names is None or table_map.labels is None or types is None:
        raise SchemaConflict(
            f"{table_map.table} changed its columns since this part of the binlog was written, and the binlog does not"
            " name them: set binlog_row_metadata=FULL on the server and begin its pipeline anew"
        )
    columns = tuple(
        Column(name, kind.arrow, nullable, kind.declared)
        for name, kind, nullable in zip(table_map.names, types, table_map.nullable, strict=True)
    )
    return _shape(table_map, types, TableSchema(table_map.table, columns, ()), catalogue)


def _agree(types: tuple[MySQLType, ...] | None, now: tuple[MySQLType, ...]) -> bool:
    """Whether these are the present types. Labels may differ where the information schema has question marks."""
    return types is not None and all(
        replace(kind, labels=()) == replace(other, labels=()) and _same_labels(kind.labels, other.labels)
        for kind, other in zip(types, now, strict=True)
    )


def _same_labels(labels: tuple[str, ...], shown: tuple[str, ...]) -> bool:
    return len(labels) == len(shown) and all(
        re.fullmatch(re.escape(there).replace(r"\?", "."), label, re.DOTALL)
        for label, there in zip(labels, shown, strict=True)
    )


def _present(table_map: TableMap, catalogue: Catalogue) -> Table | None:
    """The table as it is now."""
    try:
        return catalogue.tables([table_map.table])[table_map.table]
    except (ConfigError, NotUnderstood):  # gone, or changed to what cannot be followed: the map must tell all
        return None


def _types(
    table_map: TableMap,
    table: Table | None,
    present: Table | None,
    catalogue: Catalogue,
    known: Declared,
) -> tuple[MySQLType, ...] | None:
    """The columns' types, or None if the map alone does not tell and there is no table to ask.

    `table` is the present one if it has as many columns as the map.
    """
    collations = table_map.collations
    if table_map.geometry_collations is not None and catalogue.mariadb:
        collations = table_map.geometry_collations
    if table is None and (table_map.unsigned is None or collations is None or table_map.labels is None):
        return None
    names = table_map.names or (table.schema.names if table else ())
    told = {name: kind for name, kind in known.items() if kind is not None}
    by_name = {**(declared(present.schema) if present else {}), **told}
    as_text = catalogue.taken_as_text(table_map.table)
    types = []
    for place, physical in enumerate(table_map.physical):
        now = table.types[place] if table else None
        charset = _charset(collations, place, now, catalogue)
        kind = from_physical(
            physical,
            unsigned=table_map.unsigned[place] if table_map.unsigned else now is not None and now.unsigned,
            charset=charset,
            character_bytes=catalogue.character_bytes(charset),
            labels=_labels(table_map, place, now, charset, catalogue),
        )
        name = names[place]
        if kind.base == "binary" and kind.length in ADDRESSES.values():
            kind = _as_declared(kind, by_name, table_map.table, name, catalogue)
        types.append(replace(kind, text=name in as_text))
    return tuple(types)


def _as_declared(kind: MySQLType, known: Declared, table: TableName, column: str, catalogue: Catalogue) -> MySQLType:
    """What the log calls BINARY of so many bytes may be a type that only the column's declaration tells."""
    if column.lower() not in known and catalogue.mariadb:
        raise NotUnderstood(
            f"{table}, column {column}, which is gone by now: the binlog does not tell whether it held bytes, uuids or"
            " addresses; begin its pipeline anew"
        )
    told = known.get(column.lower())
    return MySQLType(told) if told is not None and ADDRESSES.get(told) == kind.length else kind


def _charset(collations: tuple[int, ...] | None, place: int, now: MySQLType | None, catalogue: Catalogue) -> str:
    if collations is not None:
        found = catalogue.charset_of(collations[place])
        if found or now is None:
            return found
    assert now is not None
    return "binary" if now.base in BINARIES or now.base in ADDRESSES else now.charset


def _labels(
    table_map: TableMap, place: int, now: MySQLType | None, charset: str, catalogue: Catalogue
) -> tuple[str, ...]:
    if table_map.physical[place].code not in _LABELLED_CODES:
        return ()
    if table_map.labels is None:
        labels = now.labels if now else ()
        if any("?" in label for label in labels):
            raise NotUnderstood(
                f"{table_map.table}: members of an enum or set hold a question mark, which is also how the information"
                " schema shows other characters; set binlog_row_metadata=FULL on the server and begin its pipeline anew"
            )
        return labels
    codepage = None if charset in UTF8 else catalogue.codepage(charset)
    members = table_map.labels[place]
    try:
        return tuple(decoded(member, codepage) if codepage else member.decode() for member in members)
    except (UnicodeDecodeError, BadCell) as error:
        raise NotUnderstood(
            f"{table_map.table}: members of an enum or set in character set {charset} are not understood;"
            " convert the column to utf8mb4"
        ) from error


def _shape(table_map: TableMap, types: tuple[MySQLType, ...], schema: TableSchema, catalogue: Catalogue) -> Shape:
    """`schema` says names, source types and, where the map does not, the key; the map what may be null."""
    key = schema.primary_key
    if table_map.key is not None:
        key = tuple(schema.names[place] for place in table_map.key)
    columns = tuple(
        replace(column, nullable=nullable) for column, nullable in zip(schema.columns, table_map.nullable, strict=True)
    )
    codepages = tuple(
        None if not kind.charset or kind.charset in UTF8 else catalogue.codepage(kind.charset) for kind in types
    )
    for name, kind, codepage in zip(schema.names, types, codepages, strict=True):
        if kind.charset not in UTF8 and kind.base in STRINGS and codepage is None:
            raise NotUnderstood(
                f"{table_map.table}, column {name}: character set {kind.charset} is not understood;"
                " convert the column to utf8mb4"
            )
    return Shape(TableSchema(table_map.table, columns, key), types, table_map.physical, codepages)
