"""From a pipeline's destination configuration to its destination."""

from __future__ import annotations

from cdc_platform.config.pipeline import DestinationConfig
from cdc_platform.destinations.destination import Destination


def open_destination(config: DestinationConfig) -> Destination:
    """The destination that `config` describes. Touches nothing yet; raises ConfigError.

    The formats are imported here, so that a Delta pipeline does not pay for Iceberg's libraries.
    """
    if config.type == "iceberg":
        from cdc_platform.destinations.iceberg import IcebergDestination

        return IcebergDestination(config.path, config.table or "", config.catalog, config.layout())
    from cdc_platform.destinations.delta import DeltaDestination

    return DeltaDestination(config.path, config.layout())
