"""Of several writers that make the same version of a Delta table, exactly one does, wherever the table is."""

from __future__ import annotations

import json
import logging
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import obstore
import pytest
from deltalake import DeltaTable
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from obstore.store import MemoryStore, ObjectStore, S3Store
from werkzeug.serving import make_server

from cdc_platform import delta_commit
from cdc_platform.delta_commit import commit_info, put

WRITERS, VERSIONS = 2, 20
SCHEMA = {"type": "struct", "fields": [{"name": "id", "type": "long", "nullable": True, "metadata": {}}]}
FIRST: list[dict[str, Any]] = [
    {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}},
    {
        "metaData": {
            "id": "00000000-0000-0000-0000-000000000001",
            "format": {"provider": "parquet", "options": {}},
            "schemaString": json.dumps(SCHEMA),
            "partitionColumns": [],
            "configuration": {},
        }
    },
]


@contextmanager
def server() -> Iterator[tuple[str, str]]:
    """An S3 on the loopback address and a bucket of this test: (url, bucket).

    It takes one request after another, as S3 does for one key.
    """
    bucket = f"bucket-{uuid.uuid4()}"  # moto keeps buckets as long as the process lives
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    serving = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app))
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{serving.port}"
    try:
        urllib.request.urlopen(urllib.request.Request(f"{url}/{bucket}", method="PUT")).close()
        yield url, bucket
    finally:
        serving.shutdown()
        thread.join()
        serving.server_close()


def s3(url: str, bucket: str, prefix: str = "lake/table") -> S3Store:
    return S3Store(
        bucket,
        prefix=prefix,
        endpoint=url,
        access_key_id="none",
        secret_access_key="none",
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


Place = tuple[Callable[[], Path | ObjectStore], Callable[[str], bytes]]


@pytest.fixture(params=["local", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """How each writer gets to the table, and how to read a file of it."""
    if request.param == "local":
        (tmp_path / delta_commit.LOG).mkdir()
        yield lambda: tmp_path, lambda name: (tmp_path / name).read_bytes()
    elif request.param == "memory":
        memory = MemoryStore()
        yield lambda: memory, lambda name: bytes(obstore.get(memory, name).bytes())
    else:
        with server() as (url, bucket):
            reader = s3(url, bucket)
            yield lambda: s3(url, bucket), lambda name: bytes(obstore.get(reader, name).bytes())


def test_exactly_one_of_two_writers_makes_a_version(place: Place) -> None:
    opened, read = place
    together = threading.Barrier(WRITERS)

    def write(writer: int) -> set[int]:
        table, made = opened(), set()
        for version in range(VERSIONS):
            together.wait()
            try:
                put(table, version, [commit_info("WRITE", writer=writer)])
            except FileExistsError:
                continue
            made.add(version)
        return made

    with ThreadPoolExecutor(WRITERS) as pool:
        made = list(pool.map(write, range(WRITERS)))
    assert sorted(version for versions in made for version in versions) == list(range(VERSIONS))
    for writer, versions in enumerate(made):
        for version in versions:
            found = json.loads(read(f"_delta_log/{version:020d}.json"))
            assert found["commitInfo"]["writer"] == writer


def test_a_version_that_is_there_stays_as_it_is(place: Place) -> None:
    opened, read = place
    put(opened(), 0, [commit_info("WRITE", writer=1)])
    before = read("_delta_log/00000000000000000000.json")
    with pytest.raises(FileExistsError):
        put(opened(), 0, [commit_info("WRITE", writer=1)])
    assert read("_delta_log/00000000000000000000.json") == before


def test_a_put_that_meets_itself_is_no_conflict() -> None:
    """The reply was lost, the client tried again."""
    store, actions = MemoryStore(), [commit_info("WRITE")]
    put(store, 0, actions)
    put(store, 0, actions)
    with pytest.raises(FileExistsError):
        put(store, 0, [commit_info("WRITE")])


def test_others_read_what_was_put() -> None:
    with server() as (url, bucket):
        table = s3(url, bucket)
        put(table, 0, [commit_info("CREATE TABLE"), *FIRST])
        put(table, 1, [commit_info("WRITE"), {"txn": {"appId": "a", "version": 7}}])
        options = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
        found = DeltaTable(f"s3://{bucket}/lake/table", storage_options=options)
        assert (found.version(), found.transaction_version("a")) == (1, 7)


def test_a_store_that_cannot_be_reached_is_an_oserror() -> None:
    with server() as (url, bucket):
        table = s3(url, bucket)
    with pytest.raises(OSError, match="error") as caught:
        put(table, 0, [commit_info("WRITE")])
    assert not isinstance(caught.value, FileExistsError)
    assert "\n" not in str(caught.value)
