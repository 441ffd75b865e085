"""Keeping a derived table by the changes of its inputs, exactly.

    destination ── basis: the definition, and of each input's log the version that is in
    logs behind that ──> mirrors ──> touched keys ──> their rows, computed anew ──> one commit with the new basis
                                                                                        └──> the mirrors are kept

Why it is exact: a derived row is a function of the input rows of its key (model/derived.py), and the mirrors hold the
input rows of the versions that the commit names. A key whose rows no change touched has the row it had; one without a
row goes. Mirrors are kept behind the commit only, so what they call touched contains all that the destination lacks;
too much does no harm.

    death before the commit    nothing is there: the same again
    death after it             the mirrors are older than the destination: the same keys again, to the same rows

Without a basis, under another definition, with another log or other columns, or without mirrors, all rows are computed
and those that differ from the table's are written: what a change of the definition, or a lost cache, costs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import polars as pl

from cdc_platform.destinations.destination import Applied, Written
from cdc_platform.engine.apply import FILES, Application, look
from cdc_platform.engine.derivation import kept as keeping
from cdc_platform.engine.derivation.basis import Basis, Part, basis_of
from cdc_platform.engine.derivation.buckets import bucket_of, buckets_for
from cdc_platform.engine.derivation.changes import changed_rows, nothing
from cdc_platform.engine.derivation.compute import computed, stamped
from cdc_platform.engine.derivation.differences import differences
from cdc_platform.engine.derivation.mirror import COLUMNS, Mirror
from cdc_platform.engine.derivation.opened import Derivation
from cdc_platform.engine.locks import exclusive
from cdc_platform.engine.progress import Progress, silent
from cdc_platform.errors import ConfigError
from cdc_platform.failpoints import failpoint
from cdc_platform.model.evidence import Evidence, Tally

MOST_TOUCHED: Final = 500_000
"""Keys that are computed and committed at once, or a few more."""


def derive(flow: Derivation, progress: Progress = silent) -> Application:
    """Bring the derived table to the end of its inputs' change logs. Nothing, until all of them have their snapshot.

    The events told are those of the inputs, the snapshot's rows those that the table began with.
    """
    began = time.monotonic()
    done = Application()
    with exclusive(flow.locks, flow.lock):
        if flow.captured():
            _Run(flow, progress, done).run()
    done.seconds = time.monotonic() - began
    return done


class _Run:
    def __init__(self, flow: Derivation, progress: Progress, done: Application) -> None:
        self.flow, self.progress, self.done = flow, progress, done
        self.logs = {name: one.log for name, one in flow.inputs.items()}
        self.upto = {name: log.version() for name, log in self.logs.items()}
        self.wanted = flow.wanted(self.upto)
        self.digests = {name: wanted.digest for name, wanted in self.wanted.items()}
        self.ids = {name: log.id() for name, log in self.logs.items()}
        self.applied = flow.destination.applied(flow.log_id)
        self.basis = basis_of(self.applied)
        self.tallies: dict[str, Tally] = {}
        self.newest: list[datetime] = []
        self.touched: list[pl.DataFrame] = []

    def run(self) -> None:
        flow, done = self.flow, self.done
        done.start = done.end = self.applied.position if self.applied else ""
        self._shape()
        self.mirrors, self.buckets, usable = self._mirrors()
        # The whole table: nothing says what changes would have to be added to.
        self.whole = not usable
        consumed = False
        failpoint("derive.reading")
        for name in self.mirrors:
            for part_rows in self._advance(name):
                consumed = True
                if not self.whole and part_rows >= MOST_TOUCHED:
                    self._commit()
                    consumed = False
        if consumed or self.whole:
            self._commit()
        done.version = done.version if done.version is not None else flow.destination.table_version()

    def _shape(self) -> None:
        """Make the table, or give it the columns of a definition that has others now."""
        destination, target = self.flow.destination, self.flow.target
        held = destination.schema()
        wanted = [(field.name, field.type, field.required) for field in target.fields]
        if held is not None and self.applied is not None and self.basis and self._redefined(self.basis):
            there = [(field.name, field.type, field.required) for field in held]
            if sorted(map(str, there)) != sorted(map(str, wanted)):
                # Without a basis: its rows are those of another definition.
                self.applied = Applied(self.flow.log_id, self.applied.version + 1, self.applied.position)
                self.basis = None
                destination.evolve(target, self.applied)
        destination.ensure(target)

    def _redefined(self, basis: Basis) -> bool:
        return basis.definition != self.flow.definition.digest

    def _mirrors(self) -> tuple[dict[str, Mirror], int, bool]:
        """The mirrors by input, in how many buckets, and whether the table may be kept by what they say is touched."""
        folder, kept = self.flow.folder, keeping.recall(self.flow.folder)
        keeping.tidy(folder, kept)
        found = kept.mirrors if kept is not None else {}
        known = kept is not None and {n: (m.log_id, m.wanted) for n, m in found.items()} == {
            name: (self.ids[name], self.digests[name]) for name in self.ids
        }
        if kept is not None and known and not kept.outgrown:
            mirrors = {
                name: Mirror(folder, self.wanted[name], kept.buckets, one.version, one.files, one.count)
                for name, one in found.items()
            }
            basis = self.basis
            usable = (
                basis is not None
                and basis.made_as(self.flow.definition.digest, self.ids, self.digests)
                # A table that somebody set back is behind what its mirrors would call touched.
                and all(one.version <= basis.version_of(name, one.log_id) for name, one in found.items())
            )
            return mirrors, kept.buckets, usable
        keeping.tidy(folder, None)
        rows = (sum(part.rows for part in log.slices()) for log in self.logs.values())
        buckets = buckets_for(max(rows))
        return {name: Mirror(folder, wanted, buckets) for name, wanted in self.wanted.items()}, buckets, False

    def _advance(self, name: str) -> Iterator[int]:
        """Take what the input's log has behind its mirror, slice by slice; how many keys are touched by now."""
        log, mirror = self.logs[name], self.mirrors[name]
        in_table = self.basis.version_of(name, self.ids[name]) if self.basis else 0
        for first, last in ((mirror.version, in_table), (max(mirror.version, in_table), self.upto[name])):
            for part in log.read(after=first, upto=last) if first < last else ():
                frames = part.frames(COLUMNS)
                if last > in_table:
                    tally = self.tallies.setdefault(name, Tally("", "", part.shape.number))
                    frames = look(frames, tally, self.newest)
                touched = mirror.take(part, frames)
                self.whole = self.whole or part.snapshot
                if not self.whole and touched.height:
                    key = dict(zip(touched.columns, self.flow.definition.table.key, strict=True))
                    self.touched.append(touched.rename(key))
                self.progress(f"derive {self.flow.pipeline.id}", sum(frame.height for frame in self.touched))
                yield sum(frame.height for frame in self.touched)

    def _commit(self) -> None:
        flow = self.flow
        versions = {name: mirror.version for name, mirror in self.mirrors.items()}
        basis = Basis(
            flow.definition.digest,
            {name: Part(self.ids[name], version, self.digests[name]) for name, version in versions.items()},
        )
        position = flow.position(versions)
        number = 1 + (self.applied.version if self.applied else 0)
        first = self.applied is None
        self.applied = Applied(flow.log_id, number, position, basis.text())
        evidence = self._evidence(position)
        written = self._write(first, evidence)
        failpoint("derive.committed")
        keeping.keep(flow.folder, self.buckets, {n: (self.ids[n], self.digests[n], m) for n, m in self.mirrors.items()})
        self._tell(written, evidence, position)
        self.done.snapshot_rows += written.rows if first else 0
        self.touched, self.tallies, self.whole = [], {}, False

    def _write(self, first: bool, evidence: Evidence) -> Written:
        flow, applied = self.flow, self.applied
        assert applied is not None
        if self.whole and first:
            return flow.destination.append(self._all(), applied, lambda: evidence)
        rows = differences(flow, self.computed, self.buckets).rows if self.whole else self._touched_rows()
        return flow.destination.upsert(rows, applied, lambda: evidence)

    def computed(self, bucket: int) -> pl.DataFrame:
        """The derived rows of a bucket."""
        inputs = {name: mirror.rows(bucket) for name, mirror in self.mirrors.items()}
        return computed(self.flow.definition, self.flow.target, inputs, bucket, self.buckets)

    def _all(self) -> Iterator[pl.DataFrame]:
        for bucket in range(self.buckets):
            rows = self.computed(bucket)
            if rows.height:
                yield stamped(rows, self.flow.definition.table.written_at, self.flow.target)

    def _touched_rows(self) -> pl.DataFrame:
        """Rows of an upsert: what the touched keys have now, and a DELETE for those that have nothing any more."""
        table, target = self.flow.definition.table, self.flow.target
        rows = [changed_rows(self.flow, nothing(target))]
        touched = pl.concat(self.touched).unique() if self.touched else None
        if touched is None:
            return rows[0]
        places = bucket_of(touched, self.buckets)
        for bucket in places.unique().sort():
            keys = touched.filter(places == bucket)
            inputs = {
                name: _of(mirror.rows(bucket), table.inputs[name].by, keys) for name, mirror in self.mirrors.items()
            }
            found = computed(self.flow.definition, target, inputs, bucket, self.buckets)
            if found.join(keys, on=table.key, how="anti").height:
                raise ConfigError(
                    f"derive.definition {self.flow.definition.name}: a row of another ({', '.join(table.key)}) than "
                    "its inputs are of; each row is made of the input rows that 'by' assigns to it, and of no others"
                )
            rows.append(changed_rows(self.flow, found, keys.join(found, on=table.key, how="anti")))
        return pl.concat(rows)

    def _evidence(self, position: str) -> Evidence:
        """That of all inputs' events together."""
        found = [tally.evidence() for tally in self.tallies.values()]
        whole = found[0] if found else Tally("", "", 1).evidence()
        for one in found[1:]:
            whole = whole.followed_by(one)
        return whole.between(self.done.end, position)

    def _tell(self, written: Written, seen: Evidence, position: str) -> None:
        done = self.done
        for operation, count in seen.events.items():
            done.events[operation] += count
        if self.newest:
            done.lag_seconds = max(0.0, time.time() - max(self.newest).timestamp())
        done.version, done.end = written.table_version, position
        done.rows_written += written.rows
        done.evidence = done.evidence.followed_by(seen) if done.evidence else seen
        done.file_count += len(written.files)
        done.files += written.files[: FILES - len(done.files)]


def _of(rows: pl.LazyFrame, by: tuple[str, ...], keys: pl.DataFrame) -> pl.LazyFrame:
    """The rows that belong to these keys."""
    return rows.join(keys.rename(dict(zip(keys.columns, by, strict=True))).lazy(), on=list(by), how="semi")
