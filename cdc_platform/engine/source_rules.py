"""The rules of source tables, looked at in the source's own rows at one position.

    one snapshot of all tables concerned ──> what other tables' rules need of a table (key, compared column)
                                         ──> each table's rows, once: columns that its rules look at, and the key
                                         ──> a second time where values that should be unique are not

Pipelines on one table share its rules. A verdict says how many rows break a rule and the keys of a few, never their
values. Memory holds a batch of rows; for a rule on another table that one's columns it looks at, for `unique` eight
bytes a row.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from cdc_platform.config.load import Pipeline
from cdc_platform.engine.feeds import Feed, table_named, table_of
from cdc_platform.engine.progress import Progress
from cdc_platform.errors import CdcError, ConfigError
from cdc_platform.model.rules import NOW, Reference, Rule, broken, compare, require_alike, require_columns
from cdc_platform.model.schema import TableName
from cdc_platform.quality import checks
from cdc_platform.quality.checks import Verdict
from cdc_platform.sources.source import Snapshot

SAMPLE = 10
_OWN, _THEIRS, _ROW = "\x1fown", "\x1ftheirs", "\x1frow"


@dataclass(frozen=True, slots=True)
class TableRule:
    """A rule and the pipelines that state it: verdicts are the first one's."""

    rule: Rule
    pipelines: tuple[str, ...]


def rules_of(pipelines: Sequence[Pipeline]) -> list[TableRule]:
    """The rules that pipelines on one table state, each once; ConfigError where two of one name differ."""
    found: dict[str, TableRule] = {}
    for pipeline in pipelines:
        for rule in (config.rule() for config in pipeline.config.table.rules):
            known = found.setdefault(rule.name, TableRule(rule, ()))
            # Whether it is enforced is each pipeline's own business.
            if (known.rule.words, known.rule.columns) != (rule.words, rule.columns):
                raise ConfigError(
                    f"{pipeline.where}: rules.{rule.name}: pipeline '{known.pipelines[0]}' has another rule of that "
                    f"name on the same table; give one of them another name"
                )
            found[rule.name] = TableRule(known.rule, (*known.pipelines, pipeline.id))
    return list(found.values())


@dataclass(slots=True)
class RulesChecked:
    """Verdicts by pipeline, and the errors of those whose rules could not be looked at."""

    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    errors: dict[str, CdcError] = field(default_factory=dict)


def check_rules(feed: Feed, schema: str, pipelines: Sequence[Pipeline], progress: Progress) -> RulesChecked:
    """The rules of these pipelines on the feed's source, at one position. `schema` is what a bare name belongs to."""
    done = RulesChecked()
    by_table: dict[TableName, list[Pipeline]] = {}
    for pipeline in pipelines:
        by_table.setdefault(table_of(pipeline, schema), []).append(pipeline)
    stated: dict[TableName, list[TableRule]] = {}
    for table, mine in by_table.items():
        if not any(pipeline.config.table.rules for pipeline in mine):
            continue
        if feed.logs[table].position() is None:
            for rule in rules_of(mine):
                reason = f"nothing captured yet; run: cdc run {rule.pipelines[0]}"
                _add(done, rule, checks.rule_absent(rule.rule.name, reason))
        else:
            stated[table] = rules_of(mine)
    if not stated:
        return done
    with feed.source.snapshot(_tables(stated, schema)) as snapshot:
        position = feed.source.format(snapshot.position)
        for table, rules in stated.items():
            progress(f"rules of {table.name}", 0)
            try:
                for rule, verdict in _Look(snapshot, table, schema, position).verdicts(rules):
                    _add(done, rule, verdict)
            except CdcError as error:
                done.errors |= dict.fromkeys((id for rule in rules for id in rule.pipelines), error)
    return done


def _add(done: RulesChecked, rule: TableRule, verdict: Verdict) -> None:
    done.verdicts.setdefault(rule.pipelines[0], []).append(verdict)


def _tables(stated: Mapping[TableName, Sequence[TableRule]], schema: str) -> list[TableName]:
    others = (
        table_named(rule.rule.reference.table, schema)
        for rules in stated.values()
        for rule in rules
        if rule.rule.reference
    )
    return list(dict.fromkeys([*stated, *others]))


@dataclass(slots=True)
class _Found:
    """Rows that break one rule: how many, and the keys of the first."""

    count: int = 0
    keys: list[dict[str, Any]] = field(default_factory=list)

    def take(self, keys: pl.DataFrame) -> None:
        """`keys` of rows that break it, in the order read: `_ROW`, and the key's columns if there is one."""
        self.count += keys.height
        if keys.width > 1:
            self.keys += keys.drop(_ROW).head(SAMPLE - len(self.keys)).to_dicts()


@dataclass(frozen=True, slots=True)
class _Look:
    """One table under its rules."""

    snapshot: Snapshot
    table: TableName
    schema: str
    position: str

    def verdicts(self, stated: Sequence[TableRule]) -> Iterator[tuple[TableRule, Verdict]]:
        shape = self.snapshot.schema(self.table)
        rules = [one.rule for one in stated]
        for rule in rules:
            require_columns(rule, shape)
        began = time.monotonic()
        alone = [rule for rule in rules if rule.tests]
        others = {rule.name: self._others(rule, rule.reference) for rule in rules if rule.reference}
        found = {rule.name: _Found() for rule in rules}
        hashes: dict[str, list[pl.Series]] = {rule.name: [] for rule in rules if rule.unique}
        count = 0
        for rows, keys in self._rows(rules):
            count += rows.height
            masks = broken(alone, rows, shape)
            for name in masks.columns:
                found[name].take(keys.filter(masks[name]))
            for rule in rules:
                if rule.reference:
                    found[rule.name].take(keys.filter(_astray(rule, rule.reference, rows, others[rule.name])))
                if rule.unique:
                    # Nulls are equal to nothing, as in the databases' own unique indexes.
                    whole = rows.select(rule.unique).drop_nulls()
                    hashes[rule.name].append(whole.hash_rows(7))
        for rule in rules:
            if rule.unique:
                self._doubled(rule, pl.concat(hashes[rule.name]) if hashes[rule.name] else None, found[rule.name])
        spent = round((time.monotonic() - began) * 1000)
        for one in stated:
            breaking = found[one.rule.name]
            yield (
                one,
                checks.rule(one.rule.name, one.rule.words, count, breaking.count, breaking.keys, self.position, spent),
            )

    def _rows(self, rules: Sequence[Rule]) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """The columns that the rules look at with `NOW`; and the key's behind `_ROW`, a number."""
        shape = self.snapshot.schema(self.table)
        key = list(shape.primary_key)
        looked_at = list(dict.fromkeys([*(name for rule in rules for name in rule.columns), *key]))
        # One column at least: a batch of none has no rows.
        for batch in self.snapshot.read(self.table, looked_at or [shape.names[0]]):
            rows = batch.frame["after"].struct.unnest().with_columns(batch.frame["source_ts"].alias(NOW))
            yield rows, rows.select(pl.int_range(pl.len()).alias(_ROW), *key)

    def _others(self, rule: Rule, reference: Reference) -> pl.DataFrame:
        """The rows of the referenced table, as far as they are looked at."""
        table = table_named(reference.table, self.schema)
        shape = self.snapshot.schema(table)
        own = self.snapshot.schema(self.table)
        for name in reference.theirs:
            if name not in shape.names:
                raise ConfigError(f"rules.{rule.name}: {table} has no column '{name}'; it has {', '.join(shape.names)}")
        pairs = [*reference.match, *(((rule.column, reference.bound[1]),) if rule.column and reference.bound else ())]
        for mine, their in pairs:
            require_alike(rule, own.column(mine).type, shape.column(their).type)
        frames = [b.frame["after"].struct.unnest() for b in self.snapshot.read(table, list(reference.theirs))]
        named = [pl.col(name).alias(f"{_THEIRS}{name}") for name in reference.theirs]
        held = pl.concat(frames).select(named) if frames else pl.DataFrame()
        keys = [f"{_THEIRS}{their}" for _, their in reference.match]
        if reference.bound is None:
            return held.unique(subset=keys) if frames else held
        if frames and held.drop_nulls(keys).select(keys).is_duplicated().any():
            raise ConfigError(
                f"rules.{rule.name}: match: several rows of {table} are equal in "
                f"{', '.join(their for _, their in reference.match)}; name columns that tell its rows apart"
            )
        return held

    def _doubled(self, rule: Rule, hashes: pl.Series | None, found: _Found) -> None:
        """Rows whose values stand in another row as well: candidates by their hash, then by the values themselves."""
        if hashes is None:
            return
        twice = hashes.filter(hashes.is_duplicated()).unique()
        if twice.is_empty():
            return
        candidates = []
        for rows, keys in self._rows([rule]):
            held = pl.concat([rows.select(rule.unique), keys.rename(lambda n: f"{_OWN}{n}")], how="horizontal")
            held = held.drop_nulls(rule.unique)
            candidates.append(held.filter(held.select(rule.unique).hash_rows(7).is_in(twice.implode())))
        held = pl.concat(candidates)
        doubled = held.filter(held.select(rule.unique).is_duplicated())
        own = [name for name in doubled.columns if name.startswith(_OWN)]
        keys = doubled.select(own).rename(lambda name: name.removeprefix(_OWN))
        found.take(keys)


def _astray(rule: Rule, reference: Reference, rows: pl.DataFrame, others: pl.DataFrame) -> pl.Series:
    """Rows that have no row in the other table, or break their bound by it; a null refers to nothing."""
    own, theirs = [own for own, _ in reference.match], [f"{_THEIRS}{their}" for _, their in reference.match]
    numbered = rows.select(*own, *((rule.column,) if rule.column and rule.column not in own else ()))
    numbered = numbered.with_row_index(_OWN)
    for name, their in zip(own, theirs, strict=True) if others.width else ():
        if numbered.schema[name].is_integer() and others.schema[their].is_integer():
            # Keys of different widths: a join wants them of one.
            numbered = numbered.with_columns(pl.col(name).cast(pl.Int128))
            others = others.with_columns(pl.col(their).cast(pl.Int128))
    whole = numbered.drop_nulls(own)
    try:
        if reference.bound is None:
            there = whole if others.width == 0 else whole.join(others, left_on=own, right_on=theirs, how="anti")
        elif others.width == 0:
            there = whole.clear()
        else:
            assert rule.column is not None
            operator, bound = reference.bound
            joined = whole.join(others, left_on=own, right_on=theirs, how="inner", coalesce=False)
            there = joined.filter(compare(pl.col(rule.column), operator, pl.col(f"{_THEIRS}{bound}")).not_())
    except pl.exceptions.PolarsError as error:
        raise ConfigError(
            f"rules.{rule.name}: {rule.words}: the columns' types cannot be compared ({type(error).__name__})"
        ) from error
    return numbered[_OWN].is_in(there[_OWN].implode())
