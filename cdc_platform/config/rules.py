"""Rules on a source table's rows, in the form of the pipeline's YAML. Strict, like the rest of the configuration.

    - {name: cost, column: cost, more_than: 0, at_most: {column: price}}
    - {name: customer_exists, references: {table: customers, match: {customer_id: customer_id}}}

What they mean is `model/rules.py`.
"""

from __future__ import annotations

from dataclasses import field
from datetime import date, datetime
from typing import Annotated, Literal, Union

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator
from pydantic.dataclasses import dataclass

from cdc_platform.errors import ConfigError
from cdc_platform.model.rules import (
    Bound,
    ColumnBound,
    Expression,
    Matches,
    NotNull,
    OneOf,
    Operator,
    Reference,
    RowTest,
    Rule,
    parsed,
    pattern_fault,
)

_STRICT = ConfigDict(extra="forbid", validate_default=True)
_OPERATORS: tuple[Operator, ...] = ("at_least", "more_than", "at_most", "less_than")


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class OtherColumn:
    """Another column: of the same row, or with `table` of that table's row whose columns are equal by `match`
    (own column to theirs)."""

    column: str
    table: str | None = None
    match: dict[str, str] = field(default_factory=dict)

    @model_validator(mode="after")
    def _both(self) -> OtherColumn:
        if (self.table is None) != (not self.match):
            raise ValueError("'table' and 'match' belong together: {table: customers, match: {own: theirs}}")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ReferenceConfig:
    """The table in which the row with equal columns has to be; `match` is own column to theirs."""

    table: str = Field(min_length=1)
    match: dict[str, str] = Field(min_length=1)


def _kind(value: object) -> str:
    return "OtherColumn" if isinstance(value, (dict, OtherColumn)) else "Constant"


def _plain(value: object) -> object:
    if not isinstance(value, (bool, int, float, str, date)):
        raise ValueError("a number, a text, a date or a time")  # noqa: TRY004  pydantic's form of an error
    return value


Constant = bool | int | float | datetime | date | str
# The tags are left out of the keys that errors name, see load.py.
Operand = Annotated[
    Union[Annotated[OtherColumn, Tag("OtherColumn")], Annotated[Constant, BeforeValidator(_plain), Tag("Constant")]],  # noqa: UP007
    Discriminator(_kind),
]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class RuleConfig:
    """What each row of the table must be. Of the keys from `matches` to `sql` at least one is there.

    `on_event`: whether changes are held to the rule on their way (`enforce`), or only the table at the source
    (`check`). Rules that one row can be held to by itself are enforced unless told otherwise; the others cannot be.
    """

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    column: str | None = None
    matches: str | None = None
    one_of: list[Constant] | None = Field(default=None, min_length=1)
    at_least: Operand | None = None
    more_than: Operand | None = None
    at_most: Operand | None = None
    less_than: Operand | None = None
    not_null: bool = False
    unique: list[str] | None = Field(default=None, min_length=1)
    references: ReferenceConfig | None = None
    sql: str | None = None
    on_event: Literal["check", "enforce"] | None = None

    @field_validator("matches")
    @classmethod
    def _pattern(cls, value: str | None) -> str | None:
        if value is not None and (fault := pattern_fault(value)):
            raise ValueError(f"not a pattern: {fault}")
        return value

    @field_validator("sql")
    @classmethod
    def _expression(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                parsed(value)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return value

    @model_validator(mode="after")
    def _whole(self) -> RuleConfig:
        rule = self.rule()
        kinds = [bool(rule.tests), bool(rule.unique), rule.reference is not None]
        if not any(kinds):
            raise ValueError(
                "it demands nothing; give matches, one_of, at_least, more_than, at_most, less_than, not_null, unique, "
                "references or sql"
            )
        if sum(kinds) > 1 or (self.references and self._referenced()) or len(self._referenced()) > 1:
            raise ValueError("a rule on other rows (unique, references, another table's column) stands alone")
        by_column = [test for test in rule.tests if not isinstance(test, Expression)] or self._referenced()
        if by_column and self.column is None:
            raise ValueError("'column' is missing: which one is it about?")
        if self.column is not None and not by_column:
            raise ValueError("'column' says nothing here; the rule names its columns itself")
        if self.on_event == "enforce" and not rule.tests:
            raise ValueError("on_event: enforce: a change alone does not tell whether other rows are as demanded")
        return self

    def rule(self) -> Rule:
        """The same in the terms of the model."""
        tests: list[RowTest] = []
        if self.not_null:
            tests.append(NotNull())
        if self.matches is not None:
            tests.append(Matches(self.matches))
        if self.one_of is not None:
            tests.append(OneOf(tuple(self.one_of)))
        for operator, operand in self._bounds():
            if not isinstance(operand, OtherColumn):
                tests.append(Bound(operator, operand))
            elif operand.table is None:
                tests.append(ColumnBound(operator, operand.column))
        if self.sql is not None:
            tests.append(Expression(self.sql))
        return Rule(
            self.name,
            self.column,
            tuple(tests),
            tuple(self.unique or ()),
            self._reference(),
            enforced=bool(tests) and self.on_event != "check",
        )

    def _bounds(self) -> list[tuple[Operator, OtherColumn | Constant]]:
        given = [(operator, getattr(self, operator)) for operator in _OPERATORS]
        return [(operator, operand) for operator, operand in given if operand is not None]

    def _referenced(self) -> list[tuple[Operator, OtherColumn]]:
        return [(o, operand) for o, operand in self._bounds() if isinstance(operand, OtherColumn) and operand.table]

    def _reference(self) -> Reference | None:
        for operator, other in self._referenced():
            return Reference(str(other.table), tuple(other.match.items()), (operator, other.column))
        if self.references is None:
            return None
        return Reference(self.references.table, tuple(self.references.match.items()))


def check_rules(rules: list[RuleConfig]) -> list[RuleConfig]:
    """The rules of one table, each with a name of its own."""
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"rules: two rules are called '{name}'")
    return rules
