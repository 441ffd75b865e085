"""A commit made once: conflicts tried again on the reloaded table, a lost reply told from a refused commit.

    commit ── reply ──────────────> done
       │ conflict: somebody else was first ──> reload ──> plan and commit again, a bounded number of times
       │ any other failure: its fate is unknown ──> reload ──> our version in the table? ──> done
       └────────────────────────────────────────────────────────────────────────────────> raise

Why nothing is written twice: every commit holds the change log's version, and after any failure the table is
asked for it before anything is written again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from cdc_platform.destinations.destination import Written
from cdc_platform.errors import CdcError, Unavailable

ATTEMPTS: Final = 8


class Conflict(Exception):
    """The table moved on under this commit, which was refused. Never leaves this package."""


def once(
    commit: Callable[[], Written],
    landed: Callable[[], Written | None],
    undo: Callable[[], None],
    doubtful: tuple[type[Exception], ...],
    table: str,
) -> Written:
    """The result of `commit`, or of `landed` where a failed one turns out to be in the table.

    `commit` plans on the table as it then is and raises Conflict; `landed` reloads the table. `doubtful` are
    the errors after which the commit may have been made all the same; they are raised on when it was not.
    `undo` removes what was written for a commit that surely was not made.
    """
    retrying = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.05, max=2),
        retry=retry_if_exception_type(Conflict),
        reraise=True,
    )
    failures: tuple[type[Exception], ...] = (Conflict, CdcError, *doubtful)
    refused = False

    def attempt() -> Written:
        nonlocal refused
        refused = False
        try:
            return commit()
        except failures:
            written = landed()
            if written is None:
                refused = True
                raise
            return written

    try:
        return retrying(attempt)
    except failures as error:
        # Not refused: the table could not even be asked, so what was written may be part of it.
        if refused:
            undo()
        if isinstance(error, Conflict):
            raise Unavailable(
                f"{table}: other writers came first {ATTEMPTS} times; try again, or stop the other writer"
            ) from error
        raise
