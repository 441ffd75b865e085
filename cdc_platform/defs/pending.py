"""Is there anything to do for a source? Asked every few seconds, so it costs little and changes nothing.

A server's log moves by itself while nobody writes to the followed tables, so its head only says that there may be
something. What counts is a change of a followed table that its change log lacks. What is unfinished counts too: a
table without a snapshot, a destination behind its change log, a log so far behind that the source keeps too much.

`Seen` carries what was looked at from one look to the next: a change that had its run is no news at the next look,
also when that run has failed. Trying failed runs again is the sensor's business.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from cdc_platform.engine.derivation.opened import Derivation
from cdc_platform.engine.derivation.standing import oldest_underived
from cdc_platform.engine.feeds import Feed, Flow
from cdc_platform.engine.follow import QUIET_BYTES, followed_as
from cdc_platform.engine.lag import oldest_unapplied
from cdc_platform.engine.seen import changes_of
from cdc_platform.engine.settle import due
from cdc_platform.errors import CdcError, NeedsPerson, SchemaConflict
from cdc_platform.model.change import Seen as Found
from cdc_platform.model.digest import digest
from cdc_platform.model.position import ORIGIN, Position
from cdc_platform.model.schema import TableName


@dataclass(frozen=True, slots=True)
class Seen:
    """Up to where a feed's log was looked at, and the change logs' versions (by path) at that time. `rows` is a digest
    of the changes that were found, where a source tells the same ones until they are logged."""

    head: Position = ORIGIN
    versions: Mapping[str, int] | None = None
    rows: str = ""


def seen_text(seen: Mapping[str, Seen]) -> str:
    """What was seen of each feed of a source, as text."""
    return json.dumps({feed: asdict(one) for feed, one in seen.items()}, sort_keys=True)


def parse_seen(text: str | None) -> dict[str, Seen]:
    """The inverse of `seen_text`; without one, nothing was seen."""
    stored = json.loads(text) if text else {}
    return {feed: Seen(Position(**one["head"]), one["versions"], one["rows"]) for feed, one in stored.items()}


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found, in a few words each: new changes, and what else is unfinished."""

    seen: Seen
    changed: str | None = None
    unfinished: str | None = None


def look(feed: Feed, flows: Sequence[Flow | Derivation], before: Seen) -> Look:
    """What there is to do since `before`. Call it with the source's lock held, because it reads the source's log."""
    head, versions = feed.source.head(), {str(log.path): log.version() for log in feed.logs.values()}
    # A source that is compared with its log has a clock for a head, which says nothing.
    seen = Seen(ORIGIN if feed.comparing else head, versions)
    if seen == before and not feed.comparing:
        return Look(seen)
    positions = {table: log.position() for table, log in feed.logs.items()}
    # What is in a gap was told by the run that found it; it has no changes to look for.
    whole = {table for table, position in positions.items() if position is not None and not feed.logs[table].gap()}
    followed = {table: position for table, position in positions.items() if position is not None and table in whole}
    try:
        changed = _changed(feed, followed, before.head, head)
        if isinstance(changed, Rows):
            seen = replace(seen, rows=changed.digest)
            changed = changed.text if changed.digest != before.rows else None
    except NeedsPerson as error:
        # A gap, a foreign server: a run shows it on the assets, in red.
        return Look(seen, unfinished=str(error))
    unfinished = _without_snapshot(positions) or _behind(flows) or _due(feed, whole) or _grown(feed, followed, head)
    return Look(seen, changed, unfinished)


@dataclass(frozen=True, slots=True)
class Rows:
    """Changes of a table that its source tells again at each look, and a digest of them."""

    text: str
    digest: str


def _changed(feed: Feed, followed: Mapping[TableName, Position], seen: Position, head: Position) -> str | Rows | None:
    """A table with a change in [seen, head) that its log lacks."""
    known = seen if seen <= head else ORIGIN  # a head behind what was seen is another server's
    bounds = {table: max(position, known) for table, position in followed.items()}
    start = min(bounds.values(), default=head)
    tables = {table: followed_as(feed.logs[table], bound) for table, bound in bounds.items()}
    for captured in feed.source.changes(tables, start, head) if start < head else ():
        for error in captured.failures.values():
            # A table that is not there any more is no fault of the configuration.
            raise error if isinstance(error, NeedsPerson) else SchemaConflict(str(error))
        for entry in captured.entries:
            text = f"changes of {entry.table}"
            if not isinstance(entry, Found):
                return text
            if len(batch := changes_of(entry, feed.logs[entry.table])):
                return Rows(text, str(digest([batch.frame["after"].struct.unnest()])))
    return None


def _without_snapshot(positions: Mapping[TableName, Position | None]) -> str | None:
    fresh = [str(table) for table, position in positions.items() if position is None]
    return f"no snapshot yet of {', '.join(fresh)}" if fresh else None


def _behind(flows: Sequence[Flow | Derivation]) -> str | None:
    for flow in flows:
        try:
            if oldest_underived(flow) if isinstance(flow, Derivation) else oldest_unapplied(flow):
                return f"{flow.pipeline.id} is behind its change log"
        except CdcError as error:
            return str(error)
    return None


def _due(feed: Feed, tables: Collection[TableName]) -> str | None:
    late = [str(table) for table in feed.comparing if table in tables and due(feed, table)]
    return f"{', '.join(late)}: to be compared with the source" if late else None


def _grown(feed: Feed, followed: Mapping[TableName, Position], head: Position) -> str | None:
    """Nothing for us in a long stretch: the logs must move along, or the source keeps all of it."""
    if feed.comparing:  # positions are times, and nothing is kept
        return None
    behind = head.at - min((p.at for p in followed.values()), default=head.at)
    return "the source's log has grown without changes of these tables" if behind >= QUIET_BYTES else None
