"""Folders that cannot be used, told apart from tables that are broken."""

from __future__ import annotations

import os
from pathlib import Path


def blocked(path: Path) -> str | None:
    """Why nothing can be written at `path` (made or not yet): "… is not a folder", "… is not writable"; else None."""
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not existing.is_dir():
        return f"{existing} is not a folder"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} is not writable"
    return None
