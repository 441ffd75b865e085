"""Random workloads: whatever happened, and whenever a process died, the table is what its inputs' rows make of it."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from cdc_platform.config.settings import Settings
from cdc_platform.engine.derivation import buckets, kept
from cdc_platform.engine.derivation import derive as deriving
from cdc_platform.engine.derivation.derive import derive
from cdc_platform.engine.derivation.verified import verified
from cdc_platform.engine.progress import silent
from cdc_platform_tests.derivation.random_shop import RandomShop
from cdc_platform_tests.engine.test_failpoints import Killed

SEEDS = range(int(os.environ.get("CDC_TESTS_DERIVED_SEEDS", "2")))


def shop(tmp_path: Path, seed: int, format: str = "deltalake", whole: bool = True) -> RandomShop:
    made = RandomShop(Settings(tmp_path / "home", tmp_path / "pipelines"), Random(seed), whole, format)
    made.begin()
    return made


@pytest.fixture
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handful of rows fills buckets, and a handful of keys a commit."""
    monkeypatch.setattr(buckets, "ROWS_A_BUCKET", 4)
    monkeypatch.setattr(deriving, "MOST_TOUCHED", 5)


def assert_exact(one: RandomShop) -> None:
    assert one.found() == one.expected()
    compared = verified(one.derivation(), silent)
    assert compared.found is not None
    assert compared.found.equal
    assert compared.found.expected == compared.found.found
    assert compared.found.expected.rows == len(one.rows["customers"])


@pytest.mark.usefixtures("small_buckets")
@pytest.mark.parametrize("whole", [True, False], ids=["whole rows before", "keys alone before"])
@pytest.mark.parametrize("seed", SEEDS)
def test_kept_by_changes(tmp_path: Path, seed: int, whole: bool) -> None:
    one = shop(tmp_path, seed, ["deltalake", "iceberg"][seed % 2], whole)
    for _ in range(5):
        derive(one.derivation())
        assert_exact(one)
        one.work()
    derive(one.derivation())
    assert_exact(one)


PLACES = ["derive.reading", "delta.commit.made", "derive.committed", "derive.keeping", "derive.kept"]


@pytest.mark.usefixtures("small_buckets")
@pytest.mark.parametrize("seed", SEEDS)
def test_deaths(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one, chance = shop(tmp_path, seed, whole=seed % 2 == 0), Random(seed)
    for _ in range(6):
        place = chance.choice(PLACES)
        with monkeypatch.context() as patch:
            _die_at(patch, place)
            with pytest.raises(Killed):
                derive(one.derivation())
        if chance.random() < 0.5:
            one.work()
            derive(one.derivation())
            assert_exact(one)
        one.work()


def _die_at(patch: pytest.MonkeyPatch, place: str) -> None:
    from cdc_platform.destinations import delta_log

    def deadly(name: str, lost: type[Exception] = OSError) -> None:
        if name == place:
            raise Killed

    for module in (deriving, kept, delta_log):
        patch.setattr(module, "failpoint", deadly)
