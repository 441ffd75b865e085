"""From YAML files (`documents.py`) to `PipelineConfig`s: filling `${NAME}`, and errors that name file, key and remedy.

Connections keep their `${NAME}`s until `connection_of` fills them, so that pipelines can be listed (by Dagster,
by `cdc status`) where the sources' passwords are not known.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cdc_platform.config.documents import read_documents
from cdc_platform.config.pipeline import DestinationConfig, PipelineConfig
from cdc_platform.config.publish import LATE, PublishConfig
from cdc_platform.errors import CdcError, ConfigError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_PARTING = re.compile(r"[./\\]")
_UNKNOWN_KEY = {"unexpected_keyword_argument", "extra_forbidden"}
# What pydantic adds to a key's path: the whole's own name, and which form of a rule's operand was read.
_NO_KEYS = {"PipelineConfig", "OtherColumn", "Constant"}
_ADAPTER = TypeAdapter(PipelineConfig)
# Filled when a connection is opened.
_LATE = {"source.connection", *(f"publish.{key}" for key in LATE)}


@dataclasses.dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline of one table, or a derived one of several, with where it was written.

    `id` has the table's name behind a dot where the file
    lists several tables; `group` is the id as written."""

    id: str
    group: str
    file: Path
    config: PipelineConfig

    @property
    def derived(self) -> bool:
        """Whether its table is made of several, and not one table's."""
        return self.config.derive is not None

    @property
    def parts(self) -> tuple[Pipeline, ...]:
        """Pipelines of one table each: itself, or one for each table that its own is made of."""
        source = self.config.source
        if len(source.tables) == 1:
            return (self,)
        each = (dataclasses.replace(source, tables=[table]) for table in source.tables)
        return tuple(dataclasses.replace(self, config=dataclasses.replace(self.config, source=one)) for one in each)

    @property
    def where(self) -> str:
        return f"{self.file.name}: {self.group}"


def load_pipelines(folder: Path, environment: Mapping[str, str]) -> list[Pipeline]:
    """All pipelines of the folder's *.yaml and *.yml files, ordered by file name and place in the file."""
    if not folder.is_dir():
        raise ConfigError(f"no pipeline folder at {folder}; make it, or set CDC_PIPELINES")
    files = sorted(f for f in folder.iterdir() if f.suffix in (".yaml", ".yml"))
    pipelines = [p for file in files for p in load_file(file, environment)]
    _check_unique(pipelines)
    return pipelines


def load_file(file: Path, environment: Mapping[str, str]) -> Iterator[Pipeline]:
    """The pipelines of one file, which may hold several YAML documents."""
    for document in read_documents(file):
        if document is not None:
            yield from _pipelines(file, document, environment)


def select(pipelines: Sequence[Pipeline], names: Iterable[str]) -> list[Pipeline]:
    """The named pipelines (all without names); a file's id of several tables stands for all of them."""
    names = list(names)
    known = {p.id for p in pipelines} | {p.group for p in pipelines}
    for name in names:
        if name not in known:
            listed = ", ".join(sorted({p.group for p in pipelines})) or "none"
            raise ConfigError(f"no pipeline '{name}'{_near(name, known)}; there are: {listed}")
    return [p for p in pipelines if not names or p.id in names or p.group in names]


def connection_of(pipeline: Pipeline, environment: Mapping[str, str]) -> dict[str, Any]:
    """The source's connection settings with every `${NAME}` filled."""
    connection = pipeline.config.source.connection
    filled = _fill(connection, environment, pipeline.file, "source.connection")
    assert isinstance(filled, dict)
    return filled


def publish_of(pipeline: Pipeline, environment: Mapping[str, str]) -> PublishConfig | None:
    """What `publish:` says, with every `${NAME}` filled."""
    given = pipeline.config.publish
    if given is None:
        return None
    late = {key: value for key, value in dataclasses.asdict(given).items() if key in LATE}
    filled = _fill(late, environment, pipeline.file, "publish")
    assert isinstance(filled, dict)
    return dataclasses.replace(given, **filled)


def _pipelines(file: Path, document: object, environment: Mapping[str, str]) -> Iterator[Pipeline]:
    if not isinstance(document, dict):
        raise ConfigError(f"{file}: a pipeline is a mapping that begins with 'pipeline_id:'")
    source = document.get("source")
    connection = source.get("connection") if isinstance(source, dict) else None
    filled = _fill(document, environment, file, "", skip=_LATE)
    assert isinstance(filled, dict)
    if isinstance(source, dict) and "connection" in source:
        filled["source"]["connection"] = connection
    try:
        pipelines = list(_split(file, _ADAPTER.validate_python(filled)))
    except ValidationError as error:
        raise ConfigError(f"{file}: {_explain(error)}") from error
    except CdcError as error:
        raise ConfigError(f"{file}: {error}") from error
    yield from pipelines


def _split(file: Path, config: PipelineConfig) -> Iterator[Pipeline]:
    """One pipeline a table, or one that is derived. Of several tables, each gets a folder of its own below `path` (or
    `{table}` in it)."""
    if config.derive is not None:
        if "{table}" in config.destination.path + (config.destination.table or ""):
            raise ConfigError(f"{file}: destination: a derived table is one; write its name in place of {{table}}")
        if config.destination.type == "iceberg" and config.destination.table is None:
            raise ConfigError(f"{file}: destination.table: this key is required for a derived table")
        yield Pipeline(config.pipeline_id, config.pipeline_id, file, config)
        return
    for table in config.source.tables:
        several = len(config.source.tables) > 1
        yield Pipeline(
            id=f"{config.pipeline_id}.{table.name}" if several else config.pipeline_id,
            group=config.pipeline_id,
            file=file,
            config=dataclasses.replace(
                config,
                source=dataclasses.replace(config.source, tables=[table]),
                destination=_place(file, config.destination, _PARTING.sub("_", table.name), several),
                publish=_topic(file, config.publish, _PARTING.sub("_", table.name), several),
            ),
        )


def _place(file: Path, destination: DestinationConfig, table: str, several: bool) -> DestinationConfig:
    """The destination of one table."""
    # A table's name is one part of a path or identifier, whatever is in it.
    if destination.quarantine:
        aside = _of_table(destination.quarantine, table, several)
        destination = dataclasses.replace(destination, quarantine=aside)
    if destination.type == "iceberg":
        identifier = destination.table or "cdc.{table}"
        if several and "{table}" not in identifier:
            raise ConfigError(f"{file}: destination.table: with several tables, write 'namespace.{{table}}'")
        return dataclasses.replace(destination, table=identifier.replace("{table}", table))
    return dataclasses.replace(destination, path=_of_table(destination.path, table, several))


def _topic(file: Path, publish: PublishConfig | None, table: str, several: bool) -> PublishConfig | None:
    """The topic of one table; where none is named, the default is one of its own."""
    if publish is None or publish.topic is None:
        return publish
    if several and "{table}" not in publish.topic:
        raise ConfigError(f"{file}: publish.topic: with several tables, write {{table}} in it")
    return dataclasses.replace(publish, topic=publish.topic.replace("{table}", table))


def _of_table(path: str, table: str, several: bool) -> str:
    """A path with the table's name in place of `{table}`, or where there are several, at its end."""
    if several and "{table}" not in path:
        path = f"{path.rstrip('/')}/{{table}}"
    return path.replace("{table}", table)


def _check_unique(pipelines: Sequence[Pipeline]) -> None:
    seen: dict[str, Pipeline] = {}
    targets: dict[tuple[str, str | None], Pipeline] = {}
    asides: dict[str, Pipeline] = {}
    sources: dict[str, Pipeline] = {}
    topics: dict[tuple[str, str], Pipeline] = {}
    for pipeline in pipelines:
        config = pipeline.config
        if pipeline.id in seen:
            raise ConfigError(
                f"{pipeline.file}: pipeline_id '{pipeline.id}' is already used in {seen[pipeline.id].file}"
            )
        seen[pipeline.id] = pipeline
        target = (config.destination.path.rstrip("/"), config.destination.table)
        if target in targets:
            raise ConfigError(f"{pipeline.file}: destination of '{pipeline.id}' is that of '{targets[target].id}' too")
        targets[target] = pipeline
        if (aside := config.destination.quarantine) and (other_one := asides.setdefault(aside, pipeline)) != pipeline:
            raise ConfigError(
                f"{pipeline.file}: destination.quarantine of '{pipeline.id}' is that of '{other_one.id}' too"
            )
        if config.publish is not None:
            topic = config.publish.topic or f"{config.label} {config.table.schema} {config.table.name}"
            other_one = topics.setdefault((config.publish.bootstrap_servers, topic), pipeline)
            if other_one != pipeline:
                raise ConfigError(f"{pipeline.file}: publish.topic of '{pipeline.id}' is that of '{other_one.id}' too")
        other = sources.setdefault(config.label, pipeline)
        if (other.config.source.type, other.config.source.connection, other.config.method) != (
            config.source.type,
            config.source.connection,
            config.method,
        ):
            raise ConfigError(
                f"{pipeline.file}: source of '{pipeline.id}' is another database than that of '{other.id}', "
                f"or read by another method, and both are called '{config.label}'; give one a source.name"
            )


def _fill(value: object, environment: Mapping[str, str], file: Path, key: str, skip: Collection[str] = ()) -> object:
    """`${NAME}` and `${NAME:-default}` in every string below `value`."""
    if key in skip:
        return value
    if isinstance(value, dict):
        return {k: _fill(v, environment, file, f"{key}.{k}" if key else str(k), skip) for k, v in value.items()}
    if isinstance(value, list):
        return [_fill(v, environment, file, f"{key}[{i}]", skip) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value
    if "\0" in value:
        raise ConfigError(f"{file}: {key}: holds a zero byte, which no name or path can")

    def replace(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        found = environment.get(name) or default
        if found is None:
            embedded = name.startswith(("POSTGRES_", "MYSQL_"))
            start = ", or start the embedded servers with 'cdc up'" if embedded else ""
            raise ConfigError(f"{file}: {key}: environment variable {name} is not set; set it{start}")
        return found

    return _VARIABLE.sub(replace, value)


def _explain(error: ValidationError) -> str:
    """The first problem in one line: the key's path, what is wrong, the nearest valid key. Never the value."""
    problems = error.errors(include_input=False, include_url=False)
    # A misspelt key shows up as a missing one too: the misspelling says more.
    problem = next((p for p in problems if p["type"] in _UNKNOWN_KEY), problems[0])
    path = [part for part in problem["loc"] if part not in _NO_KEYS]
    key = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")
    if problem["type"] in _UNKNOWN_KEY:
        valid = _keys_at(path[:-1])
        return f"{key}: unknown key '{path[-1]}'{_near(str(path[-1]), valid)}; valid keys here: {', '.join(valid)}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{key}: this key is required"
    return f"{key}: {message}" if key else message


def _keys_at(path: Sequence[str | int]) -> list[str]:
    """The valid keys below a path of the pipeline's dataclasses."""
    hint: Any = PipelineConfig
    for part in path:
        hint = _child(hint, part)
    forms = (hint, *typing.get_args(hint))
    return [f.name for form in forms if dataclasses.is_dataclass(form) for f in dataclasses.fields(form)]


def _child(hint: Any, part: str | int) -> Any:
    """The type below a field's name, a list's index or a mapping's key."""
    if dataclasses.is_dataclass(hint):
        return typing.get_type_hints(hint).get(str(part))
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next((c for a in arguments if (c := _child(a, part)) is not None), None)
    return arguments[-1] if arguments else None


def _near(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
