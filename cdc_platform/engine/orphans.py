"""Slots and published tables that no pipeline needs any more: found by their change logs, which stay.

A source's slot has a name of this CDC_HOME and the source's label (feeds.slot_name), and the labels that there ever
were are folders of change logs. So a slot whose label no pipeline has is known without its credentials, and dropped
through any pipeline's source on the same server.

`cdc run` does that by itself where the label's pipelines were in the folder of pipelines that is read now, and are not
any more: somebody took them away. A folder that is another one than last time may be a mistake, and costs a warning
only; `cdc forget SOURCE` is the answer to that. A slot that is dropped too soon costs a resync, one that stays costs
the source its disk. Layer: engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.config.load import Pipeline
from cdc_platform.config.settings import Settings
from cdc_platform.engine.feeds import Feed, feeds_of, open_feed, slot_name, source_labels
from cdc_platform.engine.locks import exclusive
from cdc_platform.errors import CdcError, ConfigError, NeedsPerson
from cdc_platform.model.schema import TableName


@dataclass(frozen=True, slots=True)
class Orphan:
    """A slot that nobody reads: its source's label, and the bytes of log that the server keeps for it."""

    label: str
    slot: str
    kept_bytes: int


def tidy(settings: Settings, everything: Sequence[Pipeline], feed: Feed) -> list[str]:
    """Take away at the feed's server what pipelines that were removed have left there; what was done, or ought to be.

    Called with what `everything` is now; a source that cannot do it now is asked again by the next run.
    """
    told = []
    known = _remembered(settings, feed.label)
    with suppress(CdcError), exclusive(feed.locks, feed.lock):
        if known == str(settings.pipelines):
            told += [f"{table} is no longer published for '{feed.label}'" for table in withdraw(settings, feed)]
        for orphan in orphans(settings, everything, feed):
            if _remembered(settings, orphan.label) == str(settings.pipelines):
                feed.source.remove(orphan.slot)
                told.append(f"slot {orphan.slot} of the removed source '{orphan.label}' is dropped")
            else:
                told.append(
                    f"warning: slot {orphan.slot} of source '{orphan.label}', which no pipeline has, holds "
                    f"{orphan.kept_bytes} bytes of log back; if it is given up, run: cdc forget {orphan.label}"
                )
    _remember(settings, everything)
    return told


def orphans(settings: Settings, everything: Sequence[Pipeline], feed: Feed) -> list[Orphan]:
    """The slots on the feed's server whose sources no pipeline names."""
    slots = {slot_name(settings, label): label for label in _labels(settings) - set(source_labels(everything))}
    found = feed.source.readers(list(slots)) if slots else {}
    return [Orphan(slots[slot], slot, kept) for slot, kept in sorted(found.items())]


def withdraw(settings: Settings, feed: Feed) -> list[TableName]:
    """Take the tables out of the publication that have a change log of the feed's source and no pipeline."""
    gone = []
    for path in _folders(settings.change_logs / feed.label):
        log = ChangeLog(path)
        if path not in {other.path for other in feed.logs.values()} and log.exists():
            gone.append(log.origin().table)
    return feed.source.withdraw([table for table in gone if table not in feed.logs]) if gone else []


def forget(settings: Settings, environment: Mapping[str, str], everything: Sequence[Pipeline], label: str) -> list[str]:
    """Drop the slot of a source that no pipeline has any more; its change logs and destinations stay."""
    if label in source_labels(everything):
        names = ", ".join(p.id for p in everything if p.config.label == label)
        raise ConfigError(f"source '{label}' has pipelines ({names}); remove them first")
    if label not in _labels(settings):
        raise ConfigError(f"there is no change log of a source '{label}'; there are: {', '.join(_labels(settings))}")
    slot, asked = slot_name(settings, label), 0
    for other in feeds_of(everything):
        try:
            with open_feed(settings, environment, everything, other) as feed:
                if feed.system != "postgres":
                    continue
                asked += 1
                if feed.source.readers([slot]):
                    feed.source.remove(slot)
                    return [slot]
        except NeedsPerson:
            raise
        except CdcError:
            continue
    raise NeedsPerson(
        f"no server of a configured source ({asked} could be asked) has the slot of '{label}'; if it was a Postgres, "
        f"run there: select pg_drop_replication_slot('{slot}'); drop publication {slot}"
    )


def _labels(settings: Settings) -> set[str]:
    return {path.name for path in _folders(settings.change_logs)}


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir()) if path.is_dir() else []


def _file(settings: Settings, label: str) -> Path:
    return settings.home / "state" / "sources" / f"{quote(label, safe='')}.json"


def _remembered(settings: Settings, label: str) -> str | None:
    """The folder that the label's pipelines were last read from. A cache: without it, nothing is taken away."""
    try:
        return str(json.loads(_file(settings, label).read_text())["pipelines"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(settings: Settings, everything: Sequence[Pipeline]) -> None:
    for label in source_labels(everything):
        with suppress(OSError):
            file = _file(settings, label)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"pipelines": str(settings.pipelines)}))
