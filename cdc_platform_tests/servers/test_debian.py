"""Packages are unpacked whole or not at all, from a repository made for the test: no network."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from cdc_platform.errors import Unavailable
from cdc_platform.servers import debian
from cdc_platform.servers.embedded import silent

pytestmark = pytest.mark.skipif(not debian.is_available(), reason="needs apt")


def _package(repository: Path, name: str, depends: str) -> None:
    tree = repository / name
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr" / "share" / name).mkdir(parents=True)
    (tree / "usr" / "share" / name / "content").write_text(name)
    control = f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: test <t@example.org>\nDescription: test\n"
    control += f"Depends: {depends}\n" if depends else ""
    (tree / "DEBIAN" / "control").write_text(control)
    file = repository / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", str(tree), str(file)], check=True, capture_output=True)
    content = file.read_bytes()
    entry = f"{control}Filename: ./{file.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n\n"
    with (repository / "Packages").open("a") as index:
        index.write(entry)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only source that apt knows of; the machine's own lists seem empty."""
    folder = tmp_path / "repository"
    folder.mkdir()
    _package(folder, "cdc-test-library", "")
    _package(folder, "cdc-test-server", "cdc-test-library")
    _package(folder, "cdc-test-broken", "cdc-test-missing")
    (tmp_path / "lists").mkdir()
    sources = tmp_path / "sources.list"
    sources.write_text(f"deb [trusted=yes] copy:{folder} ./\n")
    configuration = tmp_path / "apt.conf"
    configuration.write_text(
        f'Dir::Etc::sourcelist "{sources}";\nDir::Etc::sourceparts "-";\nDir::State::lists "{tmp_path / "lists"}";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(configuration))
    return folder


def test_a_package_and_what_it_needs_are_unpacked(repository: Path, tmp_path: Path) -> None:
    said: list[str] = []
    tree = tmp_path / "home" / "tree"
    debian.unpack(["cdc-test-server"], tree, said.append)
    for name in ("cdc-test-server", "cdc-test-library"):
        assert (tree / "usr" / "share" / name / "content").read_text() == name
    assert list(tree.parent.iterdir()) == [tree]
    assert said == ["the machine's package lists are empty or old: fetching current ones (kept apart)"]
    assert list((tmp_path / "lists").iterdir()) == []


@pytest.mark.parametrize(
    ("package", "reason"),
    [("cdc-test-nowhere", "Unable to locate package"), ("cdc-test-broken", "broken packages")],
)
def test_what_cannot_be_had_is_told(repository: Path, tmp_path: Path, package: str, reason: str) -> None:
    tree = tmp_path / "home" / "tree"
    with pytest.raises(Unavailable, match=f"could not fetch {package}.*{reason}"):
        debian.unpack([package], tree, silent)
    assert list(tree.parent.iterdir()) == []


def test_a_damaged_package_leaves_nothing(repository: Path, tmp_path: Path) -> None:
    (repository / "cdc-test-server.deb").write_bytes(b"!<arch>\n")
    tree = tmp_path / "home" / "tree"
    with pytest.raises(Unavailable, match="could not fetch cdc-test-server"):
        debian.unpack(["cdc-test-server"], tree, silent)
    assert list(tree.parent.iterdir()) == []


def test_the_rest_of_an_interrupted_fetch_is_not_taken_for_a_whole_one(repository: Path, tmp_path: Path) -> None:
    tree = tmp_path / "home" / "tree"
    rest = tree.parent / "tree.abcd.partial"
    (rest / "tree" / "usr").mkdir(parents=True)
    debian.unpack(["cdc-test-library"], tree, silent)
    assert (tree / "usr" / "share" / "cdc-test-library" / "content").exists()
    assert not rest.exists()


def test_a_suite_is_asked_for_from_the_machines_own_mirror(repository: Path, tmp_path: Path) -> None:
    """This machine has none of Debian's, so nothing of it can be had."""
    with pytest.raises(Unavailable, match="no mirror of Debian"):
        debian.unpack(["cdc-test-server"], tmp_path / "home" / "tree", silent, suite="sid")
    assert list((tmp_path / "home").iterdir()) == []
