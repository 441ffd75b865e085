"""One capture a feed and run, shared by the assets of its tables.

A source's log is read once for all its tables, while in Dagster each table's change log is an asset of its own.
The first asset of a run captures the source; the others find what it did here. Steps that run in processes of
their own capture again, which is as right and only finds less to do.
"""

from __future__ import annotations

import dagster as dg

from cdc_platform.defs.installation import Installation
from cdc_platform.engine.capture import capture
from cdc_platform.engine.follow import Capture
from cdc_platform.engine.progress import Progress
from cdc_platform.errors import CdcError

RESOURCE = "captures"


class Captures:
    """What was captured in this run, by source."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._done: dict[str, Capture | CdcError] = {}

    def of(self, name: str, progress: Progress, again: bool) -> Capture:
        """The run's capture of a source; `again` captures anew (a retry must not meet its own old failure)."""
        if again or name not in self._done:
            self._done[name] = self._capture(name, progress)
        done = self._done[name]
        if isinstance(done, CdcError):
            raise done
        return done

    def _capture(self, name: str, progress: Progress) -> Capture | CdcError:
        try:
            with self._installation.feed(name) as feed:
                return capture(feed, progress=progress)
        except CdcError as error:
            return error


def captures_resource(installation: Installation) -> dg.ResourceDefinition:
    """Made anew for each run."""
    return dg.ResourceDefinition(
        lambda _: Captures(installation), description="What this run has captured, by source. For the change logs."
    )
