"""One writer a source and a destination, across processes of one CDC_HOME."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cdc_platform.errors import ConfigError, Unavailable, no_space

WAIT_SECONDS = 60.0


@contextmanager
def exclusive(folder: Path, name: str, wait: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold the lock `name` while the block runs; the system releases it when the process dies.

    Another holder is waited for, then Unavailable. Re-entrant within a thread for the same name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The wait is the call's, not the lock's: one lock serves callers that wait for different times.
        lock = FileLock(folder / f"{name}.lock", is_singleton=True)
        lock.acquire(timeout=wait)
    except Timeout as error:
        raise Unavailable(
            f"another process works on '{name}' since over {wait:.0f} s; wait for it, run again"
        ) from error
    except OSError as error:
        if no_space(error):
            raise Unavailable(f"cannot write below {folder}: no space is left; make room, and run again") from error
        raise ConfigError(f"cannot write below {folder}: {error.strerror}; is CDC_HOME right?") from error
    try:
        yield
    finally:
        lock.release()
