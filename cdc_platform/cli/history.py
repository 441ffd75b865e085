"""`cdc check --history`: the results of earlier checks, from the table that keeps them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cdc_platform.cli.output import print_json, print_table
from cdc_platform.cli.session import Session


def show_history(session: Session, pipelines: Sequence[str], limit: int, as_json: bool) -> None:
    """The newest first; JSON has the columns of the data model, section 4.2, with `details` as an object."""
    from cdc_platform.quality.results import history

    found = history(session.settings.validation_results, pipelines, limit).to_dicts()
    if as_json:
        print_json([{**row, "details": json.loads(row["details"])} for row in found])
        return
    names = ("validation_timestamp", "pipeline_id", "validation_type", "status", "expected_value", "actual_value")
    headers = ("when", "pipeline", "check", "status", "expected", "actual")
    print_table(headers, [tuple(str(row[name]) for name in names) for row in found])
