"""Debezium's engine embedded: no Kafka, no Connect, a Java process beside this one. Layer: sources.

    source database ──> Debezium's engine (Java) ──pipe──> sources/debezium (the decoder) ──> Captured

    runtime.py       Java and the jars, from the optional extra `debezium`
    settings.py      the engine's properties: what is fixed, what a pipeline may set
    process.py       the Java process, its frames, its death
    failures.py      how an engine ended, in the platform's errors
    frames.py        messages as they come from the pipe: kinds, bytes
    transactions.py  Postgres: whole transactions out of a stream of messages, and their places
    postgres.py      Postgres as a `Source` whose changes come through the engine
    engine.jar       the class that the process runs; its source is infra/debezium

Everything but the changes (catalogue, slot, snapshots, heads) is the native source's, so values, rights and gaps are
the same on both ways, and a table's snapshot is bound to a position as ever.

What Debezium keeps elsewhere is kept in the change logs: where the engine begins is worked out from the logs'
positions at each start, nothing is ever reported to it as processed, and it moves no slot. The native source does that
after the logs were read back.
"""
