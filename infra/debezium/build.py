"""`engine.jar` out of the Java beside this file: `python infra/debezium/build.py`, with a JDK 17+ and the extra.

The jar goes into the package, so that nobody who uses it needs a compiler. It holds the checksum of its sources, by
which a test sees that they belong together. Nothing in it depends on when and where it is made.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
JAR = HERE.parents[1] / "cdc_platform" / "sources" / "embedded" / "engine.jar"


def checksum() -> str:
    """SHA-256 over the sources, in the order of their names."""
    digest = hashlib.sha256()
    for source in sorted(HERE.glob("cdc/*.java")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


def build() -> None:
    from cdc_platform.sources.embedded.runtime import class_path

    with tempfile.TemporaryDirectory() as folder:
        sources = sorted(map(str, HERE.glob("cdc/*.java")))
        options = ["--release", "17", "-Xlint:all,-classfile,-processing", "-cp", class_path(), "-d", folder]
        subprocess.run(["javac", *options, *sources], check=True)  # noqa: S603, S607
        with zipfile.ZipFile(JAR, "w", zipfile.ZIP_DEFLATED) as jar:
            for compiled in sorted(Path(folder).rglob("*.class")):
                jar.writestr(zipfile.ZipInfo(compiled.relative_to(folder).as_posix()), compiled.read_bytes())
            jar.writestr(zipfile.ZipInfo("cdc/sources.sha256"), checksum())


if __name__ == "__main__":
    build()
