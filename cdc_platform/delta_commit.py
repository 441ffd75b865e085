"""A commit to a Delta table put in place by hand: one file of JSON actions, `_delta_log/<version>.json`.

A version is made once, by one writer, whole or not at all:

    local disk      written beside its place, put on the disk, then linked to it: a link fails where the name is taken
    object store    one conditional put (`If-None-Match: *` on S3), by way of obstore

obstore's own local store makes links too, but does not wait for the disk: after a power cut a commit that was reported
could be gone, and the source have been acknowledged for it. What the actions say is the business of whoever commits
(change logs, Delta destinations). Format: Delta transaction log protocol, "Actions".
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore

from cdc_platform.failpoints import failpoint

LOG: Final = "_delta_log"


def put(table: Path | ObjectStore, version: int, actions: Sequence[Mapping[str, Any]]) -> None:
    """Make `version` of the table (its folder, or a store whose root it is) out of these actions, to stay.

    Raises FileExistsError where somebody else made it already; OSError, after which it may be there or not.
    """
    name = f"{version:020d}.json"
    content = "".join(f"{json.dumps(action, ensure_ascii=False)}\n" for action in actions).encode()
    if isinstance(table, Path):
        _link(table / LOG, name, content)
    else:
        _put_object(table, f"{LOG}/{name}", content)


def _link(log: Path, name: str, content: bytes) -> None:
    staged = log / f"_commit_{uuid.uuid4()}.json.tmp"
    try:
        with staged.open("xb") as sink:
            sink.write(content)
            sink.flush()
            os.fsync(sink.fileno())
        failpoint("delta.staged")
        os.link(staged, log / name)
        failpoint("delta.linked")
    finally:
        staged.unlink(missing_ok=True)
    sync(log)


def _put_object(store: ObjectStore, name: str, content: bytes) -> None:
    """The reply to a put may be lost and the put tried again, which then meets itself: `txnId` tells whose it is."""
    try:
        if _created(store, name, content) or bytes(obstore.get(store, name).bytes()) == content:
            return
    except BaseError as error:
        raise OSError(str(error).partition("\n")[0]) from error
    raise FileExistsError(f"{name} is there already")


def _created(store: ObjectStore, name: str, content: bytes) -> bool:
    try:
        obstore.put(store, name, content, mode="create", use_multipart=False)
    except AlreadyExistsError:
        return False
    return True


def sync(path: Path) -> None:
    """Have the system put a file, or a folder's names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def commit_info(operation: str, **parameters: Any) -> dict[str, Any]:
    """The first action of a commit: what was done, for people and for `history`."""
    return {
        "commitInfo": {
            "timestamp": now(),
            "operation": operation,
            "operationParameters": {},
            "engineInfo": "cdc-platform",
            "txnId": str(uuid.uuid4()),
            **parameters,
        }
    }


def now() -> int:
    """Milliseconds since 1970, as the log counts."""
    return time.time_ns() // 1_000_000
