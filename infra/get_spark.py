"""Fetch Spark with Delta into a folder of its own, for `make test-spark`: a virtual environment and three jars.

Run as `python infra/get_spark.py UV FOLDER`. What cannot be had is said, and the tests that need it are skipped.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import urllib.request
from pathlib import Path

PYSPARK = "pyspark==4.0.1"  # the release that Delta 4.0 is built for
MAVEN = "https://repo1.maven.org/maven2/"
JARS = {
    "io/delta/delta-spark_2.13/4.0.0/delta-spark_2.13-4.0.0.jar": (
        "538511702aae0ef6973a6a70af3d4543c9009f8edbed786a00737e2d3cd7f04e"
    ),
    "io/delta/delta-storage/4.0.0/delta-storage-4.0.0.jar": (
        "9bdb9fb450f1e119eba53feb427f331b0d09072d26485b8273883ad72c9a2e1d"
    ),
    "org/antlr/antlr4-runtime/4.13.1/antlr4-runtime-4.13.1.jar": (
        "54665d2838cc66458343468efc539e454fc95b46a8a04b13c6ac43fc9be63505"
    ),
}


def main(uv: str, folder: Path) -> None:
    python = folder / "bin" / "python"
    if not python.exists():
        staged = folder.with_name(f"{folder.name}-new")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, staged], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", staged / "bin" / "python", PYSPARK], check=True)
        staged.rename(folder)
    (folder / "jars").mkdir(exist_ok=True)
    for path, digest in JARS.items():
        jar = folder / "jars" / Path(path).name
        if not jar.exists():
            with urllib.request.urlopen(MAVEN + path, timeout=120) as answer:
                content = answer.read()
            if hashlib.sha256(content).hexdigest() != digest:
                raise OSError(f"{path} is not what it should be")
            jar.write_bytes(content)


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"Spark cannot be had: {error}", file=sys.stderr)
