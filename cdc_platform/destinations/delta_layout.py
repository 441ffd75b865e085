"""What a pipeline's layout means in the table as it is: its terms name columns as they were called at first.

A pipeline goes on saying `partition_by: day(updated)` when `updated` has been renamed to `changed`. So the table
keeps the former names of the columns that a layout has named, in the property `FORMER_NAMES` (JSON, name in the
layout to present name), and every use of a layout goes through `present`. A generated partition column keeps its
name; it is known by the expression that generates it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cdc_platform.destinations import delta_table
from cdc_platform.destinations.data_files import StoredColumn
from cdc_platform.destinations.delta_table import STATS_COLUMNS, generation, quoted
from cdc_platform.errors import SchemaConflict
from cdc_platform.lake.delta_columns import DeltaColumn
from cdc_platform.model.target import PartitionField, SortField, TableLayout

FORMER_NAMES: Final = "cdc.former_names"

_NAME: Final = re.compile(r"`((?:[^`]|``)*)`|([^,`]+)")


def former_names(configuration: Mapping[str, str]) -> dict[str, str]:
    """Names that a layout has used, and what those columns are called now."""
    names: dict[str, str] = json.loads(configuration.get(FORMER_NAMES, "{}"))
    return names


def present(layout: TableLayout, configuration: Mapping[str, str], names: Collection[str]) -> TableLayout:
    """The layout in the table's present names. Statistics are asked for of the columns that are there."""
    former = former_names(configuration)
    properties = dict(layout.properties)
    if STATS_COLUMNS in properties:
        wanted = [former.get(name, name) for name in stats_columns(properties.pop(STATS_COLUMNS))]
        if kept := [name for name in wanted if name in names]:
            properties[STATS_COLUMNS] = stats_text(kept)
    return TableLayout(
        tuple(replace(term, column=former.get(term.column, term.column)) for term in layout.partitions),
        tuple(replace(term, column=former.get(term.column, term.column)) for term in layout.sort),
        tuple(sorted(properties.items())),
    )


def used_names(layout: TableLayout) -> set[str]:
    """All column names that a layout says."""
    named = {term.column for term in layout.partitions} | {term.column for term in layout.sort}
    return named | set(stats_columns(dict(layout.properties).get(STATS_COLUMNS, "")))


def partition_names(layout: TableLayout, columns: Sequence[DeltaColumn], there: Sequence[str]) -> list[str]:
    """What the partition columns of a (present) layout are called in a table partitioned by `there`."""
    generated = {column.name: column.generated for column in columns}
    names = []
    for i, term in enumerate(layout.partitions):
        known = term.transform != "identity" and i < len(there) and generated.get(there[i]) == generation(term)
        names.append(there[i] if known else term.name)
    return names


def check_partitions(have: Sequence[str], want: Sequence[str], name: str) -> None:
    """Raise SchemaConflict where a table is partitioned by other columns than the pipeline says."""
    if list(have) != list(want):
        raise SchemaConflict(
            f"{name} is partitioned by {', '.join(have) or 'nothing'} and should be by {', '.join(want) or 'nothing'}; "
            "move it away, choose another path, or change the pipeline"
        )


def stats_columns(text: str) -> list[str]:
    """The names in a value of `delta.dataSkippingStatsColumns`."""
    found = [m[1].replace("``", "`") if m[1] is not None else m[2].strip() for m in _NAME.finditer(text)]
    return [name for name in found if name]


def stats_text(names: Sequence[str]) -> str:
    """The inverse of `stats_columns`."""
    return ",".join(name if name.isidentifier() else quoted(name) for name in names)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a write needs to know of the table as it is. `partitions` are in the order of `terms`."""

    columns: tuple[DeltaColumn, ...]
    partitions: tuple[DeltaColumn, ...]
    terms: tuple[PartitionField, ...]
    sort: tuple[SortField, ...]
    properties: Mapping[str, str]

    @classmethod
    def of(
        cls,
        columns: Sequence[DeltaColumn],
        partition_columns: Sequence[str],
        configuration: Mapping[str, str],
        layout: TableLayout,
        name: str,
    ) -> Shape:
        """The shape of the table `name`. Raises SchemaConflict where its partitions are not the layout's."""
        by_name = {column.name: column for column in columns}
        now = present(layout, configuration, by_name)
        names = partition_names(now, columns, partition_columns)
        check_partitions(partition_columns, names, name)
        partitions = tuple(by_name[column] for column in names)
        return cls(tuple(columns), partitions, now.partitions, now.sort, configuration)

    @property
    def own(self) -> tuple[DeltaColumn, ...]:
        """The columns without those that the table generates for its partitions."""
        return tuple(column for column in self.columns if column.generated is None)

    @property
    def stored(self) -> tuple[StoredColumn, ...]:
        return delta_table.stored_columns(self.columns, [column.name for column in self.partitions])

    def folder_name(self, term: PartitionField) -> str:
        """What a term's column is called in paths: its first name, which no rename changes."""
        return self.partitions[self.terms.index(term)].physical
