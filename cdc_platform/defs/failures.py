"""The platform's errors as Dagster failures: one line, the kind, and whether trying again can help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from cdc_platform.defs.naming import FlowAssets
from cdc_platform.engine.memory import remember
from cdc_platform.errors import CdcError, Unavailable

# Half a minute in all: a server that restarts is waited for, one that is down is the sensor's business.
RETRIES = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL)


@contextmanager
def told(home: Path, flows: Sequence[FlowAssets]) -> Iterator[None]:
    """Errors of the platform's own tree leave the block as a dagster.Failure, and are kept for `cdc status`.

    All others are bugs and pass as they are.
    """
    try:
        yield
    except CdcError as error:
        for flow in flows:
            remember(home, flow.pipeline.id, error)
        # `from None`: Dagster stores the whole chain, and drivers put cells and connection strings in their messages.
        raise failure(error) from None


def failure(error: CdcError) -> dg.Failure:
    """Only what is Unavailable now is worth another try: the rest needs an edit or a person first."""
    return dg.Failure(
        description=str(error),
        metadata={"kind": error.kind, "exit_code": error.exit_code},
        allow_retries=isinstance(error, Unavailable),
    )
