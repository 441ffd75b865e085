"""The platform's tables opened from Dagster, through the resources of dagster-deltalake and dagster-iceberg.

Every destination is a resource of the definitions, named `<format>_<table>`, for assets of one's own as well.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster_deltalake import DeltaTableResource, LocalConfig
from dagster_iceberg.config import IcebergCatalogConfig
from dagster_iceberg.resource import IcebergTableResource

from cdc_platform.config.pipeline import DestinationConfig
from cdc_platform.engine.derivation.opened import Derivation
from cdc_platform.engine.feeds import Flow
from cdc_platform.lake.iceberg_format import CATALOG_FILE, CATALOG_NAME

TableResource = DeltaTableResource | IcebergTableResource
_CELL_LENGTH = 100


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What a table says of itself without a look at its rows. `version` counts commits (Iceberg: sequence number)."""

    rows: int
    version: int
    uri: str
    snapshot: str | None = None


def table_resource(destination: DestinationConfig) -> TableResource:
    """The resource that opens a destination's table."""
    if destination.type == "deltalake":
        return DeltaTableResource(url=destination.path, storage_options=LocalConfig())
    namespace, _, table = (destination.table or "").rpartition(".")
    name, properties = _catalog(destination)
    with warnings.catch_warnings():
        # Its makers may still change it; the version is pinned.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        config = IcebergCatalogConfig(properties=properties)
        return IcebergTableResource(name=name, config=config, namespace=namespace, table=table)


def _catalog(destination: DestinationConfig) -> tuple[str, dict[str, str]]:
    """Name and properties of the catalog that destinations/iceberg.py opens."""
    warehouse = Path(destination.path.removeprefix("file://")).absolute()
    if destination.catalog is None:
        uri = f"sqlite:///{warehouse / CATALOG_FILE}"
        return CATALOG_NAME, {"type": "sql", "uri": uri, "warehouse": str(warehouse)}
    given = {key: str(value) for key, value in destination.catalog.items()}
    return given.pop("name", CATALOG_NAME), {"warehouse": str(warehouse), **given}


def definition_of(destination: DestinationConfig) -> dg.ResourceDefinition | TableResource:
    """The resource as the definitions hold it.

    Dagster shows a resource's configuration to everyone who sees its UI. A catalog that the pipeline configures may
    hold a token or a key, so then it is bound as a ready object, of which Dagster records nothing.
    """
    resource = table_resource(destination)
    return dg.ResourceDefinition.hardcoded_resource(resource) if destination.catalog else resource


def facts(resource: TableResource) -> TableFacts:
    """From the table's own metadata: files' row counts (Delta), the snapshot's summary (Iceberg)."""
    if isinstance(resource, DeltaTableResource):
        delta = resource.load()
        counts = delta.get_add_actions(flatten=True).column("num_records").to_pylist()
        return TableFacts(sum(counts), delta.version(), _uri(delta.table_uri))
    iceberg = resource.load()
    snapshot = iceberg.current_snapshot()
    if snapshot is None:
        return TableFacts(0, 0, _uri(iceberg.location()))
    rows = int((snapshot.summary and snapshot.summary["total-records"]) or 0)
    return TableFacts(rows, snapshot.sequence_number or 0, _uri(iceberg.location()), str(snapshot.snapshot_id))


def _uri(location: str) -> str:
    return location if "://" in location else Path(location).as_uri()


def preview(flow: Flow | Derivation, rows: int) -> dg.TableMetadataValue | None:
    """The first rows that a reading of the destination gives, as text; None where there are none or none are wanted."""
    for frame in flow.destination.scan() if rows else ():
        if frame.height:
            records = [
                dg.TableRecord({name: _cell(value) for name, value in row.items()})
                for row in frame.head(rows).iter_rows(named=True)
            ]
            return dg.MetadataValue.table(records)
    return None


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= _CELL_LENGTH else f"{text[: _CELL_LENGTH - 1]}…"
