"""Where a change log begins to tell of its table, and where it is not what its source was."""

from __future__ import annotations

import pytest

from cdc_platform.change_log.commits import Commit, Doubt, beginning, doubts
from cdc_platform.model.position import Position


def commit(version: int, at: int, **said: object) -> Commit:
    return Commit(version, Position(at), **said)  # type: ignore[arg-type]


def test_a_log_begins_with_the_last_part_of_its_snapshot() -> None:
    commits = [commit(1, 10, snapshot=True), commit(2, 15), commit(3, 20, snapshot=True), commit(4, 30)]
    assert beginning(commits) == Position(20)
    assert beginning([commit(1, 10)]) is None


@pytest.mark.parametrize(
    ("commits", "found"),
    [
        ([commit(2, 20), commit(3, 30)], []),
        # From where the log was before the mark to the comparison; marks in between add nothing.
        (
            [
                commit(2, 20),
                commit(3, 25, marked="a default"),
                commit(4, 30, marked="more"),
                commit(5, 40, compared=True),
            ],
            [Doubt(Position(20), Position(40), "a default")],
        ),
        ([commit(2, 20), commit(3, 25, marked="a gap")], [Doubt(Position(20), None, "a gap")]),
        # Compared without a mark: only where something differed, and then nothing says since when.
        ([commit(2, 20), commit(3, 40, compared=True)], []),
        (
            [commit(2, 20), commit(3, 40, compared=True, differed=True)],
            [Doubt(Position(10), Position(40), "rows were found changed when the table was compared")],
        ),
        (
            [commit(2, 20, compared=True), commit(3, 30), commit(4, 40, compared=True, differed=True)],
            [Doubt(Position(20), Position(40), "rows were found changed when the table was compared")],
        ),
    ],
)
def test_doubts(commits: list[Commit], found: list[Doubt]) -> None:
    assert list(doubts([commit(1, 10, snapshot=True), *commits])) == found


def test_a_doubt_does_not_touch_its_ends() -> None:
    doubt = Doubt(Position(20), Position(40), "")
    assert [doubt.touches(Position(at)) for at in (20, 21, 39, 40)] == [False, True, True, False]
    assert Doubt(Position(20), None, "").touches(Position(1000))
