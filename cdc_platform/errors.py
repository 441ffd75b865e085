"""The error tree. Each leaf says what a person should do and whether trying again can help.

    CdcError                      one line, no secrets, no cell values
    ├── ConfigError       exit 2  wrong usage or configuration: edit something, run again
    ├── Unavailable       exit 3  could not be done now (a server is down, a lock is held): run again
    └── NeedsPerson       exit 4  will not work until a person acts
        ├── Gap                   the source's log no longer holds what is missing: cdc resync
        ├── SchemaConflict        source, change log and destination cannot be brought together
        ├── NotUnderstood         a type, message or setting that the platform refuses to guess at
        ├── InvalidRow            a value that the destination cannot hold, or a row that breaks a rule
        └── BrokenEvent           an event that is not as events are: a fault of the platform's own

The innermost layer: imports nothing of the project.
"""

from __future__ import annotations

import errno
from enum import StrEnum
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


class Lost(StrEnum):
    """What a gap is made of: why changes can no longer be had."""

    SLOT_MISSING = "slot missing"  # nobody kept the source's log
    SLOT_INVALIDATED = "slot invalidated"  # the server gave up keeping it (max_slot_wal_keep_size, a timeout)
    SLOT_MOVED = "slot moved on"  # made anew, or read by somebody else
    LOG_PURGED = "log purged"  # a binlog file, a version of a table is no longer there
    LOG_ENDS_BEFORE = "log ends before"  # it was reset, or the server is an older copy of itself
    LOG_FOREIGN = "log of another history"  # nothing begins where reading should go on
    SERVER_REPLACED = "server replaced"
    UNPUBLISHED = "table not published"  # for a while, or still
    TABLE_REPLACED = "table replaced"  # dropped and made again, or another one of that name
    PASSED_OVER = "passed over"  # the changes are there, cannot be taken, and a person chose to go on without


class Gap(NeedsPerson):
    """Changes were lost between what is logged and what the source can still deliver. `cdc resync` is the way back."""

    kind = "gap"

    def __init__(self, message: str, lost: Lost) -> None:
        super().__init__(message)
        self.lost = lost


class SchemaConflict(NeedsPerson):
    """A table's shape in source, change log and destination cannot be brought together."""

    kind = "schema_conflict"


class NotUnderstood(NeedsPerson):
    """Something the platform will not guess at: an unknown type, message or server setting."""

    kind = "not_understood"


class InvalidRow(NeedsPerson):
    """A row holds a value that the destination cannot hold, or breaks a rule (says column and position, never the
    value)."""

    kind = "invalid_row"


class BrokenEvent(NeedsPerson):
    """An event that breaks a rule of events: made wrongly, and not logged."""

    kind = "broken_event"


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
