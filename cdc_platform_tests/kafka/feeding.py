"""Topics as a Debezium connector of Postgres fills them, made by hand: every message's place and content is known.

topic = Feeding(broker, partitions=3)
topic.write(insert(1, "a"), update(1, "b"), delete(1))
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic  # type: ignore[attr-defined]

from cdc_platform.config.load import load_pipelines
from cdc_platform.config.settings import Settings
from cdc_platform.engine.resync import resync
from cdc_platform.engine.run import PipelineRun, run
from cdc_platform_tests.kafka.stack import Broker
from cdc_platform_tests.readers import duckdb_delta

FIELDS = [
    {"type": "int32", "optional": False, "field": "id"},
    {"type": "string", "optional": True, "field": "name"},
    {"type": "int64", "optional": True, "name": "io.debezium.time.MicroTimestamp", "version": 1, "field": "at"},
]
EXTRA = {"type": "int32", "optional": True, "field": "extra"}
_TEXTS = ("connector", "snapshot", "db", "sequence", "schema", "table")
_SOURCE = [
    {"type": "string", "optional": True, "field": name} for name in _TEXTS
] + [{"type": "int64", "optional": True, "field": name} for name in ("ts_ms", "ts_us", "txId", "lsn")]  # fmt: skip


@dataclass(frozen=True)
class Change:
    """A row's change before it has a position."""

    op: str
    id: int
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def row(number: int, name: str | None, **more: Any) -> dict[str, Any]:
    return {"id": number, "name": name, "at": 1_700_000_000_000_000 + number, **more}


def read(number: int, name: str | None) -> Change:
    return Change("r", number, None, row(number, name))


def insert(number: int, name: str | None, **more: Any) -> Change:
    return Change("c", number, None, row(number, name, **more))


def update(number: int, name: str | None, **more: Any) -> Change:
    return Change("u", number, None, row(number, name, **more))


def delete(number: int) -> Change:
    return Change("d", number, {"id": number, "name": None, "at": 0}, None)


def schema(fields: Sequence[dict[str, Any]] = FIELDS) -> dict[str, Any]:
    image = {"type": "struct", "fields": list(fields), "optional": True, "name": "t.Value"}
    return {
        "type": "struct",
        "fields": [
            {**image, "field": "before"},
            {**image, "field": "after"},
            {"type": "struct", "fields": _SOURCE, "optional": False, "field": "source"},
            {"type": "string", "optional": False, "field": "op"},
        ],
        "optional": False,
        "name": "t.Envelope",
    }


@dataclass
class Feeding:
    """One topic, the pipelines that read it, and a connector's clock and log position."""

    broker: Broker
    home: Path
    partitions: int = 1
    prefix: str = field(default_factory=lambda: f"t{secrets.token_hex(4)}")
    lsn: int = 0x10000
    commit: int = 0
    later: int = 0
    connection: dict[str, Any] = field(default_factory=dict)
    fields: list[dict[str, Any]] = field(default_factory=lambda: list(FIELDS))

    def __post_init__(self) -> None:
        self.make()
        self._producer = Producer({"bootstrap.servers": self.broker.bootstrap, "linger.ms": 5})

    @property
    def topic(self) -> str:
        return f"{self.prefix}.public.thing"

    def make(self, **config: str) -> None:
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap})
        made = NewTopic(self.topic, self.partitions, 1, config=config)
        for done in admin.create_topics([made]).values():
            done.result(30)

    def spread(self, partitions: int) -> None:
        """Have so many partitions."""
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap})
        for done in admin.create_partitions([NewPartitions(self.topic, partitions)]).values():
            done.result(30)

    def forget(self, before: int) -> None:
        """As retention does."""
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap})
        for done in admin.delete_records([TopicPartition(self.topic, 0, before)]).values():
            done.result(30)

    def remove(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap})
        for done in admin.delete_topics([self.topic]).values():
            done.result(30)

    def messages(self, *changes: Change) -> list[tuple[bytes, bytes | None]]:
        """Each change in a transaction of its own, at the next position."""
        made: list[tuple[bytes, bytes | None]] = []
        for change in changes:
            self.lsn += 0x40
            sequence = json.dumps([str(self.commit) if self.commit else None, str(self.lsn)], separators=(",", ":"))
            source = {
                "connector": "postgresql", "snapshot": "true" if change.op == "r" else "false", "db": "shop",
                "sequence": sequence, "schema": "public", "table": "thing", "ts_ms": 1_700_000_000_000 + self.lsn,
                "ts_us": (1_700_000_000_000 + self.lsn + self.later) * 1000, "txId": self.lsn // 0x40, "lsn": self.lsn,
            }  # fmt: skip
            self.commit = self.lsn
            envelope = {"before": change.before, "after": change.after, "source": source, "op": change.op}
            key = {"schema": {"type": "struct", "fields": [FIELDS[0]]}, "payload": {"id": change.id}}
            made.append((_json(key), _json({"schema": schema(self.fields), "payload": envelope})))
            if change.op == "d":
                made.append((_json(key), None))
        return made

    def write(self, *changes: Change) -> list[tuple[bytes, bytes | None]]:
        made = self.messages(*changes)
        self.send(made)
        return made

    def send(self, made: Sequence[tuple[bytes | None, bytes | None]], partition: int | None = None) -> None:
        for key, value in made:
            self._producer.produce(self.topic, value, key, partition=-1 if partition is None else partition)
            self._producer.poll(0)
        assert self._producer.flush(60) == 0

    # --- the platform ---------------------------------------------------------------------------------------------

    def pipeline(self, **destination: Any) -> dict[str, Any]:
        mode = destination.get("write_mode", "append")
        return {
            "pipeline_id": f"thing_{mode}",
            "source": {
                "type": "kafka",
                "connection": {"bootstrap_servers": self.broker.bootstrap, "topic_prefix": self.prefix,
                               "system": "postgres", **self.connection},
                "tables": [{"name": "public.thing"}],
            },
            "destination": {"type": "deltalake", "path": str(self.home / f"thing_{mode}"), **destination},
        }  # fmt: skip

    @property
    def settings(self) -> Settings:
        folder = self.home / "pipelines"
        folder.mkdir(parents=True, exist_ok=True)
        both = [self.pipeline(), self.pipeline(write_mode="upsert")]
        (folder / "thing.yaml").write_text(yaml.safe_dump_all(both))
        return Settings(self.home / "home", folder)

    def run_all(self) -> list[PipelineRun]:
        settings = self.settings
        pipelines = load_pipelines(settings.pipelines, {})
        return run(settings, {}, pipelines, pipelines)

    def run(self) -> None:
        for result in self.run_all():
            if result.error:
                raise result.error

    def cdc(self, *arguments: str, code: int = 0, **variables: str) -> str:
        """The command as a process of its own: what it says."""
        settings = self.settings
        own = {"CDC_HOME": str(settings.home), "CDC_PIPELINES": str(settings.pipelines), **variables}
        done = subprocess.run(
            [sys.executable, "-m", "cdc_platform.cli.main", *arguments],
            env={**os.environ, **own}, capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
        assert done.returncode == code, f"exit code {done.returncode}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return " ".join((done.stdout + done.stderr).split())

    def resync(self, *, anew: bool = True) -> None:
        settings = self.settings
        pipelines = load_pipelines(settings.pipelines, {})
        for result in resync(settings, {}, pipelines, pipelines[1:], anew=anew):
            if result.error:
                raise result.error

    def history(self) -> list[tuple[str, int, str | None]]:
        """What the history has, in its order by key."""
        rows = duckdb_delta(self.home / "thing_append").sort("_cdc_source_lsn", "id")
        return [(r["_cdc_operation"], r["id"], r["name"]) for r in rows.iter_rows(named=True)]

    def state(self) -> dict[int, str | None]:
        rows = duckdb_delta(self.home / "thing_upsert")
        found = {r["id"]: r["name"] for r in rows.iter_rows(named=True)}
        assert len(found) == rows.height
        return found


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
