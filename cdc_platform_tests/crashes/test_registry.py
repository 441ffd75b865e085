"""The names of places: those in the code are those that are told of, and what is asked for at them is understood."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_platform.config.settings import PACKAGE
from cdc_platform.errors import ConfigError
from cdc_platform.failpoints import FAILPOINTS, REPLIES, VARIABLE, Plan, failpoint, planned


@pytest.fixture(autouse=True)
def _read_anew() -> Iterator[None]:
    yield
    planned.cache_clear()


def test_the_places_in_the_code_are_those_that_are_listed() -> None:
    texts = [file.read_text() for file in PACKAGE.rglob("*.py") if file.name != "failpoints.py"]
    calls = [call for text in texts for call in re.findall(r"\bfailpoint\((.*)\)", text)]
    names = {match[1] for call in calls if (match := re.fullmatch(r'"([a-z.]+)"(?:, [\w.]+)?', call))}
    assert len(calls) >= len(names)
    assert all(call.startswith('"') for call in calls), "a name is a constant"
    assert names == set(FAILPOINTS)
    assert set(FAILPOINTS) >= REPLIES


@pytest.mark.parametrize("text", ["log.nowhere", "log.created:explode", "log.created:lost", "log.created:kill:0", "*"])
def test_what_is_not_understood_is_said(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    planned.cache_clear()
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ConfigError, match=VARIABLE):
        failpoint("run.captured")


def test_a_reply_is_lost_at_its_time_and_place_only(monkeypatch: pytest.MonkeyPatch) -> None:
    planned.cache_clear()
    monkeypatch.setenv(VARIABLE, "log.commit.made:lost:2")
    failpoint("log.commit.made")
    failpoint("delta.commit.made")
    with pytest.raises(TimeoutError, match="lost"):
        failpoint("log.commit.made", TimeoutError)
    failpoint("log.commit.made")


def test_places_are_traced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    planned.cache_clear()
    monkeypatch.setenv(VARIABLE, f"*:trace:{tmp_path / 'trace'}")
    failpoint("run.captured")
    failpoint("log.created")
    assert (tmp_path / "trace").read_text().split() == ["run.captured", "log.created"]


def test_without_the_variable_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    planned.cache_clear()
    monkeypatch.delenv(VARIABLE, raising=False)
    for name in FAILPOINTS:
        failpoint(name)
    assert planned() is None
    plan = Plan.of("log.created")
    assert (plan.name, plan.action, plan.hit) == ("log.created", "kill", 1)
