"""Dagster's own home below CDC_HOME: its configuration, and what a crash left behind in it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from cdc_platform.config.settings import Settings
from cdc_platform.errors import ConfigError, Unavailable

CONFIGURATION = """\
# Written by `make dev` at each start: changes here are lost. To run Dagster with a configuration of your own
# (Postgres storage: see infra/dagster.yaml), start `dagster dev` yourself with your own DAGSTER_HOME.
storage:
  sqlite:
    base_dir: {home}
telemetry:
  enabled: false
nux:
  enabled: false
# From a change to its run: a run waits a second in the queue at most, not five.
run_coordinator:
  module: dagster
  class: QueuedRunCoordinator
  config:
    dequeue_interval_seconds: 1
concurrency:
  runs:
    max_concurrent_runs: 4
    # A source's log has one reader: a second run of the same source would only wait for the first.
    tag_concurrency_limits:
      - key: cdc/source
        value:
          applyLimitPerUniqueValue: true
        limit: 1
# Steps try again what can help, sensors start failed runs again; whole runs need no third mechanism.
run_retries:
  enabled: false
# A run that never comes up would keep its source waiting.
run_monitoring:
  enabled: true
  start_timeout_seconds: 180
retention:
  # A sensor ticks every five seconds and mostly skips.
  sensor:
    purge_after_days:
      skipped: 1
      success: 30
      failure: 30
  schedule:
    purge_after_days: 90
"""

_AT_WORK = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


def prepare_dagster_home(settings: Settings) -> Path:
    """Make `CDC_HOME/dagster` with its dagster.yaml; raises ConfigError where it cannot be written."""
    home = settings.home / "dagster"
    try:
        home.mkdir(parents=True, exist_ok=True)
        (home / "dagster.yaml").write_text(CONFIGURATION.format(home=_yaml_text(home)))
    except OSError as error:
        raise ConfigError(f"cannot write {home}: {error.strerror}; is CDC_HOME right?") from error
    return home


def hold_dagster_home(home: Path) -> int:
    """Take the home for this process and what it becomes by exec; the system frees it at its end.

    Returns the open lock file. Raises Unavailable when another Dagster has the home.
    """
    lock = os.open(home / "dagster.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise Unavailable(f"Dagster is running on {home} already; stop it first, or set another CDC_HOME") from error
    os.set_inheritable(lock, True)
    return lock


def end_interrupted_runs(home: Path) -> int:
    """Mark as failed the runs that were at work when Dagster was killed; how many. Only with the home held.

    Nobody works on them any more, and a sensor starts nothing for a source while a run of it seems to go on.
    """
    with dg.DagsterInstance.from_config(str(home)) as instance:
        runs = instance.get_runs(RunsFilter(statuses=_AT_WORK))
        for run in runs:
            instance.report_run_failed(run, "Interrupted: Dagster ended while this run was at work.")
        return len(runs)


def _yaml_text(path: Path) -> str:
    """A path as a YAML string, whatever characters it has."""
    return "'" + str(path).replace("'", "''") + "'"
