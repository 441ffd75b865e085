"""Events a second from a Kafka topic into a change log, in one process: `make bench-kafka`.

Fifteen columns, one partition, JSON with its schema in each message: 5 KB an event, of which 4 KB are the schema.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
import time
from pathlib import Path

from cdc_platform.config.load import load_pipelines
from cdc_platform.engine.capture import capture
from cdc_platform.engine.feeds import feed_of, open_feed
from cdc_platform_tests.debezium import samples
from cdc_platform_tests.kafka.feeding import Feeding
from cdc_platform_tests.kafka.stack import Stack, software


def customers(count: int) -> list[tuple[bytes | None, bytes | None]]:
    """Inserts like those that Debezium made of a customer, each at a place of its own."""
    found = next(r for r in samples.of_table("postgres_json", "customers2") if r[2] and '"op":"c"' in r[2])
    document = json.loads(found[2] or "")
    made: list[tuple[bytes | None, bytes | None]] = []
    schema, payload = json.dumps(document["schema"], separators=(",", ":")), document["payload"]
    for number in range(count):
        payload["after"] |= {"customer_id": number, "email": f"somebody{number}@example.com"}
        payload["source"] |= {"lsn": 10**9 + 64 * number, "sequence": f'["{10**9 + 64 * number - 64}","{10**9}"]'}
        body = json.dumps(payload, separators=(",", ":"))
        key = f'{{"schema":null,"payload":{{"customer_id":{number}}}}}'
        made.append((key.encode(), f'{{"schema":{schema},"payload":{body}}}'.encode()))
    return made


def main(count: int) -> None:
    folder = software()
    assert folder is not None, "set CDC_KAFKA, as `make test-kafka` does"
    with tempfile.TemporaryDirectory() as home, Stack(folder) as stack:
        topic = Feeding(stack.broker(), Path(home))
        made = customers(count)
        size = sum(len(value or b"") for _, value in made) // count
        topic.send(made)
        pipelines = load_pipelines(topic.settings.pipelines, {})
        with open_feed(topic.settings, {}, pipelines, feed_of(pipelines[0])) as feed:
            began, cpu = time.monotonic(), time.process_time()
            done = capture(feed)
            seconds, used = time.monotonic() - began, time.process_time() - cpu
        assert sum(done.changes.values()) == count, (done.changes, done.failures)
        packed = len(gzip.compress(made[0][1] or b""))
        print(
            f"kafka to change log, JSON with schema: {count / seconds:,.0f} events/s ({size:,} bytes each, {packed} "
            f"packed); {used / count * 1e6:.1f} us of CPU each"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
