from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.errors import ConfigError
from cdc_platform.model.position import (
    LSN,
    Notation,
    Position,
    binlog_at,
    binlog_parts,
    binlog_text,
    format_binlog,
    format_lsn,
    lsn_text,
    parse_binlog,
    parse_lsn,
)

LSNS = st.integers(0, 2**63 - 1)


@given(st.lists(LSNS, min_size=1))
def test_lsn_text_is_format_lsn_of_each(values: list[int]) -> None:
    assert lsn_text(np.array(values, np.int64)).to_list() == [format_lsn(v) for v in values]


@given(LSNS, LSNS)
def test_lsn_text_sorts_as_the_numbers_do(a: int, b: int) -> None:
    assert (format_lsn(a) < format_lsn(b)) == (a < b)


@given(LSNS)
def test_lsn_round_trip(value: int) -> None:
    assert parse_lsn(format_lsn(value)) == value


def test_postgres_own_form_of_an_lsn_is_read() -> None:
    assert parse_lsn("16/B374D848") == 0x16B374D848


@given(st.integers(1, 2**27 - 1), st.integers(0, 2**36 - 1))
def test_binlog_round_trip(sequence: int, offset: int) -> None:
    at = binlog_at(sequence, offset)
    assert at < 2**63
    assert binlog_parts(at) == (sequence, offset)
    assert parse_binlog(format_binlog("host-bin.x", at)) == ("host-bin.x", at)


def test_binlog_text_is_format_binlog_of_each_also_with_braces_in_the_name() -> None:
    places = [binlog_at(1, 4), binlog_at(1234567, 2**33)]
    for base in ("mariadb-bin", "odd{}name"):
        assert binlog_text(base, np.array(places, np.int64)).to_list() == [format_binlog(base, p) for p in places]


NOTATIONS = [LSN, Notation("binlog", "mysql-bin"), Notation("version"), Notation("offset")]


@given(LSNS, st.integers(0, 10**6), st.sampled_from(NOTATIONS))
def test_position_round_trip(at: int, ordinal: int, notation: Notation) -> None:
    position = Position(at, ordinal)
    assert notation.parse(notation.format(position)) == position


@given(st.datetimes(), st.integers(0, 10**6))
def test_a_time_as_a_position(moment: datetime, ordinal: int) -> None:
    position = Position((moment - datetime(1970, 1, 1)) // timedelta(microseconds=1), ordinal)
    assert Notation("time").parse(Notation("time").format(position)) == position


def test_how_other_positions_are_written() -> None:
    assert Notation("time").format(Position(1_764_000_000_000_001, 2)) == "2025-11-24T16:00:00.000001Z#2"
    assert Notation("time").parse("2025-11-24T17:00:00+01:00") == Position(1_764_000_000_000_000)
    assert Notation("version").format(Position(17)) == "17"


@pytest.mark.parametrize("notation", [*NOTATIONS, Notation("time")])
@pytest.mark.parametrize("text", ["", "nonsense", "12/XY", "file.000001", "1/2#x", "file.000001:x"])
def test_what_is_no_position_is_refused(text: str, notation: Notation) -> None:
    with pytest.raises(ConfigError, match="position"):
        notation.parse(text)


def test_a_position_of_the_other_system_is_refused() -> None:
    with pytest.raises(ConfigError, match="XXXXXXXX/XXXXXXXX"):
        LSN.parse("binlog.000001:4")
    with pytest.raises(ConfigError, match="FILE"):
        Notation("binlog", "b").parse("0/1")
