"""The Java process that Debezium's engine runs in: started, read, ended. Layer: sources.

The engine's properties, the password among them, go in by its stdin and are nowhere else. The process ends when that
stdin does, so it outlives neither a call that ends nor a platform that is killed. It has nothing to finish: what it
has not handed on is with the server still.
"""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import IO, Any, Final

from cdc_platform.errors import Unavailable
from cdc_platform.failpoints import failpoint
from cdc_platform.sources.debezium.connect import from_json
from cdc_platform.sources.embedded.failures import death, failure
from cdc_platform.sources.embedded.frames import Kind, Messages
from cdc_platform.sources.embedded.runtime import command

_HEAD: Final = struct.Struct("=ic")
SILENCE_SECONDS: Final = 180.0
"""An engine that streams tells of itself each second; one that is starting needs several."""


class EngineProcess:
    """A running engine. `kinds` grows while `batches` is read. Close it: nothing else ends it before its time."""

    def __init__(self, label: str, properties: Mapping[str, str], silence: float = SILENCE_SECONDS) -> None:
        self.kinds: list[Kind] = []
        self._label, self._silence = label, silence
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(  # noqa: S603 (our own command)
            command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0,
            start_new_session=True,  # a terminal's Ctrl-C is for the platform, which then ends this
        )  # fmt: skip
        given = json.dumps(properties).encode()
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(struct.pack("=i", len(given)) + given)
        except BrokenPipeError:
            pass  # why it died is told where it is read

    def batches(self) -> Iterator[Messages]:
        """What the engine hands on, for as long as it runs. Raises what ended it."""
        while True:
            size, kind = _HEAD.unpack(self._read(_HEAD.size))
            body = self._read(size)
            match kind:
                case b"K":
                    told: dict[str, Any] = json.loads(body)
                    self.kinds.append(Kind(told["topic"], from_json(told["schema"])))
                case b"B":
                    failpoint("debezium.batch.read")
                    yield Messages.of(body)
                case _:
                    raise failure(self._label, json.loads(body))

    def close(self) -> None:
        """End the process, and wait until it is gone."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
        self._errors.close()

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        pipe, parts = self._process.stdout.fileno(), bytearray(size)
        view, done = memoryview(parts), 0
        deadline = time.monotonic() + self._silence
        while done < size:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise Unavailable(
                    f"{self._label}: Debezium's engine has said nothing for {self._silence:g} s; run again"
                )
            got = os.readv(pipe, [view[done:]])
            if not got:
                raise self._death()
            done += got
            deadline = time.monotonic() + self._silence
        return bytes(parts)

    def _death(self) -> Exception:
        code = self._process.wait()
        self._errors.seek(0)
        return death(self._label, code, self._errors.read(1 << 16).decode(errors="replace"))
