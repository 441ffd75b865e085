"""What libraries say when files of a lake cannot be read, in the terms of `errors`. Layer: sources."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import polars as pl
import pyarrow as pa

from cdc_platform.errors import NeedsPerson, Unavailable


@contextmanager
def readable(name: str) -> Generator[None]:
    """A FileNotFoundError passes through: what it means depends on what was read."""
    try:
        yield
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise Unavailable(f"{name} cannot be read: {error.strerror}") from error
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise NeedsPerson(f"{name} cannot be read: {line}") from error


@contextmanager
def still_there(name: str) -> Generator[None]:
    """For reading a whole version: the next one has what this one lost."""
    try:
        with readable(name):
            yield
    except FileNotFoundError as error:
        raise Unavailable(f"{name}: files of it were vacuumed while it was read; run again") from error
