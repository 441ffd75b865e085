"""A derived table's definition: the file that a pipeline names, read, and held against the columns of its inputs.

    derive.definition: customers_analytics      cdc_platform/derived/customers_analytics.py
    derive.definition: spending.py              a file beside the pipeline's own; nothing else is ever loaded

The file is Python and runs as such: who may write it may do what the platform may.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

import cdc_platform.derived
from cdc_platform.change_log.shapes import SchemaVersion
from cdc_platform.change_log.state import cells
from cdc_platform.errors import CdcError, ConfigError, SchemaConflict
from cdc_platform.model.derived import Derived, Input
from cdc_platform.model.projection import polars_type
from cdc_platform.model.schema import Column, TableSchema

OBJECT: Final = "TABLE"
SHIPPED: Final = Path(cdc_platform.derived.__file__).parent
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Definition:
    """`name` is what the pipeline calls it; `digest` stands for the file's text."""

    name: str
    table: Derived
    digest: str


def load(name: str, beside: Path) -> Definition:
    """The definition `name` of a pipeline in the folder `beside`. Raises ConfigError in one line."""
    file = _file(name, beside)
    try:
        text = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"derive.definition: {file} cannot be read: {error.strerror}") from error
    digest = hashlib.blake2b(text, digest_size=16).hexdigest()
    spec = importlib.util.spec_from_file_location(f"cdc_derived_{digest}", file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"derive.definition: {file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except CdcError as error:
        raise ConfigError(f"derive.definition: {file}: {error}") from error
    except Exception as error:  # the file is its author's, and so is what goes wrong in it
        raise ConfigError(f"derive.definition: {file} cannot be loaded: {type(error).__name__}: {error}") from error
    table = getattr(module, OBJECT, None)
    if not isinstance(table, Derived):
        raise ConfigError(f"derive.definition: {file} has no {OBJECT} = Derived(...)")
    return Definition(name, table, digest)


def _file(name: str, beside: Path) -> Path:
    if name.endswith(".py"):
        file = beside / name
        if not file.is_file():
            raise ConfigError(f"derive.definition: there is no file {file}")
        return file
    known = sorted(file.stem for file in SHIPPED.glob("*.py") if _NAME.fullmatch(file.stem))
    if name not in known:
        raise ConfigError(
            f"derive.definition: '{name}' is none of those that come with the platform ({', '.join(known)}); "
            "a table of your own is a file beside the pipeline's, named with its .py"
        )
    return SHIPPED / f"{name}.py"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is read of an input: `columns`, and `primary_key`, by which its log tells rows apart; how the two are kept
    is `schema`. `by` are in the types of the derived key, so that equal keys of two inputs are equal."""

    primary_key: tuple[Column, ...]
    columns: tuple[Column, ...]
    by: tuple[str, ...]
    key_types: tuple[pl.DataType, ...]

    @property
    def key_names(self) -> list[str]:
        """What the primary key's columns are called in rows of `schema`."""
        return [f"\x1fkey{place}" for place in range(len(self.primary_key))]

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def schema(self) -> pl.Schema:
        by = dict(zip(self.by, self.key_types, strict=True))
        held = {name: polars_type(c.type) for name, c in zip(self.key_names, self.primary_key, strict=True)}
        return pl.Schema(held | {c.name: by.get(c.name) or polars_type(c.type) for c in self.columns})

    @property
    def digest(self) -> str:
        """Stands for all of it: rows that were kept under another one are not these."""
        described = [(c.name, str(c.type), c.source_id) for c in (*self.primary_key, *self.columns)]
        text = repr((described, len(self.primary_key), self.by, list(map(str, self.key_types))))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def of(self, rows: pl.Series) -> pl.DataFrame:
        """Rows (structs of the log's columns) as rows of `schema`."""
        cells = [rows.struct.field(column.name) for column in (*self.primary_key, *self.columns)]
        return pl.DataFrame({n: cell.cast(kind) for (n, kind), cell in zip(self.schema.items(), cells, strict=True)})

    def image(self, image: str, shape: SchemaVersion) -> pl.Expr:
        """A row image of a log's events in that shape, as a struct of `schema`; null where there is none."""
        found = cells(pl.col(image), shape, [*self.primary_key, *self.columns])
        named = [cell.alias(name) for cell, name in zip(found, self.schema, strict=True)]
        typed = [cell.cast(kind) for cell, kind in zip(named, self.schema.values(), strict=True)]
        return pl.when(pl.col(image).is_not_null()).then(pl.struct(typed)).alias(image)


def wanted(table: Derived, name: str, one: Input, shape: TableSchema) -> Wanted:
    """What the input `name` needs of a log whose rows have this shape. Raises ConfigError, SchemaConflict."""
    if not shape.primary_key:
        raise ConfigError(f"{shape.table} has no primary key, by which a row of input '{name}' could be known again")
    for column in one.names:
        if column not in shape.names:
            raise SchemaConflict(f"input '{name}' needs a column '{column}', which {shape.table} has not (any more)")
    key_types = tuple(polars_type(table.field(column).type) for column in table.key)
    columns = tuple(shape.column(column) for column in one.names)
    for by, kind in zip(one.by, key_types, strict=True):
        if not _comparable(polars_type(shape.column(by).type), kind):
            raise ConfigError(f"input '{name}': column '{by}' is {shape.column(by).type}, and the key it names {kind}")
    return Wanted(tuple(map(shape.column, shape.primary_key)), columns, one.by, key_types)


def _comparable(held: pl.DataType, key: pl.DataType) -> bool:
    return held == key or (held.is_integer() and key.is_integer())
