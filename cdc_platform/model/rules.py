"""Rules on the rows of a source table: what each row must be, and which rows are not. Pure.

A rule tests one row by itself (`tests`), or a row among others: its table's (`unique`) or another's (`reference`). A
null breaks no rule but `NotNull`, as in SQL's own checks. How rules are written is `config/rules.py`; where they are
looked at is `engine/source_rules.py` (tables at the source) and `engine/validity.py` (changes on their way).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final, Literal

import polars as pl
import pyarrow as pa

from cdc_platform.errors import ConfigError
from cdc_platform.model.schema import TableSchema

Operator = Literal["at_least", "more_than", "at_most", "less_than"]
Constant = bool | int | float | str | date | datetime

NOW: Final = "\x1fnow"
"""The column that `now` is taken from, Datetime us UTC: the snapshot's time, or when a change was captured."""

_SIGNS: Final[Mapping[Operator, str]] = {"at_least": ">=", "more_than": ">", "at_most": "<=", "less_than": "<"}


@dataclass(frozen=True, slots=True)
class Matches:
    """Text in which the pattern is found (Rust's `regex` syntax; `^` and `$` bind it to the whole)."""

    pattern: str


@dataclass(frozen=True, slots=True)
class OneOf:
    values: tuple[Constant, ...]


@dataclass(frozen=True, slots=True)
class Bound:
    """Compared with a constant; the text `now` is the time at which the row is looked at, in columns of times."""

    operator: Operator
    value: Constant


@dataclass(frozen=True, slots=True)
class ColumnBound:
    """Compared with another column of the row."""

    operator: Operator
    column: str


@dataclass(frozen=True, slots=True)
class NotNull:
    pass


@dataclass(frozen=True, slots=True)
class Expression:
    """A Polars SQL expression over the row's columns that is true."""

    sql: str


RowTest = Matches | OneOf | Bound | ColumnBound | NotNull | Expression


@dataclass(frozen=True, slots=True)
class Reference:
    """The row of `table` whose columns equal this one's: `match` pairs (own column, theirs). It has to be there, or
    with `bound`, if it is there, the rule's column is compared with a column of it."""

    table: str
    match: tuple[tuple[str, str], ...]
    bound: tuple[Operator, str] | None = None

    @property
    def theirs(self) -> tuple[str, ...]:
        """The referenced table's columns that are looked at."""
        names = (their for _, their in self.match)
        return tuple(dict.fromkeys((*names, *((self.bound[1],) if self.bound else ()))))


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a table. `enforced`: a change that breaks it does not reach the destination."""

    name: str
    column: str | None = None
    tests: tuple[RowTest, ...] = ()
    unique: tuple[str, ...] = ()
    reference: Reference | None = None
    enforced: bool = True

    @property
    def columns(self) -> tuple[str, ...]:
        """The table's own columns that are looked at."""
        names: list[str] = [self.column] if self.column else []
        for test in self.tests:
            if isinstance(test, ColumnBound):
                names.append(test.column)
            elif isinstance(test, Expression):
                names += parsed(test.sql).meta.root_names()
        names += self.unique
        names += [own for own, _ in self.reference.match] if self.reference else []
        return tuple(dict.fromkeys(names))

    @property
    def words(self) -> str:
        """What the rule demands, for people: no values but those that its own text has."""
        if self.unique:
            return f"{', '.join(self.unique)} unique"
        if self.reference is None:
            demands = " and ".join(map(_words, self.tests))
            return f"{self.column} {demands}" if self.column else demands
        if self.reference.bound is None:
            return f"{', '.join(own for own, _ in self.reference.match)} in {self.reference.table}"
        operator, theirs = self.reference.bound
        return f"{self.column} {_SIGNS[operator]} {self.reference.table}.{theirs}"


def parsed(sql: str) -> pl.Expr:
    """The expression. Raises ConfigError."""
    try:
        return pl.sql_expr(sql)
    except pl.exceptions.PolarsError as error:
        raise ConfigError(f"not an expression: {str(error).splitlines()[0][:200]}") from error


def pattern_fault(pattern: str) -> str | None:
    """Why a pattern is none; None if it is one."""
    try:
        pl.select(pl.lit("").str.contains(pattern))
    except pl.exceptions.ComputeError as error:
        lines = [line for line in str(error).splitlines() if line.startswith("error: ")]
        return lines[0].removeprefix("error: ") if lines else "it cannot be read"
    return None


def require_columns(rule: Rule, schema: TableSchema) -> None:
    """Raise ConfigError where the rule looks at a column that the table has not."""
    for name in rule.columns:
        if name not in schema.names:
            raise ConfigError(
                f"rules.{rule.name}: {schema.table} has no column '{name}'; it has {', '.join(schema.names)}"
            )


def broken(rules: Sequence[Rule], rows: pl.DataFrame, schema: TableSchema) -> pl.DataFrame:
    """Which of the rows break which of the rules: a boolean column a rule, by its name, without nulls.

    `rows` have the columns of `schema` that the rules look at, and `NOW`. For tests of rows by themselves; raises
    ConfigError where a test does not fit its column's type.
    """
    made: list[pl.Series] = []
    for rule in rules:
        fails = [_fails(test, rule, schema) for test in rule.tests]
        try:
            series = rows.select(pl.any_horizontal(fails).fill_null(False).alias(rule.name)).to_series()
        except pl.exceptions.PolarsError as error:
            # Its own words may hold cell values.
            raise ConfigError(
                f"rules.{rule.name}: {rule.words}: this cannot be asked of {schema.table} ({type(error).__name__}); "
                "look at its columns' types"
            ) from error
        made.append(series)
    return pl.DataFrame(made)


def require_alike(rule: Rule, one: pa.DataType, other: pa.DataType) -> None:
    """Raise ConfigError where values of these types have no order between them, or are never equal."""
    if _family(one) != _family(other):
        raise ConfigError(f"rules.{rule.name}: {rule.words}: {one} and {other} cannot be compared")


def _family(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_timestamp(kind):
        return "time with zone" if kind.tz else "time"
    return str(kind)


def compare(left: pl.Expr, operator: Operator, right: pl.Expr) -> pl.Expr:
    """Both in the order of values; null where one of them is."""
    match operator:
        case "at_least":
            return left >= right
        case "more_than":
            return left > right
        case "at_most":
            return left <= right
        case "less_than":
            return left < right


def _fails(test: RowTest, rule: Rule, schema: TableSchema) -> pl.Expr:
    """True where the row breaks the test; null where it cannot be told."""
    if isinstance(test, Expression):
        return parsed(test.sql).not_()
    assert rule.column is not None
    value, kind = pl.col(rule.column), schema.column(rule.column).type
    match test:
        case NotNull():
            return value.is_null()
        case Matches(pattern):
            if not pa.types.is_string(kind):
                raise ConfigError(f"rules.{rule.name}: 'matches' is for text, and '{rule.column}' is {kind}")
            return value.str.contains(pattern).not_()
        case OneOf(values):
            return pl.all_horizontal(value != _constant(one, kind, rule) for one in values)
        case Bound(operator, "now"):
            return compare(value, operator, _now(kind, rule)).not_()
        case Bound(operator, constant):
            return compare(value, operator, _constant(constant, kind, rule)).not_()
        case ColumnBound(operator, other):
            require_alike(rule, kind, schema.column(other).type)
            return compare(value, operator, pl.col(other)).not_()


def _now(kind: pa.DataType, rule: Rule) -> pl.Expr:
    if pa.types.is_date(kind):
        return pl.col(NOW).dt.date()
    if pa.types.is_timestamp(kind):
        return pl.col(NOW) if kind.tz else pl.col(NOW).dt.replace_time_zone(None)
    raise ConfigError(f"rules.{rule.name}: 'now' is for dates and times, and '{rule.column}' is {kind}")


def _constant(value: Constant, kind: pa.DataType, rule: Rule) -> pl.Expr:
    """A constant in the terms of its column: exact for decimals, UTC for times without a zone."""
    fits: object = None
    if pa.types.is_boolean(kind):
        fits = value if isinstance(value, bool) else None
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        fits = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    elif pa.types.is_decimal(kind):
        fits = Decimal(str(value)) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    elif pa.types.is_string(kind):
        fits = value if isinstance(value, str) else None
    elif pa.types.is_date(kind):
        fits = _date(value)
    elif pa.types.is_timestamp(kind):
        fits = _time(value, zoned=kind.tz is not None)
    if fits is None:
        raise ConfigError(f"rules.{rule.name}: '{rule.column}' is {kind}, which {value!r} cannot be compared with")
    return pl.lit(fits)


def _date(value: Constant) -> date | None:
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            return None
    return value if isinstance(value, date) and not isinstance(value, datetime) else None


def _time(value: Constant, zoned: bool) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        return None
    utc = value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    return utc if zoned else utc.replace(tzinfo=None)


def _words(test: RowTest) -> str:
    match test:
        case NotNull():
            return "not null"
        case Matches(pattern):
            return f"matches {pattern}"
        case OneOf(values):
            return f"one of {', '.join(map(str, values))}"
        case Bound(operator, value):
            return f"{_SIGNS[operator]} {value}"
        case ColumnBound(operator, column):
            return f"{_SIGNS[operator]} {column}"
        case Expression(sql):
            return sql
