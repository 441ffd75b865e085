"""From names, which may hold anything, to names of files, which may not: always one part of a path, never too long.

Two names never share a file: what cannot stay as it is is spelt out, and what grows too long by that ends in a digest.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cdc_platform.errors import ConfigError
from cdc_platform.model.schema import TableName

_LONGEST: Final = 180
"""Bytes. A file system takes 255, and suffixes are added."""

# Delta's reader takes a folder's name for a URL and decodes it: only what means itself there is left as it is. A dot
# parts schema and table, and is no part of either.
_ODD = re.compile(r"[^A-Za-z0-9_ -]")


def file_name(text: str) -> str:
    """For files that belong to a pipeline or a source of this name."""
    return _shortened(quote(text, safe=""))


def log_folder(table: TableName, schema: str) -> str:
    """`table`, or `schema.table` where the schema is not the source's default one."""
    names = [table.name] if table.schema == schema else [table.schema, table.name]
    return _shortened(".".join(_plain(name) for name in names))


def quarantine_folder(pipeline: str) -> str:
    """For the quarantine of the pipeline of this id: a Delta table, whose readers decode what looks like a URL."""
    return _shortened(_plain(pipeline))


def _plain(name: str) -> str:
    return _ODD.sub(lambda odd: f"~{ord(odd[0]):x}~", name)


def inside(root: Path, path: Path) -> Path:
    """The path, which no link below `root` may lead out of it. Raises ConfigError."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise ConfigError(f"{path} leads out of {root} by a symbolic link; remove the link, or link {root} itself")
    return path


def _shortened(name: str) -> str:
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 34]}~~{hashlib.blake2b(name.encode(), digest_size=16).hexdigest()}"
