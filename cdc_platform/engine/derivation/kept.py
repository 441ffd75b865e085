"""What is kept of a derived table's inputs from one derivation to the next: the mirrors' files, listed in one file.

A cache, below `state/derived/<pipeline>`: whatever is wrong with it, it is as if it were not there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from cdc_platform.engine.derivation.buckets import Files, buckets_for, sample, unwritable
from cdc_platform.engine.derivation.mirror import Mirror
from cdc_platform.failpoints import failpoint

_LIST: Final = "mirrors.json"
_FORMAT: Final = 1
_GROWTH: Final = 8


@dataclass(frozen=True, slots=True)
class KeptMirror:
    """One input's: its log, the version that is in the files, the digest of what they hold of it, and their rows."""

    log_id: str
    version: int
    wanted: str
    files: Files
    count: int


@dataclass(frozen=True, slots=True)
class Kept:
    """The mirrors of all inputs, by name, in so many buckets."""

    buckets: int
    mirrors: Mapping[str, KeptMirror]

    @property
    def outgrown(self) -> bool:
        """Whether the buckets have become so large that sorting all rows into more of them pays."""
        return buckets_for(max(one.count for one in self.mirrors.values())) > _GROWTH * self.buckets


def recall(folder: Path) -> Kept | None:
    """What is kept; None where there is nothing that can be used."""
    try:
        held = json.loads((folder / _LIST).read_text())
        if (held["format"], held["sample"]) != (_FORMAT, sample()):
            return None
        mirrors = {
            name: KeptMirror(
                one["log_id"],
                one["version"],
                one["wanted"],
                {int(bucket): tuple(names) for bucket, names in one["files"].items()},
                one["count"],
            )
            for name, one in held["mirrors"].items()
        }
        there = {file.name for file in folder.iterdir()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    files = {name for one in mirrors.values() for names in one.files.values() for name in names}
    return Kept(held["buckets"], mirrors) if files <= there else None


def keep(folder: Path, buckets: int, mirrors: Mapping[str, tuple[str, str, Mirror]]) -> None:
    """Keep these mirrors (by input: the log's id, the digest of what is wanted, and it) in place of those before."""
    kept = Kept(buckets, _mirrors(mirrors))
    draft = folder / f"{_LIST}.{os.getpid()}.tmp"
    try:
        draft.write_text(json.dumps({"format": _FORMAT, "sample": sample(), **asdict(kept)}))
        failpoint("derive.keeping")
        draft.replace(folder / _LIST)
    except OSError as error:
        raise unwritable(folder, error) from error
    failpoint("derive.kept")
    tidy(folder, kept)


def _mirrors(mirrors: Mapping[str, tuple[str, str, Mirror]]) -> dict[str, KeptMirror]:
    return {
        name: KeptMirror(log, mirror.version, digest, mirror.files, mirror.count)
        for name, (log, digest, mirror) in mirrors.items()
    }


def tidy(folder: Path, kept: Kept | None, spare: Path | None = None) -> None:
    """Remove what is in the folder and not of what is kept (nor `spare`): of derivations that died, or came before."""
    files = {name for one in kept.mirrors.values() for names in one.files.values() for name in names} if kept else set()
    for file in folder.iterdir() if folder.is_dir() else ():
        if file == spare:
            continue
        if file.is_dir():
            shutil.rmtree(file, ignore_errors=True)
        elif file.name not in files and (kept is None or file.name != _LIST):
            file.unlink(missing_ok=True)
