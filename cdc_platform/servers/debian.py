"""Software from Debian's or Ubuntu's packages, unpacked into a folder: no root, nothing of the system changed.

Which packages are needed is apt's own answer (a simulated installation names what the machine lacks). Where
its lists are empty or too old to download by, the same is done once more with lists of our own, kept in the
work folder. Layer: servers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cdc_platform.errors import Unavailable
from cdc_platform.servers.server import Progress
from cdc_platform.servers.software import failure_in

_QUIET = (
    "-q",
    # A folder under /root is closed to apt's own download user.
    "-oAPT::Sandbox::User=root",
    "-oAcquire::Retries=3",
    "-oAcquire::http::Timeout=30",
    "-oAcquire::https::Timeout=30",
)


class _Failed(Exception):
    """A command of apt or dpkg failed; holds its last words."""


def is_available() -> bool:
    return shutil.which("apt-get") is not None and shutil.which("dpkg-deb") is not None


def unpack(packages: Sequence[str], tree: Path, progress: Progress, suite: str | None = None) -> None:
    """Unpack the newest `packages` and what they need into `tree`, which must not exist yet.

    With a `suite` (`sid`) they are that suite's, from the machine's own mirror, and so is all that they need, whatever
    the machine has. `tree` appears in one step, when everything is in it. Raises Unavailable with apt's last words.
    """
    tree.parent.mkdir(parents=True, exist_ok=True)
    for left_over in tree.parent.glob(f"{tree.name}.*.partial"):
        shutil.rmtree(left_over, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f"{tree.name}.", suffix=".partial", dir=tree.parent))
    try:
        try:
            options = _lists_of(suite, work / "apt") if suite else ()
            files = _download(packages, work / "packages", options)
        except _Failed:
            if suite:
                raise
            progress("the machine's package lists are empty or old: fetching current ones (kept apart)")
            files = _download(packages, work / "packages", _own_lists(work / "apt"))
        for file in files:
            _call(["dpkg-deb", "--extract", str(file), str(work / "tree")], work)
        (work / "tree").chmod(0o755)
        (work / "tree").replace(tree)
    except _Failed as failure:
        raise Unavailable(f"could not fetch {packages[0]} from the distribution's packages: {failure}") from failure
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _download(packages: Sequence[str], folder: Path, options: Sequence[str]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    apt = ["apt-get", *_QUIET, *options]
    simulated = _call([*apt, "--simulate", "--no-install-recommends", "install", *packages], folder)
    # "Inst libaio1 (0.3.113-4 Debian:12/stable [amd64])"; an upgrade has the old version in [] before the ( .
    lacking = [line.split()[1] for line in simulated.splitlines() if line.startswith("Inst ")]
    # What they need and is installed already is found on the machine; they themselves are wanted in any case.
    _call([*apt, "download", *dict.fromkeys([*packages, *lacking])], folder)
    return sorted(folder.glob("*.deb"))


def _own_lists(folder: Path) -> list[str]:
    options = [
        *_own_folders(folder),
        # What is installed is still the machine's own record.
        "-oDir::State::status=/var/lib/dpkg/status",
    ]
    try:
        _call(["apt-get", *_QUIET, *options, "update"], folder)
    except _Failed:
        # One unreachable third-party source fails the whole update; what counts is whether the download works.
        return options
    return options


def _lists_of(suite: str, folder: Path) -> list[str]:
    """Lists of one suite of Debian's alone, as a machine would see them on which nothing is installed."""
    options = _own_folders(folder)
    keys = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    sources = folder / "sources.list"
    sources.write_text(f"deb [signed-by={keys}] {_mirror(folder)} {suite} main\n")
    status = folder / "status"
    status.touch()
    options += [f"-oDir::State::status={status}", f"-oDir::Etc::sourcelist={sources}", "-oDir::Etc::sourceparts=-"]
    _call(["apt-get", *_QUIET, *options, "update"], folder)
    return options


def _mirror(folder: Path) -> str:
    """Where the machine itself has Debian from."""
    known = _call(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"], folder)
    for address in known.split():
        if address.rstrip("/").endswith("/debian"):
            return address
    raise _Failed("this machine has no mirror of Debian among its package sources")


def _own_folders(folder: Path) -> list[str]:
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return [
        f"-oDir::State={folder / 'state'}",
        f"-oDir::State::lists={folder / 'state' / 'lists'}",
        f"-oDir::Cache={folder / 'cache'}",
    ]


def _call(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(  # noqa: S603  the command is composed by this package
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=folder,
        env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        check=False,
    )
    if done.returncode != 0:
        raise _Failed(failure_in(done.stdout))
    return done.stdout
