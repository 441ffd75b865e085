"""Folders that cannot be used, told apart from tables that are broken."""

from __future__ import annotations

import os
from pathlib import Path


def blocked(path: Path) -> str | None:
    """Why nothing can be written at `path` (made or not yet): "… is not a folder", "… is not writable"; else None."""
    for existing in (path.absolute(), *path.absolute().parents):
        try:
            if existing.exists():
                break
        except PermissionError:
            continue  # below a folder that may not be entered, which is the one to name
    if not existing.is_dir():
        return f"{existing} is not a folder"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} is not writable"
    return None
