"""How a Kafka client is opened, for reading and for writing: the library, its settings, and its errors as ours.

`confluent-kafka` is the optional extra `kafka`. Nothing is imported before a pipeline asks for Kafka. Layer: below the
sources and the publishing, which know nothing of each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from cdc_platform.errors import CdcError, ConfigError, NeedsPerson, Unavailable

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, KafkaException

PATIENCE: Final = 10.0
"""Seconds that an answer of a broker is waited for."""

_DOTTED: Final = {"error_cb": "error_cb"}
# Names of librdkafka's error codes.
_LOGIN: Final = frozenset({"_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM", "_SSL"})
_FORBIDDEN: Final = frozenset(
    "TOPIC_AUTHORIZATION_FAILED CLUSTER_AUTHORIZATION_FAILED GROUP_AUTHORIZATION_FAILED "
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED".split()
)
_WRONG: Final = frozenset(
    {"_INVALID_ARG", "TOPIC_EXCEPTION", "INVALID_REPLICATION_FACTOR", "INVALID_CONFIG", "INVALID_PARTITIONS"}
)
_LARGE: Final = frozenset({"MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"})


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kafka to talk to, and who we are there. Files are paths to PEM; `where` is the place in the configuration."""

    bootstrap: str
    protocol: str = "PLAINTEXT"
    mechanism: str = "PLAIN"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    where: str = "bootstrap_servers"

    def settings(self, **more: object) -> dict[str, Any]:
        """librdkafka's configuration; `more` has `_` for each dot."""
        words = {
            "bootstrap.servers": self.bootstrap,
            "client.id": "cdc_platform",
            # What goes wrong is said once, by who asked.
            "log_level": 0,
            "security.protocol": self.protocol,
            "sasl.mechanism": self.mechanism if self.user else None,
            "sasl.username": self.user,
            "sasl.password": self.password,
            "ssl.ca.location": self.ca,
            "ssl.certificate.location": self.certificate,
            "ssl.key.location": self.key,
        }
        given = {name: value for name, value in words.items() if value is not None}
        return {**given, **{_DOTTED.get(name, name.replace("_", ".")): value for name, value in more.items()}}


def library() -> Any:
    """The module confluent_kafka; ConfigError with what to install where it is missing."""
    try:
        import confluent_kafka
    except ImportError as error:
        raise ConfigError(
            "Kafka needs the package confluent-kafka, which is not installed; add the extra: "
            "pip install 'cdc-platform[kafka]'"
        ) from error
    return confluent_kafka


def administration() -> Any:
    """The module confluent_kafka.admin."""
    library()
    return import_module("confluent_kafka.admin")


class Complaints:
    """What the client's own threads complained of, as its `error_cb`: a call that times out does not say why."""

    def __init__(self) -> None:
        self.client: Any = None
        """Whose threads they are: it hands them over when it is polled."""
        self._heard: list[KafkaError] = []

    def __call__(self, error: KafkaError) -> None:
        self._heard = [*self._heard[-9:], error]

    def explained(self, cluster: Cluster, error: KafkaException | KafkaError, doing: str) -> CdcError:
        """The error of a call, or what lies behind it."""
        own = _code(error)
        if self.client is not None:
            self.client.poll(0)
        if own.name() in {"_TRANSPORT", "_TIMED_OUT", "_MSG_TIMED_OUT", "_ALL_BROKERS_DOWN"}:
            # The first that says more than that there is no connection.
            own = next((heard for heard in self._heard if heard.name() in _LOGIN), own)
        return explained(cluster, own, doing)


def explained(cluster: Cluster, error: KafkaException | KafkaError, doing: str) -> CdcError:
    """A Kafka error as one of ours. `doing` is what was tried, for people."""
    code = _code(error)
    name, at = code.name(), f"Kafka at {cluster.bootstrap}"
    said = f"{doing}: {at}: {_plain(code)}"
    if name in _LOGIN:
        return ConfigError(
            f"{doing}: {at} refuses the login ({_plain(code)}); look at {cluster.where} and the login beside it"
        )
    if name in _FORBIDDEN:
        return NeedsPerson(f"{said}; grant the right, and run again")
    if name in _WRONG:
        return ConfigError(f"{said}; change the configuration")
    if name in _LARGE:
        return NeedsPerson(f"{said}; let larger messages in (max_message_bytes), and run again")
    if name == "UNKNOWN_TOPIC_OR_PART":
        return ConfigError(f"{said}; is the topic's name right?")
    if name in {"_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"}:
        return Unavailable(f"{doing}: another process has taken over; run again")
    return Unavailable(f"{said}; run again")


def _code(error: KafkaException | KafkaError) -> KafkaError:
    return error.args[0] if isinstance(error, Exception) else error


def _plain(code: KafkaError) -> str:
    text = code.str().splitlines()
    return text[0] if text else code.name()
