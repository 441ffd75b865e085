"""The error tree. Each leaf says what a person should do and whether trying again can help.

    CdcError                      one line, no secrets, no cell values
    ├── ConfigError       exit 2  wrong usage or configuration: edit something, run again
    ├── Unavailable       exit 3  could not be done now (a server is down, a lock is held): run again
    └── NeedsPerson       exit 4  will not work until a person acts
        ├── Gap                   the source's log no longer holds what is missing
        ├── SchemaConflict        source, change log and destination cannot be brought together
        ├── NotUnderstood         a type, message or setting that the platform refuses to guess at
        └── InvalidRow            a value that cannot be held by the destination

The innermost layer: imports nothing of the project.
"""

from __future__ import annotations

import errno
from typing import ClassVar, Final

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class CdcError(Exception):
    """A failure with one clear line (`str(error)`) and the process exit code that belongs to it."""

    exit_code: ClassVar[int] = 4
    kind: ClassVar[str] = "error"


class ConfigError(CdcError):
    """Wrong usage or configuration. Trying again without editing something cannot help."""

    exit_code = 2
    kind = "config"


class Unavailable(CdcError):
    """It could not be done now. Trying again later may work without any change."""

    exit_code = 3
    kind = "unavailable"


class NeedsPerson(CdcError):
    """It will not work until a person acts."""

    exit_code = 4
    kind = "needs_person"


class Gap(NeedsPerson):
    """Changes were lost between what is logged and what the source can still deliver."""

    kind = "gap"


class SchemaConflict(NeedsPerson):
    """A table's shape in source, change log and destination cannot be brought together."""

    kind = "schema_conflict"


class NotUnderstood(NeedsPerson):
    """Something the platform will not guess at: an unknown type, message or server setting."""

    kind = "not_understood"


class InvalidRow(NeedsPerson):
    """A row holds a value that the destination cannot hold (says column and position, never the value)."""

    kind = "invalid_row"


def no_space(error: BaseException) -> bool:
    """Whether a write failed because the disk is full, or a quota or bound reached: what passes without an edit.

    Libraries that write by themselves (deltalake, SQLite) say it in words alone.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return True
        if any(f"(os error {number})" in str(cause) for number in _FULL) or "disk is full" in str(cause):
            return True
        cause = cause.__cause__
    return False
