"""Where MariaDB comes from: unpacked, installed, fetched, or a clear word that it cannot be had."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cdc_platform.config.settings import PACKAGE, Settings
from cdc_platform.errors import Unavailable
from cdc_platform.servers import debian, mariadb
from cdc_platform.servers.embedded import silent, status, up
from cdc_platform.servers.mariadb import MariaDB
from cdc_platform.servers.software import Software
from cdc_platform_tests.servers.conftest import Ask


def _installed(folder: Path, software: Software, version: str = "") -> Path:
    """Something that looks like a MariaDB of the system's, made of links to the real one."""
    (folder / "sbin").mkdir(parents=True)
    real = software.program.parent.parent
    for name in ("bin", "lib", "share"):
        (folder / name).symlink_to(real / name)
    program = folder / "sbin" / "mariadbd"
    variables = "".join(f"export {name}='{value}'\n" for name, value in software.variables.items())
    answer = f"echo 'mariadbd  Ver {version} for debian-linux-gnu'" if version else f'exec {software.program} "$@"'
    program.write_text(f"#!/bin/sh\n{variables}{answer}\n")
    program.chmod(0o755)
    return program


def test_an_installed_server_is_used_where_none_is_unpacked(
    home: Settings, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = MariaDB(home.home / "servers" / "mysql")
    # Named by its own place, not by the link to it that the fixture made and that goes now.
    real = replace(server, folder=server.tree.resolve().parent / "mysql")
    program = _installed(home.home / "usr", real.software(silent))
    if server.tree.is_symlink():
        server.tree.unlink()
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    assert server.software(silent) == Software(program)
    state = up(home, environ={"POSTGRES_HOST": "db.example"})["mysql"]
    assert ask(state, "select 1") == [(1,)]
    assert status(home)["mysql"].pid is not None
    assert not server.tree.exists()


@pytest.mark.parametrize("version", ["10.5.29-MariaDB-0+deb11u1", "8.4.3", "nonsense"])
def test_neither_a_usable_server_nor_apt(
    tmp_path: Path, home: Settings, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    real = MariaDB(home.home / "servers" / "mysql").software(silent)
    program = _installed(tmp_path / "usr", real, version)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr(mariadb, "SYSTEM_PLACES", ())
    assert not debian.is_available()
    with pytest.raises(Unavailable, match=re.escape("infra/docker-compose.yaml")) as raised:
        MariaDB(tmp_path / "servers" / "mysql").software(silent)
    assert "\n" not in str(raised.value)
    assert (PACKAGE.parent / "infra" / "docker-compose.yaml").exists()
