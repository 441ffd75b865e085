"""What follows a column's name in an Iceberg table when it is renamed, added or dropped. Pure.

Data files, partitions and sort orders refer to columns by field id. By name do: the pipeline's layout, which goes on
naming columns as they were called when the table was made; properties for one column; the mapping of names to ids
for files that were written without ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import zip_longest
from typing import Final

from cdc_platform.destinations.iceberg_metadata import Metadata
from cdc_platform.model.target import TableLayout

NAME_MAPPING: Final = "schema.name-mapping.default"
_OF_A_COLUMN: Final = (
    "write.metadata.metrics.column.",
    "write.parquet.bloom-filter-enabled.column.",
    "write.parquet.stats-enabled.column.",
)


def current_layout(metadata: Metadata, layout: TableLayout) -> TableLayout:
    """The layout with the names that the table's columns have now.

    A term may use any name that the column at its place in the table's spec ever had, so a name that another
    column bears by now means the renamed one where that is what the table is partitioned or sorted by.
    """
    former = metadata.former_names

    def now(name: str, there: str | None) -> str:
        return there if there is not None and name in former.get(there, ()) else name

    partitions = zip_longest(layout.partitions, [column for column, _ in metadata.partitions])
    sort = zip_longest(layout.sort, [column for column, _ in metadata.sort])
    return TableLayout(
        tuple(replace(term, column=now(term.column, there)) for term, there in partitions if term is not None),
        tuple(replace(term, column=now(term.column, there)) for term, there in sort if term is not None),
        _current_properties(metadata, layout.properties),
    )


def _current_properties(metadata: Metadata, properties: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Properties for one column under its present name; none for columns that are gone."""
    present = {field["name"]: field["name"] for field in metadata.fields}
    present |= {old: name for name, names in metadata.former_names.items() for old in names}
    found = {}
    for key, value in properties:
        prefix = _prefix(key)
        if prefix is None:
            found[key] = value
        elif (column := present.get(key.removeprefix(prefix))) is not None:
            found[prefix + column] = value
    return tuple(found.items())


def properties_after(properties: Mapping[str, str], names: Mapping[str, str | None]) -> dict[str, str]:
    """The properties that are for one column, by what each column that there was is called now (None: it is gone)."""
    found = {}
    for key, value in properties.items():
        prefix = _prefix(key)
        if prefix is None:
            continue
        name = key.removeprefix(prefix)
        if (now := names.get(name, name)) is not None:
            found[prefix + now] = value
    return found


def properties_of_columns(properties: Mapping[str, str]) -> set[str]:
    """Keys of the properties that are for one column each."""
    return {key for key in properties if _prefix(key) is not None}


def _prefix(key: str) -> str | None:
    return next((prefix for prefix in _OF_A_COLUMN if key.startswith(prefix)), None)


def mapping_after(mapping: str, names: Mapping[int, str]) -> str:
    """The mapping for files without field ids, once columns have these names (by field id).

    Every name stays with the field that has it: files of before must never show under a column that came later.
    """
    entries = json.loads(mapping)
    taken = {name for entry in entries for name in entry.get("names", ())}
    known = {entry["field-id"]: entry for entry in entries if "field-id" in entry}
    free = {number: name for number, name in names.items() if name not in taken}
    if not free:
        return mapping
    for number, name in free.items():
        if number in known:
            known[number].setdefault("names", []).append(name)
        else:
            entries.append({"field-id": number, "names": [name]})
    return json.dumps(entries, ensure_ascii=False)
