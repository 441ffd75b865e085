"""Lake tables that one pipeline writes and another reads: where both are, as text that can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cdc_platform.config.load import Pipeline, connection_of
from cdc_platform.config.pipeline import DestinationConfig
from cdc_platform.destinations.open import open_destination
from cdc_platform.engine.feeds import table_of
from cdc_platform.errors import CdcError, ConfigError, Unavailable
from cdc_platform.sources.open import default_schema


def written_to(destination: DestinationConfig) -> str:
    """Where a destination's table is."""
    root = Path(destination.path.removeprefix("file://")).expanduser().absolute()
    return f"{root}/{destination.table}" if destination.type == "iceberg" else str(root)


def read_from(part: Pipeline, environment: Mapping[str, str]) -> str:
    """Where the table of a pipeline of one is, if it is a lake's; empty otherwise."""
    source = part.config.source
    key = {"deltalake": "path", "iceberg": "warehouse"}.get(source.type)
    if key is None:
        return ""
    try:
        connection = connection_of(part, environment)
    except ConfigError:  # of a variable: whoever reads the table says so
        connection = source.connection
    root = Path(str(connection.get(key, "")).removeprefix("file://")).expanduser().absolute()
    table = table_of(part, default_schema(part.config.system, connection))
    return f"{root}/{part.config.table.name if source.type == 'deltalake' else table}"


def writer_of(part: Pipeline, everything: Sequence[Pipeline], environment: Mapping[str, str]) -> Pipeline | None:
    """The pipeline whose destination this one reads; None where no pipeline writes it."""
    place = read_from(part, environment)
    return next((p for p in everything if place and written_to(p.config.destination) == place), None)


def awaited(part: Pipeline, everything: Sequence[Pipeline], environment: Mapping[str, str]) -> CdcError | None:
    """Why the table is not there yet, where another pipeline is to make it: that passes by itself."""
    writer = writer_of(part, everything, environment)
    if writer is None or open_destination(writer.config.destination).schema() is not None:
        return None
    table = part.config.table.name
    return Unavailable(f"{table} is not there yet: {writer.id} has not written it; run that first")
