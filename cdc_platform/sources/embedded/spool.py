"""A transaction's messages kept until its end has come: in memory, or on disk where they are many. Layer: sources."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cdc_platform.sources.embedded.frames import Messages


class Spool:
    """Parts of one transaction in a file without a name, which is gone with the process. `changes` is how many."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._parts: list[Messages] = []  # their bytes are in the file: offsets count there
        self.changes = 0

    def add(self, messages: Messages, changes: int) -> None:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        shift = self._file.seek(0, 2) - messages.offsets[0]
        self._file.write(memoryview(messages.data)[messages.offsets[0] : messages.offsets[-1]])
        self._parts.append(Messages(messages.kinds, messages.offsets + shift, b""))
        self.changes += changes

    def parts(self) -> Iterator[Messages]:
        """All parts in order, each read when it is asked for. The spool is empty afterwards."""
        parts, self._parts = self._parts, []
        for part in parts:
            assert self._file is not None
            self._file.seek(int(part.offsets[0]))
            yield Messages(part.kinds, part.offsets - part.offsets[0], self._file.read(part.size))
        self.changes = 0
        if self._file is not None:
            self._file.truncate(0)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
