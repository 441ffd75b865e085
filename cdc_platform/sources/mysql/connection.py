"""Connecting to MySQL and MariaDB, and the server's errors in the terms of the project's tree.

PyMySQL does the handshake and the control plane. Nothing here knows a table. Layer: sources.
"""

from __future__ import annotations

import difflib
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pymysql
from pymysql.connections import Connection

from cdc_platform.errors import CdcError, ConfigError, Gap, Lost, NeedsPerson, Unavailable
from cdc_platform.sources.mysql.tls import Tls, refusal

_CONNECT_SECONDS = 10
_SILENCE_SECONDS = 600  # the longest that a server may think before it sends a byte: a count of a large table
_KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}
_NEEDED = ("host", "database", "user", "password")
_OPTIONAL = ("port", "ssl_mode", "ssl_ca", "ssl_cert", "ssl_key")

_SIGN_IN = {1045, 1698, 1251, 2059}
_NO_DATABASE = {1049}
_NO_PRIVILEGE = {1044, 1142, 1143, 1227, 1370}
_HOST_REFUSED = {1129, 1130}
_NO_TLS, _TLS_WANTED = 2026, 3159
_NO_TABLE = {1051, 1146}
_BINLOG_READ = 1236
_TABLE_CHANGED = 1412


class TableChanged(Unavailable):
    """A table was altered since the consistent snapshot began in which it was to be read."""


@dataclass(frozen=True, slots=True)
class MySQLConnection:
    """Where the server is, who we are there, and how the way to it is encrypted."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    tls: Tls = field(default_factory=Tls)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> MySQLConnection:
        """From a pipeline's `source.connection`. Unknown, missing or ill-typed keys are ConfigErrors."""
        known = (*_NEEDED, *_OPTIONAL)
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"
                raise ConfigError(f"connection: unknown key '{key}'; {hint}")
        given = {"password": "", **values} if values.get("ssl_cert") else values
        for key in _NEEDED:
            if given.get(key) is None:
                raise ConfigError(f"connection: '{key}' is missing; give {', '.join(_NEEDED)}")
        try:
            port = int(values.get("port", 3306))
        except (TypeError, ValueError) as error:
            raise ConfigError("connection: 'port' must be a number") from error
        for key in _OPTIONAL[1:]:
            if not isinstance(values.get(key, ""), str):
                raise ConfigError(f"connection: '{key}' is not text")
        return cls(
            host=str(values["host"]),
            port=port,
            database=str(values["database"]),
            user=str(values["user"]),
            password=str(given["password"]),
            tls=Tls(*(values.get(key) or None for key in _OPTIONAL[1:])),
        )

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.database}"


def connect(target: MySQLConnection) -> Connection[Any]:
    """A connection in autocommit mode, with names and texts in utf8mb4."""
    with translated(target), _handshake(target):
        connection = pymysql.connect(
            host=target.host,
            port=target.port,
            user=target.user,
            password=target.password.encode(),  # of text the driver would make Latin-1, MySQL's clients send UTF-8
            database=target.database,
            charset="utf8mb4",
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_CONNECT_SECONDS,
            write_timeout=_SILENCE_SECONDS,
            autocommit=True,
            ssl=target.tls.context(),
            ssl_disabled=target.tls.resolved == "disabled",
        )
        # The driver's connect_timeout ends before the greeting: what answers the door need not be a MySQL. Statements
        # may take longer.
        connection._read_timeout = _SILENCE_SECONDS  # type: ignore[attr-defined]
        _watch(vars(connection)["_sock"])
        return connection


def _watch(connected: socket.socket) -> None:
    """Let the system notice within a minute that the other end is gone, or cut off; where it knows how."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


@contextmanager
def _handshake(target: MySQLConnection) -> Iterator[None]:
    """What TLS refuses while a connection is made is a matter of certificates, on either side."""
    try:
        yield
    except (pymysql.err.MySQLError, OSError) as error:
        if refused := refusal(error, target.tls):
            at = f"MySQL at {target.host}:{target.port}"
            raise ConfigError(f"{at}: no encrypted connection: {refused}; see ssl_mode of the connection") from error
        raise


def raw_socket(connection: Connection[Any]) -> socket.socket:
    """The socket under a connection, for those who read packets themselves; PyMySQL has no public name for it."""
    found = cast("socket.socket", vars(connection)["_sock"])
    found.settimeout(_SILENCE_SECONDS)
    return found


@dataclass(slots=True)
class Session:
    """A connection for statements of a few rows."""

    target: MySQLConnection
    connection: Connection[Any]

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with translated(self.target), closing(self.connection.cursor()) as cursor:
            cursor.execute(sql, tuple(parameters) or None)
            return list(cursor.fetchall())

    def named(self, sql: str) -> list[dict[str, Any]]:
        """Rows by column name, in lower case: what SHOW statements return differs between servers in order only."""
        with translated(self.target), closing(self.connection.cursor()) as cursor:
            cursor.execute(sql)
            names = [str(column[0]).lower() for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def run(self, sql: str) -> None:
        self.rows(sql)

    def variables(self, *names: str) -> dict[str, str]:
        """The global variables of these names; those that the server does not have are left out."""
        marks = ", ".join(["%s"] * len(names))
        rows = self.rows(f"show global variables where variable_name in ({marks})", names)
        return {str(name).lower(): str(value) for name, value in rows}

    def alive(self) -> bool:
        """Whether the server still answers."""
        try:
            self.connection.ping(reconnect=False)
        except (pymysql.err.MySQLError, OSError, EOFError):
            return False
        return True

    def close(self) -> None:
        if self.connection.open:
            self.connection.close()


@contextmanager
def session(target: MySQLConnection) -> Iterator[Session]:
    opened = Session(target, connect(target))
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def translated(target: MySQLConnection) -> Iterator[None]:
    """Errors of PyMySQL and of the socket as those of the project."""
    try:
        yield
    except pymysql.err.MySQLError as error:
        code, text = (*error.args, "", "")[:2]
        raise server_error(code if isinstance(code, int) else 0, str(text or code), target) from error
    except (OSError, EOFError) as error:
        raise Unavailable(f"MySQL at {target.host}:{target.port} cannot be reached: {error}") from error


def server_error(code: int, text: str, target: MySQLConnection | None = None) -> CdcError:
    """The error with the server's number `code` (https://mariadb.com/kb/en/mariadb-error-code-reference/)."""
    at = f"MySQL at {target.host}:{target.port}" if target else "MySQL"
    line = " ".join(text.split())
    if code in _SIGN_IN:
        # Servers say the same of a password that is wrong and of an account that must be encrypted.
        plain = ", or ssl_mode," if target and target.tls.resolved == "disabled" else ""
        return ConfigError(
            f"{at} refuses the user or password: {line}; correct user and password{plain} of the connection"
        )
    if code == _NO_TLS:
        return ConfigError(f"{at}: no encrypted connection: {line}; see ssl_mode of the connection")
    if code == _TLS_WANTED:
        return ConfigError(f"{at} takes encrypted connections only; set ssl_mode of the connection to verify_identity")
    if code in _NO_DATABASE:
        return ConfigError(f"{at}: {line}; correct 'database' of the connection")
    if code in _NO_PRIVILEGE:
        return NeedsPerson(f"{at}: a privilege is missing: {line}; grant it to the user")
    if code in _HOST_REFUSED:
        return NeedsPerson(f"{at} refuses this host: {line}")
    if code in _NO_TABLE:
        return ConfigError(f"{at}: {line}; correct the table's name")
    if code == _BINLOG_READ and "server_id" in line:
        return Unavailable(f"{at}: another reader took this one's server id: {line}")
    if code == _BINLOG_READ:
        return Gap(f"{at} cannot read its binlog from the wanted position: {line}; run: cdc resync", Lost.LOG_FOREIGN)
    if code == _TABLE_CHANGED:
        return TableChanged(f"{at}: {line}; run again")
    return Unavailable(f"{at}: {line} (error {code})")


def packet_error(payload: bytes) -> CdcError:
    """The error in an ERR packet: 0xFF, code, `#` and five letters of state, text."""
    code = int.from_bytes(payload[1:3], "little")
    text = payload[9:] if payload[3:4] == b"#" else payload[3:]
    return server_error(code, text.decode("utf-8", "replace"))


def quote(*names: str) -> str:
    """Identifiers quoted and joined with dots."""
    return ".".join("`" + name.replace("`", "``") + "`" for name in names)
