"""A broker, Connect with Debezium, and a schema registry as processes of ours: on loopback, at free ports, with small
heaps, and gone with the process that started them.

    with Stack(software) as stack:
        stack.broker().bootstrap        PLAINTEXT, open to all
        stack.broker().sasl             SASL_PLAINTEXT: user `cdc`, password `secret`
        stack.connect().running(config) a connector for the length of a `with`
        stack.registry().url            Confluent's API

`software` is what infra/get_kafka.py makes. Each is started when first asked for; logs are in `stack.folder`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Reads process ids, one a line; when the other end of the pipe closes, whyever, they are killed.
_GUARD = """
import os, shutil, signal, sys
pids = [int(line) for line in sys.stdin]
for pid in pids:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""
_JVM = ("-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Djava.net.preferIPv4Stack=true")
_LOGGING = """
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1} %m%n
"""
_START_SECONDS = 180.0
USER, PASSWORD = "cdc", "secret"


class Server:
    """One process: its command, the port that answers once it is up, and the file that has its output."""

    def __init__(self, stack: Stack, name: str, command: Sequence[str], port: int) -> None:
        self.name, self.port = name, port
        self._stack, self._command = stack, command
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self._stack.folder / f"{self.name}.log"

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command, stdout=out, stderr=subprocess.STDOUT, cwd=self._stack.folder, start_new_session=True
            )
        self._stack.guard(self._process.pid)
        deadline = time.monotonic() + _START_SECONDS
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{self.name} did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.1)

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """kill -9; `start` brings it up again with what it had on disk."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Let it end in order."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=60)
            self._process = None


class Broker(Server):
    """A Kafka of one node that is broker and controller."""

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    sasl: str = ""


class Registry(Server):
    @property
    def url(self) -> str:
        """Where Confluent's API is."""
        return f"http://127.0.0.1:{self.port}/apis/ccompat/v7"

    @property
    def own_url(self) -> str:
        """Where Apicurio's own API is, which its converters for Connect speak."""
        return f"http://127.0.0.1:{self.port}/apis/registry/v2"

    def answers(self) -> bool:
        return _answers(f"{self.url}/subjects")


class Connect(Server):
    """A worker of Kafka Connect in which connectors are made by its REST interface."""

    def answers(self) -> bool:
        return _answers(f"http://127.0.0.1:{self.port}/connectors")

    @contextmanager
    def running(self, name: str, config: Mapping[str, str], seconds: float = 60.0) -> Iterator[None]:
        """The connector from when its task runs, to the end of the block."""
        self.ask("POST", "/connectors", {"name": name, "config": dict(config)})
        try:
            deadline = time.monotonic() + seconds
            while self.state(name) != "RUNNING":
                if self.state(name) == "FAILED" or time.monotonic() > deadline:
                    raise AssertionError(f"{name}: {json.dumps(self.ask('GET', f'/connectors/{name}/status'))[:3000]}")
                time.sleep(0.2)
            yield
        finally:
            self.ask("DELETE", f"/connectors/{name}")

    def state(self, name: str) -> str:
        """Of its one task; empty while there is none."""
        try:
            tasks = self.ask("GET", f"/connectors/{name}/status")["tasks"]
        except urllib.error.HTTPError as error:
            if error.code != 404:  # not known to all threads of the worker yet
                raise
            return ""
        return str(tasks[0]["state"]) if tasks else ""

    def ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None


class Stack:
    """All that run together, in one temporary folder."""

    def __init__(self, software: Path) -> None:
        self.software = software.resolve()
        self.folder = Path(tempfile.mkdtemp(prefix="cdc-kafka-"))
        self._servers: dict[str, Server] = {}
        self._guard = subprocess.Popen(
            [sys.executable, "-c", _GUARD, str(self.folder)], stdin=subprocess.PIPE, text=True, start_new_session=True
        )
        (self.folder / "log4j2.properties").write_text(_LOGGING)

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.communicate(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def guard(self, pid: int) -> None:
        """Have the process ended with us."""
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{pid}\n")
        self._guard.stdin.flush()

    def broker(self) -> Broker:
        known = self._servers.get("broker")
        if known is None:
            known = self._servers["broker"] = self._new_broker()
        assert isinstance(known, Broker)
        return known

    def connect(self) -> Connect:
        known = self._servers.get("connect")
        if known is None:
            known = self._servers["connect"] = self._new_connect()
        assert isinstance(known, Connect)
        return known

    def registry(self) -> Registry:
        known = self._servers.get("registry")
        if known is None:
            known = self._servers["registry"] = self._new_registry()
        assert isinstance(known, Registry)
        return known

    def java(self, *arguments: str, heap: str = "256m") -> list[str]:
        """The command that runs a class of the class path."""
        logging = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
        program = str(self.software / "java" / "bin" / "java")
        return [program, f"-Xmx{heap}", *_JVM, logging, "-cp", f"{self.software / 'jars'}/*", *arguments]

    def _new_broker(self) -> Broker:
        plain, sasl, controller = free_ports(3)
        jaas = (
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            f'username="{USER}" password="{PASSWORD}" user_{USER}="{PASSWORD}";'
        )
        file = self._properties(
            "broker",
            {
                "process.roles": "broker,controller",
                "node.id": "1",
                "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
                "listeners": (
                    f"PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}"
                ),
                "advertised.listeners": f"PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl}",
                "listener.security.protocol.map": (
                    "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"
                ),
                "controller.listener.names": "CONTROLLER",
                "sasl.enabled.mechanisms": "PLAIN",
                "listener.name.sasl_plaintext.plain.sasl.jaas.config": jaas,
                "log.dirs": str(self.folder / "broker"),
                "auto.create.topics.enable": "false",
                "num.partitions": "1",
                "offsets.topic.num.partitions": "1",
                "offsets.topic.replication.factor": "1",
                "transaction.state.log.num.partitions": "1",
                "transaction.state.log.replication.factor": "1",
                "transaction.state.log.min.isr": "1",
                "share.coordinator.state.topic.replication.factor": "1",
                "share.coordinator.state.topic.min.isr": "1",
                "group.initial.rebalance.delay.ms": "0",
                "log.retention.check.interval.ms": "3600000",
                # A killed broker takes this long to find its own former self dead.
                "broker.session.timeout.ms": "3000",
                "broker.heartbeat.interval.ms": "500",
            },
        )
        form = ["kafka.tools.StorageTool", "format", "--standalone", "-t", "Y2RjLXBsYXRmb3JtLXRlcw", "-c", str(file)]
        done = subprocess.run(self.java(*form), capture_output=True, text=True, check=False, timeout=_START_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
        broker = Broker(self, "broker", self.java("kafka.Kafka", str(file)), plain)
        broker.sasl = f"127.0.0.1:{sasl}"
        broker.start()
        return broker

    def _new_connect(self) -> Connect:
        (port,) = free_ports(1)
        converter = "org.apache.kafka.connect.json.JsonConverter"
        file = self._properties(
            "connect",
            {
                "bootstrap.servers": self.broker().bootstrap,
                "group.id": "connect",
                "listeners": f"http://127.0.0.1:{port}",
                "rest.advertised.host.name": "127.0.0.1",
                "rest.advertised.port": str(port),
                "key.converter": converter,
                "value.converter": converter,
                "plugin.discovery": "service_load",
                **{f"{kind}.storage.topic": f"connect-{kind}" for kind in ("config", "offset", "status")},
                **{f"{kind}.storage.replication.factor": "1" for kind in ("config", "offset", "status")},
                **{f"{kind}.storage.partitions": "1" for kind in ("offset", "status")},
                "offset.flush.interval.ms": "1000",
                "scheduled.rebalance.max.delay.ms": "0",
            },
        )
        command = self.java("org.apache.kafka.connect.cli.ConnectDistributed", str(file), heap="384m")
        connect = Connect(self, "connect", command, port)
        connect.start()
        return connect

    def _new_registry(self) -> Registry:
        (port,) = free_ports(1)
        home = self.software / "registry"
        (runner,) = home.glob("*-runner.jar")
        program = str(self.software / "java" / "bin" / "java")
        settings = [f"-Dquarkus.http.port={port}", "-Dquarkus.http.host=127.0.0.1", "-Dquarkus.log.level=WARN"]
        command = [program, "-Xmx256m", *_JVM, *settings, "-jar", str(runner)]
        registry = Registry(self, "registry", command, port)
        registry.start()
        return registry

    def _properties(self, name: str, values: Mapping[str, str]) -> Path:
        file = self.folder / f"{name}.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
        return file


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def software() -> Path | None:
    """Where `make test-kafka` has put the parts; None in other runs."""
    folder = os.environ.get("CDC_KAFKA")
    return Path(folder) if folder else None
