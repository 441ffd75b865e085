"""What things are called in Dagster: keys, groups and tag values that it accepts, for any table of any database.

Pure, and free of servers and variables: names must not change when a server is down or a password is unknown.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import dagster as dg

from cdc_platform.config.load import Pipeline
from cdc_platform.engine.feeds import table_of
from cdc_platform.engine.handing_on import read_from, written_to
from cdc_platform.errors import ConfigError
from cdc_platform.sources.open import default_schema

CAPTURE_AND_APPLY = "capture_and_apply"
CHECKS = "checks"
RESYNC = "resync"
OWNERS = ("team:data-platform",)
_TAG_LENGTH = 63
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FlowAssets:
    """The assets that one table of a pipeline is part of; `part` is the pipeline of that table alone. Pipelines of one
    table share the first two; the tables that a derived one is made of share the last. `handed_on` says that the source
    is another pipeline's destination."""

    pipeline: Pipeline
    part: Pipeline
    source: dg.AssetKey
    change_log: dg.AssetKey
    destination: dg.AssetKey
    handed_on: bool = False

    @property
    def label(self) -> str:
        return self.pipeline.config.label

    @property
    def group(self) -> str:
        return safe_name(self.label)

    @property
    def resource(self) -> str:
        """The name under which Dagster code opens the destination's table."""
        return "_".join(self.destination.path)

    @property
    def table(self) -> str:
        """The source table as the pipeline writes it."""
        return self.part.config.table.name


def name_flows(
    pipelines: Sequence[Pipeline], environment: Mapping[str, str] = MappingProxyType({})
) -> list[FlowAssets]:
    """The assets of every pipeline; raises ConfigError where two different things would have one key.

    A lake table that one pipeline writes and another reads is one asset, that of the first. Where it is may be said by
    variables, which `environment` has.
    """
    written = {written_to(pipeline.config.destination): _destination(pipeline) for pipeline in pipelines}
    flows = [_name(pipeline, part, written, environment) for pipeline in pipelines for part in pipeline.parts]
    owners: dict[dg.AssetKey, tuple[str, str]] = {}
    for flow in flows:
        where = f"the table {flow.table} of source '{flow.label}'"
        if not flow.handed_on:
            _claim(owners, flow.source, "source", where)
        _claim(owners, flow.change_log, "change log", f"the change log of {where}")
        _claim(owners, flow.destination, flow.pipeline.id, f"the destination of pipeline '{flow.pipeline.id}'")
    return flows


def safe_name(text: str) -> str:
    """The text where Dagster takes it as a name, else its letters and digits with a short digest of all of it."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", text)
    return text if text and plain == text else f"{plain}_{digest([text])}"


def tag_value(text: str) -> str:
    """The text as the value of a tag: at most 63 letters, digits, `_`, `-`, `.`."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", text)
    return text if plain == text and len(text) <= _TAG_LENGTH else f"{plain[: _TAG_LENGTH - 9]}_{digest([text])}"


def data_version(position: str) -> dg.DataVersion:
    """The source position of the last change: equal in a log and in what is made of it when this is up to date."""
    return dg.DataVersion(position or "nothing yet")


def digest(parts: Iterable[str]) -> str:
    """Eight hex digits that stand for the parts in their order."""
    return hashlib.blake2b("\x00".join(parts).encode(), digest_size=4).hexdigest()


def _name(
    pipeline: Pipeline, part: Pipeline, written: Mapping[str, dg.AssetKey], environment: Mapping[str, str]
) -> FlowAssets:
    config = part.config
    # The connection as written, variables unfilled: a MySQL database that is only known at run time stays unknown.
    schema = default_schema(config.system, config.source.connection)
    table = table_of(part, schema)
    parts = [config.label, *([] if table.schema == schema else [table.schema]), table.name]
    source = [safe_name(name) for name in parts]
    place = read_from(part, environment)
    return FlowAssets(
        pipeline=pipeline,
        part=part,
        source=written.get(place, dg.AssetKey(source)),
        change_log=dg.AssetKey(["change_log", *source]),
        destination=_destination(pipeline),
        handed_on=place in written,
    )


def _destination(pipeline: Pipeline) -> dg.AssetKey:
    config = pipeline.config.destination
    return dg.AssetKey([config.type, safe_name(config.label)])


def _claim(owners: dict[dg.AssetKey, tuple[str, str]], key: dg.AssetKey, identity: str, what: str) -> None:
    """Note that `key` means `what`; the same key for another identity is an error."""
    known, other = owners.setdefault(key, (identity, what))
    if known != identity:
        raise ConfigError(
            f"the Dagster asset {key.to_user_string()} would be both {other} and {what}; "
            "give one of them another name (source.name, or the last part of destination.path or table)"
        )
