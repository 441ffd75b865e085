"""A way to a server that can be cut: a TCP proxy that fails after so many bytes of the server's.

refused   nobody listens              half     the server's side is closed, ours is not
reset     the connection is reset     silent   it stays open, and nothing comes any more
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

Fault = Literal["none", "refused", "reset", "half", "silent"]

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST


@dataclass(slots=True)
class Proxy:
    """Listens at `port` on loopback. `passed` counts the server's bytes; the `fault` comes after `after` of them, and
    stays until the proxy is `mended`."""

    host: str
    server_port: int
    port: int = 0
    fault: Fault = "none"
    after: int = 0
    passed: int = 0
    _listener: socket.socket | None = None
    _open: list[socket.socket] = field(default_factory=list)

    def fail(self, fault: Fault, after: int = 0) -> None:
        self.fault, self.after, self.passed = fault, after, 0
        if fault == "refused":
            self._close()

    def mend(self) -> None:
        self.fault, self.passed = "none", 0
        for end in self._open:
            _end(end)
        self._open.clear()
        if self._listener is None:
            self.listen()

    def listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                ours, _ = listener.accept()
                server = socket.create_connection((self.host, self.server_port))
                self._open += [ours, server]
                for source, target, counts in ((ours, server, False), (server, ours, True)):
                    threading.Thread(target=self._pass, args=(source, target, counts), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, counts: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if counts and self.fault not in ("none", "refused"):
                    left = self.after - self.passed
                    self.passed += len(data)
                    if left < len(data):
                        target.sendall(data[: max(left, 0)])
                        self._cut(source, target)
                        return
                elif counts:
                    self.passed += len(data)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _cut(self, server: socket.socket, ours: socket.socket) -> None:
        match self.fault:
            case "reset":
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                # A thread waits in recv: shutting down wakes it, closing alone does not.
                with suppress(OSError):
                    ours.shutdown(socket.SHUT_RD)
                ours.close()
                _end(server)
            case "half":
                ours.shutdown(socket.SHUT_WR)
            case _:
                return  # nobody reads the server any more, nobody tells us

    def _close(self) -> None:
        if self._listener is not None:
            _end(self._listener)
            self._listener = None
        for end in self._open:
            _end(end)
        self._open.clear()


def _end(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def proxied(host: str, port: int) -> Iterator[Proxy]:
    proxy = Proxy(host, port)
    proxy.listen()
    try:
        yield proxy
    finally:
        proxy._close()
