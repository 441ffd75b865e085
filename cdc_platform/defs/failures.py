"""The platform's errors as Dagster failures: one line, the kind, and whether trying again can help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg

from cdc_platform.defs.installation import Installation
from cdc_platform.defs.naming import FlowAssets
from cdc_platform.engine.apply import Application
from cdc_platform.engine.measuring import observation, publish
from cdc_platform.engine.memory import remember
from cdc_platform.errors import CdcError, Unavailable

# Half a minute in all: a server that restarts is waited for, one that is down is the sensor's business.
PAUSES_SECONDS = (10.0, 20.0)

Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext


@contextmanager
def told(context: Context, installation: Installation, flows: Sequence[FlowAssets]) -> Iterator[None]:
    """Errors of the platform's own tree leave the block as Dagster's, and are kept for `cdc status` and in the metrics.

    All others are bugs and pass as they are.
    """
    try:
        yield
    except CdcError as error:
        settings = installation.settings
        for flow in flows:
            remember(settings.home, flow.pipeline.id, error)
        seen = [observation(flow.pipeline, Application(), error, {}) for flow in flows]
        publish(settings, installation.pipelines, seen)
        # `from None`: Dagster stores the whole chain, and drivers put cells and connection strings in their messages.
        raise as_dagster(error, context) from None


def as_dagster(error: CdcError, context: Context) -> dg.Failure | dg.RetryRequested:
    """Only what is Unavailable now is tried again: the rest needs an edit or a person first."""
    tries = context.retry_number
    if isinstance(error, Unavailable) and tries < len(PAUSES_SECONDS):
        context.log.warning(f"{error} (trying again in {PAUSES_SECONDS[tries]:g} s)")
        return dg.RetryRequested(max_retries=len(PAUSES_SECONDS), seconds_to_wait=PAUSES_SECONDS[tries])
    return failure(error)


def failure(error: CdcError) -> dg.Failure:
    """One line, with the kind and the exit code that `cdc` would give."""
    return dg.Failure(str(error), metadata={"kind": error.kind, "exit_code": error.exit_code})
