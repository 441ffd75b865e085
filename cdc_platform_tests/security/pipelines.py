"""Pipelines as text, whatever characters their values have: JSON is YAML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def things(folder: Path, system: str, connection: Mapping[str, Any], table: str = "things", **destination: Any) -> Path:
    """The folder of one pipeline, `one`, from `table` to a Delta table `things`."""
    pipeline = {
        "pipeline_id": "one",
        "source": {"type": system, "connection": dict(connection), "tables": [{"name": table}]},
        "destination": {"type": "deltalake", "path": "${CDC_HOME}/lake/deltalake/things", **destination},
    }
    made = folder / "pipelines"
    made.mkdir(exist_ok=True)
    (made / "one.yaml").write_text(json.dumps(pipeline, ensure_ascii=False), encoding="utf-8")
    return made
