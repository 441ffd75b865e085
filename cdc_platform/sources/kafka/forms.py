"""Which form a topic's messages have. Layer: sources."""

from __future__ import annotations

from cdc_platform.sources.debezium.connect import Field
from cdc_platform.sources.debezium.decoder import Form
from cdc_platform.sources.debezium.json_form import JsonForm
from cdc_platform.sources.debezium.messages import Unreadable


def form_of() -> Form:
    """JSON with its schema."""

    def schemaless() -> Field:
        raise Unreadable(
            "it is JSON without a schema, which says nothing exact of types; set value.converter.schemas.enable = true "
            "at the connector"
        )

    return JsonForm(schemaless)
