"""What a source keeps of its log for a reader, and when a person should be told. Pure. Layer: model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

_NEAR: Final = 0.25
"""A limit is near when less than this share of it is left."""

_PURGED_SOON: Final = timedelta(hours=6)
_MB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Extent:
    """About how large a table is."""

    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is known of it; None where the source has nothing of the kind.

    `notes` are the source's own words for a person, a line each. `kept_bytes` is held back at the source for the
    platform alone, `limit_bytes` is how much that may become and `left_bytes` how much is left of it. `purge_in` is the
    time until the reader's place may be purged, `oldest` whether that is in the oldest part of the log which is still
    there (of several).
    """

    kept_bytes: int | None = None
    limit_bytes: int | None = None
    left_bytes: int | None = None
    purge_in: timedelta | None = None
    oldest: bool = False
    notes: tuple[str, ...] = ()


def warnings(keeping: Keeping, threshold_mb: float) -> list[str]:
    """What a person should know before it bites, in one line each."""
    found = [*keeping.notes]
    kept, left = keeping.kept_bytes, keeping.left_bytes
    if kept is not None and kept > threshold_mb * _MB:
        found.append(
            f"the source keeps {size(kept)} of its log for the platform (warned about from {threshold_mb:g} MB on): "
            "run the source's pipelines, mend those that are stopped, or remove them"
        )
    if left is not None and keeping.limit_bytes and left < _NEAR * keeping.limit_bytes:
        found.append(
            f"{size(max(left, 0))} more of its log and the source gives up what it keeps for the platform "
            f"(max_slot_wal_keep_size = {size(keeping.limit_bytes)}): run the source's pipelines, or raise the limit"
        )
    if keeping.purge_in is not None and keeping.purge_in < _PURGED_SOON:
        hours = max(keeping.purge_in.total_seconds(), 0) / 3600
        found.append(
            f"the part of the binlog that is read next may be purged in {hours:.1f} hours "
            "(binlog_expire_logs_seconds, expire_logs_days): run the source's pipelines, or raise it"
        )
    elif keeping.oldest:
        found.append(
            "the part of the binlog that is read next is in its oldest file: a purge takes it first; run the source's "
            "pipelines"
        )
    return found


def size(count: int) -> str:
    """Bytes as people read them."""
    amount = float(count)
    for unit in ("B", "KB", "MB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GB"
