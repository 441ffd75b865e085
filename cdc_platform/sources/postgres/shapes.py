"""From the shape that a log message tells to the table's schema: numbers, key, and what no message tells.

The log tells names, type OIDs and modifiers, and which columns it tells rows apart by. Numbers come from `numbering`;
nullability, the order of the key, and where the values of a new column came from are asked of today's catalogue. It is
read once a table, after all of the log that is to be read has been written, so no shape there is later than it.
Layer: sources.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cdc_platform.errors import Gap, Lost, NotUnderstood
from cdc_platform.model.schema import Column, TableName, TableSchema
from cdc_platform.sources.postgres.attributes import Attributes, read_attributes
from cdc_platform.sources.postgres.catalogue import Session, read_types, type_names
from cdc_platform.sources.postgres.numbering import Seen, numbering
from cdc_platform.sources.postgres.tuples import Relation


@dataclass(slots=True)
class Shape:
    """One followed table's shape as the log goes on: first the one that it is followed with, then the last streamed.

    `texts` are the numbers of the columns that are read as text.
    """

    session: Session
    publication: str
    schema: TableSchema
    texts: frozenset[int]
    _relation: Relation | None = None
    _now: Attributes | None = None

    @property
    def table(self) -> TableName:
        return self.schema.table

    def change_to(self, relation: Relation) -> str | None:
        """Take on the shape of the next rows. Returns why rows may have changed with it that no message tells of.

        Raises NotUnderstood where the shape cannot be told, Gap where the table is gone meanwhile.
        """
        if relation == self._relation:
            return None
        now = self._now or read_attributes(self.session, relation.oid, self.publication)
        if now is None:
            raise Gap(
                f"{self.table} has been dropped; its last changes are not to be had: remove its pipeline, or make the "
                "table again and run: cdc resync",
                Lost.TABLE_REPLACED,
            )
        columns, certain = _columns(self.session, self.schema, self.texts, relation, now)
        schema = TableSchema(self.table, columns, _key(relation, columns, self.schema, now))
        reason = None if certain else "columns were dropped and added, and which is which the log does not tell"
        reason = reason or unlogged(self.schema, schema, now)
        if reason is None and self._relation is not None:
            reason = _retyped(self.schema, self._relation, schema, relation)
        self._now, self._relation, self.schema = now, relation, schema
        return reason


def _columns(
    session: Session, before: TableSchema, texts: frozenset[int], relation: Relation, now: Attributes
) -> tuple[tuple[Column, ...], bool]:
    """The columns with their numbers, and whether those are certain."""
    types = read_types(session, {column.type_oid for column in relation.columns})
    names = type_names(session, [(column.type_oid, column.typmod) for column in relation.columns])
    for shape in relation.columns:
        if shape.type_oid not in types:
            raise NotUnderstood(
                f"{before.table}: the type of column '{shape.name}' has been dropped since; begin its pipeline anew"
            )
    streamed = [Seen(shape.name, name) for shape, name in zip(relation.columns, names, strict=True)]
    today = {attribute.number: attribute for attribute in now.streamed}
    ever: dict[int, Seen | None] = {number: Seen(a.name, a.type) for number, a in today.items()}
    ever |= dict.fromkeys(now.dropped)
    known = {n: Seen(c.name, c.source_type) for c in before.columns if (n := c.source_id) is not None and n in ever}
    found = numbering(streamed, known, ever)
    if found is None:
        raise NotUnderstood(f"{before.table}: its columns in the log are none that it had; begin its pipeline anew")
    columns = []
    for shape, seen, number in zip(relation.columns, streamed, found.numbers, strict=True):
        same = today.get(number)
        nullable = same is None or same.nullable or same.type != seen.type
        arrow = replace(types[shape.type_oid], as_text=number in texts).arrow(shape.typmod)
        columns.append(Column(seen.name, arrow, nullable, seen.type, number))
    return tuple(columns), found.certain


def _key(relation: Relation, columns: tuple[Column, ...], before: TableSchema, now: Attributes) -> tuple[str, ...]:
    """The columns by which the log tells rows apart: the flagged ones, or with whole old rows the primary key."""
    names = {column.source_id: column.name for column in columns}
    if relation.identity != "f":
        flagged = [c.source_id for c, shape in zip(columns, relation.columns, strict=True) if shape.key]
        order = next((key for key in (now.logged, now.primary) if set(key) == set(flagged)), flagged)
        return tuple(names[number] for number in order)
    followed = tuple(before.column(name).source_id for name in before.primary_key)
    return next((tuple(names[n] for n in key) for key in (now.primary, followed) if set(key) <= names.keys()), ())


def unlogged(before: TableSchema, after: TableSchema, now: Attributes) -> str | None:
    """The first change of shape that may have changed rows: values that came with a column, or another type."""
    known = {column.source_id: column for column in before.columns}
    highest = max((number for number in known if number is not None), default=0)
    today = {attribute.number: attribute for attribute in now.streamed}
    for column in after.columns:
        same, attribute = known.get(column.source_id), today.get(column.source_id or 0)
        if same is not None and same.source_type != column.source_type:
            return f"column '{column.name}' was changed from {same.source_type} to {column.source_type}"
        if same is None and attribute is not None:
            if attribute.origin is not None:
                return f"column '{column.name}' came with {attribute.origin}"
            if attribute.number < highest:
                return f"column '{column.name}' was there before it was published"
    return None


def _retyped(before: TableSchema, told: Relation, after: TableSchema, tells: Relation) -> str | None:
    """A type that is another one of the same name."""
    known = {c.source_id: (s.type_oid, s.typmod) for c, s in zip(before.columns, told.columns, strict=True)}
    for column, shape in zip(after.columns, tells.columns, strict=True):
        if known.get(column.source_id, (shape.type_oid, shape.typmod)) != (shape.type_oid, shape.typmod):
            return f"column '{column.name}' was changed to another {column.source_type}"
    return None
