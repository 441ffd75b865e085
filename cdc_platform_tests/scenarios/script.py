"""The language of scenario files: SQL with a few words in comments. Parsing only; playing them is `play.py`.

    -- What is shown, in a sentence or two; the bug of other tools that it is, if any.
    -- requires: postgres >= 18               else the scenario is not one of that server (mariadb, mysql, postgres)
    -- table: orders                          a table that is followed, in four pipelines
    -- config: schema_changes: {add_column: ignore}      goes into each pipeline's destination, from the next run on
    -- read: primary_key: [id]                the same for the source's table
    create table ...;                         SQL goes to the server as it is, statement by statement
    -- session b: ... ;                       from here on by another connection; `-- session a:` goes back
    -- session b after 2 s: ... ;             the same, while the scenario goes on; the next run waits for it at its end
    -- file: rows.csv                         the indented comment lines below are a file; SQL names it $folder/rows.csv
    -- keep: 60000 rows                       said by large scenarios: events are counted, not printed
    -- capture                                only the first half of a run: changes into the change log
    -- run                                    `cdc run`; afterwards all pipelines must hold what the source holds
    -- expect events [table]                  what that run logged: operation, before, after
    --   INSERT  null  {"id": 1}
    -- expect columns [pipelines]: id, name   the destinations' columns, without `_cdc_*`; those of the source that are
                                              none of these are meant to lack, which else is an error
    -- expect rows [table]                    what the destinations hold, as text; a key is needed
    --   id | name
    --   1  | a
    -- expect stop 4 [pipelines]: text        these pipelines end with that exit code and words, the others go on;
                                              `...` in them is a place or a number that is another each time
    -- expect nothing written [pipelines]     their tables are what they were before the run

A word for pipelines is part of their names (`orders_delta_upsert`): `orders`, `iceberg`, `append`; none means all.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_WORDS = r"(requires|table|config|read|session|file|keep|capture|run|expect)\b"
_DIRECTIVE = re.compile(rf"-- {_WORDS}(.*)")
_CONTINUATION = re.compile(r"--(?:  +(.*))?")
_SESSION = re.compile(r"(\w+)(?: after (\d+) s)?")
_STOP = re.compile(r"stop (\d+)([^:]*): *(.+)")
_TOKEN = re.compile(
    r"""(?P<end>;)|[^;'"`$/-]+|'(?:[^'\\]|\\.|'')*'|"(?:[^"]|"")*"|`[^`]*`|--[^\n]*|/\*.*?\*/"""
    r"""|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|.""",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Sql:
    """Statements that one connection gets, one after the other."""

    session: str
    statements: tuple[str, ...]
    delay: float | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """Options that hold from the next run on: the destination's, and the source table's."""

    destination: dict[str, Any]
    table: dict[str, Any]


@dataclass(frozen=True, slots=True)
class File:
    """A file beside the scenario's, for LOAD DATA."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Stop:
    code: int
    text: str
    pipelines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Follow:
    """A table that is followed from the next run on."""

    table: str


@dataclass(frozen=True, slots=True)
class Capture:
    """The first half of a run alone."""


@dataclass(slots=True)
class Run:
    """`cdc run`, and what it must have done. Tables and pipelines are named by words of theirs."""

    events: dict[str, list[tuple[str, Any, Any]]] = field(default_factory=dict)
    columns: list[tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)
    rows: dict[str, list[list[str]]] = field(default_factory=dict)
    stops: list[Stop] = field(default_factory=list)
    nothing_written: list[tuple[str, ...]] = field(default_factory=list)


Step = Sql | Config | File | Follow | Capture | Run


@dataclass(slots=True)
class Scenario:
    path: Path
    tables: list[str] = field(default_factory=list)
    requires: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    large: bool = False

    @property
    def name(self) -> str:
        return f"{self.path.parent.name}/{self.path.stem}"


def parse(path: Path, variables: dict[str, str] | None = None) -> Scenario:
    """The scenario of a file; raises ValueError with file and line where it is not in the language."""
    text = path.read_text()
    for name, value in (variables or {}).items():
        text = text.replace(f"${name}", value)
    return _Parser(Scenario(path), text.splitlines()).parse()


class _Parser:
    def __init__(self, scenario: Scenario, lines: list[str]) -> None:
        self.scenario, self.lines = scenario, lines
        self.at, self.session = 0, "a"
        self.delay: float | None = None
        self.sql: list[str] = []

    def parse(self) -> Scenario:
        while self.at < len(self.lines):
            line = self.lines[self.at]
            match = _DIRECTIVE.fullmatch(line)
            self.at += 1
            if match is None:
                self.sql.append(line)
                continue
            self._flush()
            try:
                self._directive(match[1], match[2].lstrip(":").strip())
            except (ValueError, IndexError, yaml.YAMLError) as error:
                raise ValueError(f"{self.scenario.path}:{self.at}: {error}") from error
        self._flush()
        return self.scenario

    def _flush(self) -> None:
        if statements := split("\n".join(self.sql)):
            self.scenario.steps.append(Sql(self.session, statements, self.delay))
        self.sql = []

    def _directive(self, word: str, rest: str) -> None:
        steps = self.scenario.steps
        match word:
            case "requires":
                self.scenario.requires.append(rest)
            case "table":
                self.scenario.tables.append(rest)
                steps.append(Follow(rest))
            case "config":
                steps.append(Config(yaml.safe_load(rest), {}))
            case "read":
                steps.append(Config({}, yaml.safe_load(rest)))
            case "session":
                words, _, statement = rest.partition(":")
                match = _SESSION.fullmatch(words)
                if match is None:
                    raise ValueError(f"'{words}' names no session")
                self.session, self.delay = match[1], float(match[2]) if match[2] else None
                self.sql.append(statement)
            case "file":
                steps.append(File(rest, "\n".join(self._continuation()) + "\n"))
            case "keep":
                self.scenario.large = True
            case "capture":
                steps.append(Capture())
            case "run":
                steps.append(Run())
            case "expect":
                if not steps or not isinstance(run := steps[-1], Run):
                    raise ValueError("an expectation belongs right behind a run")
                self._expectation(run, rest)

    def _expectation(self, run: Run, rest: str) -> None:
        first, _, more = rest.partition(" ")
        words, _, value = more.partition(":")
        if stop := _STOP.fullmatch(rest):
            run.stops.append(Stop(int(stop[1]), stop[3], tuple(stop[2].split())))
        elif first == "events":
            run.events[self._table(more)] = [_event(line) for line in self._continuation()]
        elif first.rstrip(":") == "columns":
            words, _, value = rest.removeprefix("columns").partition(":")
            run.columns.append((tuple(words.split()), tuple(name.strip() for name in value.split(","))))
        elif first == "rows":
            run.rows[self._table(more)] = [[c.strip() for c in line.split("|")] for line in self._continuation()]
        elif rest.startswith("nothing written"):
            run.nothing_written.append(tuple(rest.removeprefix("nothing written").split()))
        else:
            raise ValueError(f"'{rest}' is no expectation")

    def _table(self, name: str) -> str:
        name = name.strip() or self.scenario.tables[0]
        if name not in self.scenario.tables:
            raise ValueError(f"{name} is none of the scenario's tables")
        return name

    def _continuation(self) -> list[str]:
        found = []
        while self.at < len(self.lines) and (match := _CONTINUATION.fullmatch(self.lines[self.at])):
            if match[1] is None:
                break
            found.append(match[1])
            self.at += 1
        return found


def split(text: str) -> tuple[str, ...]:
    """SQL text as statements: a semicolon ends one, but not inside quotes, comments and dollar quotes."""
    statements, begin = [], 0
    for token in _TOKEN.finditer(text):
        if token["end"]:
            statements.append(text[begin : token.start()])
            begin = token.end()
    statements.append(text[begin:])
    return tuple(s.strip() for s in statements if re.sub(r"--[^\n]*|\s", "", s))


def _event(line: str) -> tuple[str, Any, Any]:
    operation, _, rest = line.partition(" ")
    decoder, rest = json.JSONDecoder(), rest.strip()
    before, end = decoder.raw_decode(rest)
    after, end = decoder.raw_decode(rest := rest[end:].strip())
    if rest[end:].strip():
        raise ValueError(f"'{rest[end:]}' is more than an operation, before and after")
    return operation, before, after
