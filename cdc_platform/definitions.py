"""What Dagster loads (workspace.yaml): the pipelines of CDC_PIPELINES as definitions. See `defs/`.

`CDC_SENSORS=on` makes the sensors run from the start, as `make dev` wants it; else they wait to be turned on.
"""

from __future__ import annotations

import os

import dagster as dg

from cdc_platform.config.load import load_pipelines
from cdc_platform.config.settings import Settings
from cdc_platform.defs.build import build


@dg.definitions
def defs() -> dg.Definitions:
    settings = Settings.load()
    pipelines = load_pipelines(settings.pipelines, settings.environment())
    return build(settings, pipelines, sensors_running=os.environ.get("CDC_SENSORS", "").lower() == "on")
