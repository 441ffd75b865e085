"""The core is imported without dagster, and quickly enough for a sensor or a prompt."""

from __future__ import annotations

import subprocess
import sys

import pytest

_HEAVY = ("dagster", "pyiceberg", "psycopg2", "pymysql", "faker", "deltalake")


def _loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("module", ["cdc_platform.engine.run", "cdc_platform.engine.check"])
def test_the_core_imports_no_dagster(module: str) -> None:
    loaded = _loaded_by(module)
    assert module in loaded
    assert "dagster" not in loaded


def test_a_command_that_needs_no_driver_loads_none() -> None:
    loaded = _loaded_by("cdc_platform.cli.main")
    assert "cdc_platform.cli.main" in loaded
    assert not loaded.intersection(_HEAVY)
