"""A table of typed columns and its ways out: the snapshot, the stream's images, and the server's own word on it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import polars as pl

from cdc_platform.model.position import Position
from cdc_platform.sources.postgres.source import PostgresSource
from cdc_platform_tests.postgres.conftest import Database, follow, table

A = table("a")
Texts = Sequence[str | None]


def prepared(database: Database, types: Sequence[str], as_text: Sequence[str] = ()) -> PostgresSource:
    """Table a with columns c0, c1, ... of these types, and a source that follows it."""
    columns = ", ".join(f"c{place} {type_}" for place, type_ in enumerate(types))
    database.run(f"create table a (id int generated always as identity primary key, {columns})")
    database.run("alter table a replica identity full")
    source = PostgresSource(database.connection(), database.slot, as_text={A: as_text})
    database.sources.append(source)
    source.prepare([A])
    return source


def put(database: Database, rows: Sequence[Texts], name: str = "a") -> None:
    """Rows of texts into the columns c0, c1, ..."""
    names, row = ", ".join(f"c{i}" for i in range(len(rows[0]))), "(" + ", ".join("%s" for _ in rows[0]) + ")"
    values = [value for row in rows for value in row]
    database.run(f"insert into {name} ({names}) values " + ", ".join(row for _ in rows), *values)


def snapshot_of(source: PostgresSource) -> pl.DataFrame:
    with source.snapshot([A]) as snapshot:
        return _rows([batch.frame["after"] for batch in snapshot.read(A)])


def stream_of(source: PostgresSource, start: Position, operation: str = "INSERT", image: str = "after") -> pl.DataFrame:
    """One image of all changes of one kind."""
    captured = follow(source, [A], start)
    assert not any(c.failures for c in captured)
    return _rows([b.frame.filter(operation=operation)[image] for c in captured for b in c.batches])


def both_paths(database: Database, source: PostgresSource, rows: Sequence[Texts]) -> list[pl.DataFrame]:
    """`rows` in table a as the stream and as the snapshot have them."""
    start = source.head()
    put(database, rows)
    return [stream_of(source, start), snapshot_of(source)]


def server_says(database: Database, expressions: Sequence[str]) -> list[list[object]]:
    """Columns of these expressions over table a, in a session with the settings of those that read."""
    with closing(database.connection().control()) as session, session.cursor() as cursor:
        cursor.execute(f"select {', '.join(expressions)} from public.a order by id")
        return [list(column) for column in zip(*cursor.fetchall(), strict=True)]


def as_texts(names: Sequence[str]) -> list[str]:
    """Expressions of the text that each column's output function gives; a composite of nulls is no null."""
    return [f"case num_nonnulls({name}) when 1 then format('%s', {name}) end" for name in names]


def _rows(images: Sequence[pl.Series]) -> pl.DataFrame:
    return pl.concat(images).struct.unnest().sort("id").drop("id")
