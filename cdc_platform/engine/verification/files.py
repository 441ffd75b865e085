"""A file's identity: as long as it is the same, the file's rows are. An edit in place changes a time or the inode, also
where size and modification time were put back (nobody sets the time of the last change of an inode)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Identity:
    """As the file system has it; times in nanoseconds."""

    path: str
    size: int
    modified: int
    changed: int
    inode: int


def identity(path: Path) -> Identity | None:
    """None where there is no such file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return Identity(str(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
