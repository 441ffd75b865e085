"""Print the path of a `uv` to use, getting one into `.uv/` of the project when there is none on the PATH.

Standard library only: a machine may have a bare python3, without pip and venv. With pip, its configured index is
used; without it, the wheel comes from PyPI and is checked against the index's SHA-256.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

VERSION = "0.13.9"
FOLDER = Path(__file__).resolve().parent.parent / ".uv"


def main() -> None:
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        sys.exit(f"Python 3.11, 3.12 or 3.13 is needed, this is {platform.python_version()}; set PYTHON=python3.12")
    found = shutil.which("uv") or shutil.which("uv", path=str(FOLDER / "bin"))
    print(found or with_pip() or from_index())


def with_pip() -> str | None:
    """Install into a folder of the project; None where there is no pip or it fails."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action"]
    command += ["ignore", "--prefix", str(FOLDER), f"uv=={VERSION}"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    for folder in ("bin", "local/bin"):
        if done.returncode == 0 and (FOLDER / folder / "uv").exists():
            return str(FOLDER / folder / "uv")
    return None


def from_index() -> str:
    """Unpack the wheel that PyPI has for this machine."""
    libc = "musllinux" if platform.libc_ver()[0] == "" else "manylinux"
    wanted = (libc, platform.machine()) if sys.platform == "linux" else ("macosx", platform.machine())
    try:
        with urllib.request.urlopen(f"https://pypi.org/pypi/uv/{VERSION}/json", timeout=60) as answer:
            files = json.load(answer)["urls"]
        file = next(f for f in files if all(part in f["filename"] for part in wanted))
        with urllib.request.urlopen(file["url"], timeout=300) as answer:
            wheel = answer.read()
    except (OSError, StopIteration) as error:
        sys.exit(f"cannot get uv from PyPI ({error!r}); install uv or pip, then run make again")
    if hashlib.sha256(wheel).hexdigest() != file["digests"]["sha256"]:
        sys.exit("the uv wheel does not have the checksum that PyPI names; try again")
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        script = next(n for n in archive.namelist() if n.endswith(".data/scripts/uv"))
        target = FOLDER / "bin" / "uv"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(archive.read(script))
        target.chmod(0o755)
    return str(target)


if __name__ == "__main__":
    main()
