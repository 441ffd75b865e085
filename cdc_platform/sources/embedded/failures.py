"""How an engine ended, in the platform's errors. Pure. Layer: sources.

Words of Java are shown where they are a driver's about the server; other exceptions may quote a row's values, and only
the name of their class is told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from cdc_platform.errors import CdcError, NeedsPerson, Unavailable

_DRIVERS: Final = ("org.postgresql.", "com.mysql.", "java.sql.", "com.github.shyiko.mysql.binlog.network.")
_BROKEN: Final = (
    "java.net.", "java.io.EOFException", "java.nio.channels.", "com.mysql.cj.exceptions.CJCommunicationsException",
    "com.mysql.cj.jdbc.exceptions.CommunicationsException",
)  # fmt: skip
_PASSING: Final = (
    "terminating connection", "the database system is", "Connection to", "I/O error", "is active for PID",
    "Database connection failed", "This connection has been closed", "too many", "Connection refused",
)  # fmt: skip
_OUT_OF_MEMORY: Final = "java.lang.OutOfMemoryError"


def failure(label: str, end: Mapping[str, Any]) -> CdcError:
    """From what the engine said at its end: `causes` are [class, message], the outermost first."""
    causes = [(str(name), _line(text)) for name, text in end["causes"]]
    if not causes:
        return Unavailable(f"{label}: Debezium's engine ended by itself; run again")
    spoken = [text for name, text in causes if name.startswith(_DRIVERS) and text]
    if any(name.startswith(_BROKEN) for name, _ in causes) or any(s in t for _, t in causes for s in _PASSING):
        return Unavailable(f"{label}: Debezium lost its connection" + (f": {spoken[-1]}" if spoken else ""))
    if any(name == _OUT_OF_MEMORY for name, _ in causes):
        return _memory(label)
    if spoken:
        return NeedsPerson(f"{label}: Debezium: {spoken[-1]}")
    names = ", from ".join(name.rpartition(".")[2] for name, _ in causes)
    return NeedsPerson(f"{label}: Debezium's engine stopped: {names}; cdc_method: native reads the same log without it")


def death(label: str, code: int, errors: str) -> CdcError:
    """A process that ended without a word; `errors` is what is on its stderr."""
    if _OUT_OF_MEMORY in errors:
        return _memory(label)
    if found := re.search(
        r"^Error: (Could not find or load main class|A JNI error|LinkageError)[^\n]{0,80}", errors, re.M
    ):
        return NeedsPerson(f"{label}: Debezium's engine cannot start: {found[0].removeprefix('Error: ')}")
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return Unavailable(f"{label}: Debezium's engine died ({how}); run again")


def _memory(label: str) -> CdcError:
    return NeedsPerson(
        f"{label}: Debezium's engine is out of memory: a row, or max.batch.size of them, do not fit its 512 MB; lower "
        "source.debezium.properties max.batch.size"
    )


def _line(text: Any) -> str:
    return str(text).strip().partition("\n")[0].strip()
