"""The core is imported without dagster, and quickly enough for a sensor or a prompt."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["cdc_platform.cli.main", "cdc_platform.engine.run", "cdc_platform.engine.check"])
def test_the_core_imports_no_dagster(module: str) -> None:
    code = f"import sys, {module}; sys.exit('dagster' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("heavy", ["pyiceberg", "psycopg2", "pymysql", "faker", "deltalake"])
def test_a_command_that_needs_no_driver_loads_none(heavy: str) -> None:
    code = f"import sys, cdc_platform.cli.main; sys.exit('{heavy}' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
