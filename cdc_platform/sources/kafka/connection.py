"""A Kafka source's connection, as a pipeline gives it. Pure. Layer: sources."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast, get_args

from cdc_platform.errors import ConfigError
from cdc_platform.model.event import System

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Identity = Literal["default", "full"]

_NEEDED: Final = ("bootstrap_servers", "topic_prefix", "system")
_OPTIONAL: Final = (
    "group_id", "security_protocol", "sasl_mechanism", "user", "password", "ssl_ca", "replica_identity",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Where the brokers are, who we are there, and what is in the topics.

    `replica_identity` is that of the tables behind the topics (Postgres).
    """

    bootstrap_servers: str
    topic_prefix: str
    system: System
    group_id: str | None = None
    security_protocol: Protocol = "PLAINTEXT"
    sasl_mechanism: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ssl_ca: str | None = None
    replica_identity: Identity = "default"

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> KafkaConnection:
        """From a pipeline's `source.connection`. Unknown, missing or ill-typed keys are ConfigErrors."""
        _check(values, _NEEDED, (*_NEEDED, *_OPTIONAL), "connection")
        text = {key: str(value) for key, value in values.items() if value is not None}
        user = text.get("user")
        made = cls(
            text["bootstrap_servers"],
            text["topic_prefix"],
            cast("System", _one_of(text["system"], ("postgres", "mysql"), "system")),
            text.get("group_id"),
            _one_of(text.get("security_protocol", "SASL_PLAINTEXT" if user else "PLAINTEXT").upper(),
                    get_args(Protocol), "security_protocol"),
            text.get("sasl_mechanism", "PLAIN" if user else None),
            user,
            text.get("password"),
            text.get("ssl_ca"),
            _one_of(text.get("replica_identity", "default"), get_args(Identity), "replica_identity"),
        )  # fmt: skip
        if user and made.password is None:
            raise ConfigError("connection: 'password' is missing")
        return made

    def __str__(self) -> str:
        return self.bootstrap_servers


def _check(values: Mapping[str, Any], needed: tuple[str, ...], known: tuple[str, ...], where: str) -> None:
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"{where}: unknown key '{key}'; {hint}")
    for key in needed:
        if values.get(key) is None:
            raise ConfigError(f"{where}: '{key}' is missing; give {', '.join(needed)}")


def _one_of(value: str, known: tuple[Any, ...], key: str) -> Any:
    if value not in known:
        raise ConfigError(f"connection: '{key}' is one of {', '.join(known)}")
    return value
