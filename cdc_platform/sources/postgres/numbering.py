"""Which attribute number each column of a streamed shape has. Pure. Layer: sources.

A Relation message gives a table's columns in the order of their numbers, but not the numbers. Known besides are the
shape that the table had before (`before`, with numbers) and the catalogue of some later time (`now`, with all numbers
that were ever given and can be streamed). The message's shape lies between the two. Numbers are never given twice and
columns never change places, so:

1. the message's columns have rising numbers, each of them one in `now`;
2. a number that is in `before` and not dropped in `now` is in the message;
3. numbers are handed out one after the other: where one above those of `before` is not dropped in `now` and not in the
   message, it is not there yet, and no later one is;
4. a number below the highest of `before` that is neither in `before` nor in `now` had been dropped by then.

Often one assignment alone is left: nothing was dropped, or nothing was added, or only names and types changed. Then it
is right, whatever the names are (a rename, two names swapped, a name used again).

Where several are left, columns were dropped between `before` and `now` and others were added. Names decide: a column
has the number at which `before` or `now` knows its name; the fewest columns without such a number win. That is right
unless a name moved from one column to another between the two.

What stays ambiguous is told by `certain`, which is False where names leave several assignments. There are two kinds.
A column was dropped and another one was made under its name (the message says `x` either way). Or a column has a name
that neither side knows: it was added and dropped in between, or renamed first and dropped then, or added and renamed
then. In both the fewest changed types win, and among equals the lowest numbers, which means the columns of `before`
before newer ones. The caller has to have the rows compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seen:
    """A column as it looked at some time; `type` is the SQL name of its type with its modifier."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Numbering:
    """The numbers of a message's columns in their order; `certain` is False where others are as likely."""

    numbers: tuple[int, ...]
    certain: bool


def numbering(streamed: Sequence[Seen], before: Mapping[int, Seen], now: Mapping[int, Seen | None]) -> Numbering | None:
    """The numbers of `streamed`; None where no assignment obeys the rules. Dropped columns are None in `now`.

    Paths are followed through the numbers in their order, each taken by the next column or passed over; of the paths
    that agree in how many columns are placed, and in whether rule 3 has closed the rest, the best one is kept.
    """
    newest = max(before, default=0)
    candidates = [n for n in sorted(now) if n in before or n > newest or now[n] is not None]
    paths: _Paths = {(0, False): _Path(0, 0, 1, None)}
    for place, number in enumerate(candidates):
        old, later = before.get(number), now[number]
        needed = len(streamed) - (len(candidates) - place - 1)  # columns to be placed from here on, at least
        following: _Paths = {}
        for (placed, closed), path in paths.items():
            fresh = number > newest
            if placed < len(streamed) and not (fresh and closed):
                taken = path.taking(number, streamed[placed], old, later)
                _keep(following, (placed + 1, closed), taken, needed)
            if old is None or later is None:
                _keep(following, (placed, closed or (fresh and later is not None)), path, needed)
        paths = following
    ends: _Paths = {}
    for (placed, _), path in paths.items():
        _keep(ends, (placed, False), path, len(streamed))
    best = ends.get((len(streamed), False))
    return None if best is None else Numbering(best.numbers, best.ways == 1)


@dataclass(frozen=True, slots=True)
class _Link:
    number: int
    previous: _Link | None


@dataclass(frozen=True, slots=True)
class _Path:
    """Numbers taken so far, as a chain from the last one back; how many columns have a name, or a type, that neither

    side knows at their number; and how many assignments have as few of unknown name.
    """

    unknown: int
    changed: int
    ways: int
    last: _Link | None

    def taking(self, number: int, column: Seen, before: Seen | None, now: Seen | None) -> _Path:
        known = [side for side in (before, now) if side is not None]
        named = any(side.name == column.name for side in known)
        typed = not known or any(side.type == column.type for side in known)
        return _Path(self.unknown + (not named), self.changed + (not typed), self.ways, _Link(number, self.last))

    @property
    def numbers(self) -> tuple[int, ...]:
        numbers, link = [], self.last
        while link is not None:
            numbers.append(link.number)
            link = link.previous
        return tuple(reversed(numbers))


_Paths = dict[tuple[int, bool], _Path]


def _keep(paths: _Paths, state: tuple[int, bool], path: _Path, needed: int) -> None:
    """Put a path among those that can still place all columns, in the place of a worse one."""
    if state[0] < needed:
        return
    other = paths.get(state)
    if other is None or path.unknown < other.unknown:
        paths[state] = path
    elif path.unknown == other.unknown:
        ways = path.ways + other.ways
        better = min(path, other, key=lambda one: one.changed)
        if path.changed == other.changed:
            better = min(path, other, key=lambda one: one.numbers)
        paths[state] = _Path(better.unknown, better.changed, ways, better.last)
