"""What a derived table is: inputs, columns, and a pure function from the inputs' rows to its rows. Layer: model.

Each input's row belongs to one row of the derived table, that whose key its `by` columns hold. So the rows of some keys
are a function of the inputs' rows that belong to them, and a change touches the keys that are in its row before and
after it: what there is to know for keeping the table by its changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import polars as pl
import pyarrow as pa

from cdc_platform.errors import ConfigError
from cdc_platform.model.projection import Format, default_type
from cdc_platform.model.target import TargetField, TargetSchema

Rows = Callable[[Mapping[str, pl.LazyFrame]], pl.LazyFrame]
"""From the current rows of the inputs, by name, to the table's rows: all that belong to some keys are given, and all
rows of these keys are wanted, one a key. Called with some keys or with all of them: each key's row must be the same."""


@dataclass(frozen=True, slots=True)
class Input:
    """A table that a derived one is made of. `by` are its columns that name the derived row, in the order of that one's
    key; `columns` those that are read besides. A row with a null in `by` belongs to no derived row."""

    by: tuple[str, ...]
    columns: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All columns that are read, each once."""
        return tuple(dict.fromkeys((*self.by, *self.columns)))


@dataclass(frozen=True, slots=True)
class Derived:
    """A derived table. Rows come to `rows` with the columns that the inputs name, in the types that they have in the
    change log; the `by` columns in the types of `key`. It gives the columns of `fields` but for `written_at`, which
    gets the time (UTC) at which a row was written and is no part of any comparison."""

    key: tuple[str, ...]
    fields: tuple[TargetField, ...]
    inputs: Mapping[str, Input]
    rows: Rows = field(repr=False)
    written_at: str | None = None

    def __post_init__(self) -> None:
        names = [one.name for one in self.fields]
        if len(set(names)) < len(names):
            raise ConfigError("two of its columns have one name")
        for name in (*self.key, *([self.written_at] if self.written_at else [])):
            if name not in names:
                raise ConfigError(f"it has no column '{name}'")
        if not self.key or not self.inputs:
            raise ConfigError("it needs a key, and an input")
        for name, one in self.inputs.items():
            if len(one.by) != len(self.key):
                raise ConfigError(f"input '{name}' has {len(one.by)} columns in 'by', and the key {len(self.key)}")
        if self.written_at is not None and not pa.types.is_timestamp(self.field(self.written_at).type):
            raise ConfigError(f"column '{self.written_at}' takes a time, and is no timestamp")

    def field(self, name: str) -> TargetField:
        return next(one for one in self.fields if one.name == name)

    @property
    def computed(self) -> tuple[TargetField, ...]:
        """The columns that `rows` gives."""
        return tuple(one for one in self.fields if one.name != self.written_at)

    def target(self, destination: Format) -> TargetSchema:
        """The table's shape in a format. Key columns are required."""
        fields = (
            replace(one, type=default_type(one.type, destination), required=one.required or one.name in self.key)
            for one in self.fields
        )
        return TargetSchema(tuple(fields), self.key)
