"""How Postgres is reached: the address, sessions whose text output is pinned, and its errors in the platform's words.

Three kinds of session: control (psycopg2: catalogue, publication, slot), replication (psycopg2: creating slots) and
Arrow (ADBC: rows and log messages in bulk). What is asked over them belongs to the other modules. Layer: sources.
"""

from __future__ import annotations

import difflib
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import psycopg2
import psycopg2.extensions
import psycopg2.extras
import pyarrow as pa

from cdc_platform.errors import CdcError, ConfigError, NeedsPerson, Unavailable
from cdc_platform.sources.ahead import ahead

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

# Text of one value must be the same in the snapshot and in the stream, whatever the role's or database's own
# settings are; a reading session must neither be cut short nor silently see less (row_security).
SETTINGS = {
    "client_encoding": "UTF8",
    "datestyle": "ISO,YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "3",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "xmlbinary": "base64",
    "search_path": "",
    "quote_all_identifiers": "off",
    "row_security": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}

_LOCK_TIMEOUT = "10s"


@dataclass(frozen=True, slots=True)
class PostgresConnection:
    """Address, login and encryption of one database, in libpq's words.

    Without an `sslmode`, naming authorities means checking against them (libpq's own default would not).
    """

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    sslmode: str = "prefer"
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None
    connect_timeout: int = 10

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> PostgresConnection:
        """From a pipeline's `connection`; unknown, missing or malformed keys are a ConfigError."""
        known = {f.name: f for f in fields(cls)}
        for key in mapping:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                hint = f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(known)}"
                raise ConfigError(f"connection: unknown key '{key}'{hint}")
        values = {"port": 5432, **mapping}
        if values.get("sslcert"):
            values.setdefault("password", "")
        for key in ("host", "database", "user", "password"):
            if not isinstance(values.get(key), str):
                raise ConfigError(f"connection: '{key}' is {'missing' if key not in values else 'not text'}")
        for key in ("port", "connect_timeout"):
            if key in values:
                values[key] = _positive(key, values[key])
        return cls(**values | {"sslmode": _ssl_mode(values)})

    @property
    def label(self) -> str:
        return f"postgres at {self.host}:{self.port}"

    def dsn(self) -> str:
        """libpq's key=value form, with the session settings. Holds the password: never for a message.

        Raises ConfigError for files of certificates that are not there: libpq would go on without them.
        """
        for key, file in (("sslrootcert", self.sslrootcert), ("sslcert", self.sslcert), ("sslkey", self.sslkey)):
            if file and file != "system" and not Path(file).is_file():
                raise ConfigError(f"connection: {key}: there is no file {file}")
        options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
        return psycopg2.extensions.make_dsn(
            host=self.host,
            port=self.port,
            dbname=self.database,
            user=self.user,
            password=self.password,
            sslmode=self.sslmode,
            sslrootcert=self.sslrootcert,
            sslcert=self.sslcert,
            sslkey=self.sslkey,
            connect_timeout=self.connect_timeout,
            application_name="cdc_platform",
            options=options,
            # A server may think for long, but one that is gone, or cut off, is noticed within a minute.
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
            tcp_user_timeout=60_000,
        )

    def control(self) -> psycopg2.extensions.connection:
        """An autocommit session for the catalogue, the publication and the slot.

        Even reading the catalogue opens tables (pg_publication_tables does), and so waits for whoever alters one.
        """
        with self.errors():
            connection = psycopg2.connect(self.dsn())
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("select set_config('lock_timeout', %s, false)", [_LOCK_TIMEOUT])
            return connection

    def replication(self) -> psycopg2.extensions.connection:
        """A non-blocking replication session: it can be polled, and so a wait in it can be bounded."""
        with self.errors():
            factory = psycopg2.extras.LogicalReplicationConnection
            return psycopg2.connect(self.dsn(), connection_factory=factory, async_=True)

    def arrow(self) -> adbc_driver_postgresql.dbapi.Connection:
        """An autocommit session that gives results as Arrow record batches.

        Values are read here, so the settings are made once more: a pooler may have dropped those that the session was
        begun with, a login trigger may have changed them.
        """
        with self.errors():
            connection = adbc_driver_postgresql.dbapi.connect(self.dsn(), autocommit=True)
            with closing(connection.cursor()) as cursor:
                cursor.execute(f"select {', '.join(map(_set_config, SETTINGS.items()))}")
            return connection

    @contextmanager
    def errors(self, doing: str = "") -> Iterator[None]:
        """Errors of either driver leave as the platform's; `doing` says what was tried, for the message."""
        try:
            yield
        except psycopg2.Error as error:
            text = error.diag.message_primary or str(error)
            raise self._translated(error.pgcode, text, doing) from error
        except adbc_driver_manager.Error as error:
            raise self._translated(error.sqlstate, str(error), doing) from error

    def _translated(self, sqlstate: str | None, text: str, doing: str) -> CdcError:
        start = f"{self.label}: " + (f"{doing}: " if doing else "")
        text = _first_line(text)
        if not sqlstate:
            return self._unreached(text, start)
        if sqlstate.startswith("28"):
            return ConfigError(f"{self.label}: login refused for user '{self.user}'")
        if sqlstate == "3D000":
            return ConfigError(f"{self.label}: there is no database '{self.database}'")
        if sqlstate == "55006":
            return Unavailable(f"{start}the slot is in use by another session; run again when that has ended")
        if sqlstate == "53400":
            return NeedsPerson(f"{start}{text}; raise max_replication_slots and restart the server")
        if sqlstate == "42501":
            return NeedsPerson(f"{start}user '{self.user}' lacks a privilege ({text})")
        if sqlstate in ("55000", "42704"):
            # The slot was invalidated or dropped at this moment, or the publication: what that means, and for which
            # tables, is found out where the next run begins.
            return Unavailable(f"{start}{text}; run again")
        if sqlstate == "55P03":
            return Unavailable(f"{start}a table is locked by another session; run again when that has ended")
        if sqlstate[:2] in ("08", "40", "53", "57"):
            return Unavailable(f"{start}{text}")
        if sqlstate[:2] in ("21", "22", "23"):  # such texts quote values
            return NeedsPerson(f"{start}the server could not read its data (SQLSTATE {sqlstate})")
        return NeedsPerson(f"{start}{text} (SQLSTATE {sqlstate})")

    def _unreached(self, text: str, start: str) -> CdcError:
        """No session, hence no SQLSTATE: libpq's words are all there is. The server's own may be in any language."""
        if "password authentication failed" in text or "no password supplied" in text:
            return ConfigError(f"{self.label}: password rejected for user '{self.user}'")
        if "no pg_hba.conf entry" in text and "no encryption" in text:
            return ConfigError(
                f"{self.label}: pg_hba.conf lets user '{self.user}' not in from here without encryption; "
                f"set sslmode of the connection to verify-full"
            )
        if "no pg_hba.conf entry" in text:
            return ConfigError(f"{self.label}: pg_hba.conf lets user '{self.user}' not in from here")
        if "permission denied for database" in text:
            return NeedsPerson(
                f"{self.label}: user '{self.user}' may not connect to '{self.database}'; run: "
                f"grant connect on database {identifier(self.database)} to {identifier(self.user)}"
            )
        if "is not permitted to log in" in text:
            return NeedsPerson(
                f"{self.label}: user '{self.user}' may not log in; run: alter role {identifier(self.user)} login"
            )
        if "database" in text and "does not exist" in text:
            return ConfigError(f"{self.label}: there is no database '{self.database}'")
        if "role" in text and "does not exist" in text:
            return ConfigError(f"{self.label}: there is no user '{self.user}'")
        if "must be superuser or replication role" in text or "permission denied to start WAL sender" in text:
            return NeedsPerson(f"{self.label}: user '{self.user}' may not replicate; run: alter role ... replication")
        if any(sign in text for sign in _BROKEN):
            return Unavailable(f"{start}the connection was lost")
        if any(sign in text for sign in ("certificate", "private key", "SSL")):
            return ConfigError(f"{self.label}: no encrypted connection: {text}; see sslmode and sslrootcert")
        if "max_wal_senders" in text:
            return NeedsPerson(f"{self.label}: no WAL sender is free; raise max_wal_senders and restart the server")
        for sign, words in _TROUBLE.items():
            if sign in text:
                return Unavailable(f"{start}{words}")
        return Unavailable(f"{start}{text}")


# An encrypted line that broke: no matter of certificates.
_BROKEN = ("SSL SYSCALL error", "SSL connection has been closed", "unexpected eof", "bad record mac")

_TROUBLE = {
    "Connection refused": "connection refused; is the server running?",
    "could not translate host name": "the host's name is not known; is it right, and is the network up?",
    "timeout expired": "no answer in time",
    "starting up": "the server is starting up",
    "shutting down": "the server is shutting down",
    "too many": "no connection is free",
    "closed the connection unexpectedly": "the connection was lost",
    "terminating connection": "the connection was ended by the server",
}


def read_ahead(cursor: adbc_driver_postgresql.dbapi.Cursor) -> Generator[pa.RecordBatch, None, None]:
    """The result's batches; the next one is fetched while the caller is busy with this one."""
    cursor.fetch_record_batch()  # fails where there is no result
    # That method unwraps the driver's reader, and with it goes the SQLSTATE of errors that come while reading.
    return ahead(iter(cursor._results.reader))


def identifier(name: str) -> str:
    """A name as SQL reads it, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def _set_config(setting: tuple[str, str]) -> str:
    return f"pg_catalog.set_config({literal(setting[0])}, {literal(setting[1])}, false)"


def literal(text: str) -> str:
    """Text as an SQL constant, for the statements that take no parameters (COPY, replication commands)."""
    quoted = text.replace("'", "''")
    return f"'{quoted}'" if "\\" not in text else " E'" + quoted.replace("\\", "\\\\") + "'"


def _first_line(text: str) -> str:
    """The server's one line out of a driver's many (which may quote the whole statement)."""
    _, found, rest = text.partition("ERROR:  ")
    if not found:
        _, found, rest = text.partition("FATAL:  ")
    return (rest if found else text).strip().partition("\n")[0].strip()


def _ssl_mode(values: Mapping[str, Any]) -> str:
    """The mode as given, else the strictest that the files allow; one that would leave the files aside is refused."""
    for key in ("sslmode", "sslrootcert", "sslcert", "sslkey"):
        if not isinstance(values.get(key) or "", str):
            raise ConfigError(f"connection: '{key}' is not text")
    files = [key for key in ("sslrootcert", "sslcert", "sslkey") if values.get(key)]
    mode = values.get("sslmode") or ("verify-full" if "sslrootcert" in files else "require" if files else "prefer")
    if mode not in _SSL_MODES:
        raise ConfigError(f"connection: sslmode is one of {', '.join(_SSL_MODES)}")
    if files and mode in ("disable", "allow", "prefer"):
        raise ConfigError(f"connection: sslmode {mode} may leave {files[0]} aside; use verify-full")
    if ("sslcert" in files) != ("sslkey" in files):
        raise ConfigError("connection: give both sslcert and sslkey, or neither")
    return str(mode)


def _positive(key: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if not 0 < number < 65536:
        raise ConfigError(f"connection: '{key}' is no whole number from 1 to 65535")
    return number
