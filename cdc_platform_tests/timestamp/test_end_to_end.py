"""From a table with a timestamp to both formats in both write modes, by a role that may do nothing but SELECT."""

from __future__ import annotations

from datetime import timedelta

from cdc_platform_tests.timestamp.ground import Ground


def test_rows_come_change_and_go(things: Ground) -> None:
    ago = timedelta(hours=-1)
    things.put((1, "a", ago), (2, "b", ago), (3, "c", None))
    assert things.run() == {"SNAPSHOT": 3}
    things.assert_lake_is_source()
    assert things.run() == {}
    things.put((2, "B", timedelta()), (4, "d", timedelta()), (3, "C", None))
    assert things.run() == {"INSERT": 1, "UPDATE": 2}
    things.assert_lake_is_source()
    things.do("delete from things where id = 1")
    assert things.run() == {}  # nothing tells of it ...
    verdicts = things.world.check()
    assert {v.status for v in verdicts} == {"PASS"}, verdicts
    things.assert_lake_is_source()  # ... until keys are compared
    assert all(one.equal for one in things.verify())
    things.assert_log_holds_each_change_once()
