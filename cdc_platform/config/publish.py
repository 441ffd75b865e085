"""`publish:` of a pipeline: the topic that gets its standard events. Strict, as all of the configuration."""

from __future__ import annotations

import re
from dataclasses import field
from typing import Final, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from cdc_platform.model.schema import TableName

_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")

Format = Literal["json"]
Delivery = Literal["at-least-once", "transactional"]


LATE: Final = frozenset("bootstrap_servers user password ssl_ca ssl_certificate ssl_key".split())
"""Keys that are filled from the environment when a client is opened, not before."""

_STRICT = ConfigDict(extra="forbid", validate_default=True)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class PublishConfig:
    """Where and how events are published; the retention is that of data-model.md 9.2 unless it is given.

    What is in `LATE` keeps its `${NAME}`s until a client is opened. `partitions` and `replication` are those of a new
    topic; -1 is the broker's own default. `places` is the topic that says how far each pipeline is published.
    """

    bootstrap_servers: str = Field(min_length=1)
    topic: str | None = None
    format: Format = "json"
    delivery: Delivery = "at-least-once"
    retention_ms: int = Field(default=3_600_000, ge=-1)
    retention_bytes: int = Field(default=1 << 30, ge=-1)
    cleanup_policy: Literal["delete", "compact", "compact,delete"] = "delete"
    max_message_bytes: int = Field(default=1_048_588, ge=1024, le=100 << 20)
    partitions: int = Field(default=1, ge=-1, le=10_000)
    replication: int = Field(default=-1, ge=-1)
    places: str = "cdc.published"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] | None = None
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ssl_ca: str | None = None
    ssl_certificate: str | None = None
    ssl_key: str | None = None

    @field_validator("topic", "places")
    @classmethod
    def _topic_name(cls, value: str | None) -> str | None:
        if value is not None and not is_topic(value.replace("{table}", "t")):
            raise ValueError("a topic's name has letters, digits, '.', '_' and '-' only, 249 at most")
        return value

    @field_validator("partitions", "replication")
    @classmethod
    def _not_none(cls, value: int) -> int:
        if value == 0:
            raise ValueError("at least 1, or -1 for the broker's own default")
        return value

    @property
    def protocol(self) -> str:
        """With a user it is SASL, and where nothing else is said without encryption."""
        return self.security_protocol or ("SASL_PLAINTEXT" if self.user else "PLAINTEXT")

    @model_validator(mode="after")
    def _login(self) -> PublishConfig:
        if (self.user is None) != (self.password is None):
            raise ValueError("'user' and 'password' belong together")
        if self.protocol.startswith("SASL") and self.user is None:
            raise ValueError(f"'security_protocol: {self.protocol}' needs 'user' and 'password'")
        return self

    def topic_of(self, label: str, table: TableName) -> str:
        """The topic of a table; ValueError where the default is no name of a topic."""
        name = self.topic or f"{label}.{table.schema}.{table.name}"
        if not is_topic(name):
            raise ValueError(f"'{name}' is no name of a topic; name one (letters, digits, '.', '_' and '-')")
        return name


def is_topic(name: str) -> bool:
    return _TOPIC.fullmatch(name) is not None and name not in (".", "..")
