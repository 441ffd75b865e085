"""One table of either source with one destination, and hands that change the destination behind the platform's back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable, Field, write_deltalake
from deltalake.schema import PrimitiveType
from pyiceberg.types import IntegerType

from cdc_platform.config.load import select
from cdc_platform.engine.verification.verify import Options, Verified, verify
from cdc_platform_tests import readers
from cdc_platform_tests.engine.test_end_to_end import one_pipeline
from cdc_platform_tests.world import World, assert_same, latest

COLUMNS = ["id", "name", "amount", "note"]
CREATE = "create table things (id int primary key, name varchar(40), amount numeric(12, 2), note text)"
ROWS = 300


class Verifiable:
    """The table `things` of `ROWS` rows and its pipeline, run twice, with changes in between."""

    def __init__(self, world: World, folder: Path, system: str, form: str, mode: str, part_rows: int = 50) -> None:
        self._take(world, system, form, mode, part_rows, "target")
        self.do(CREATE)
        if system == "postgres":
            self.do("alter table things replica identity full")
        values = ", ".join(f"({i}, 'name {i}', {i}.25, 'note {i}')" for i in range(1, ROWS + 1))
        self.do(f"insert into things values {values}")
        folder.mkdir(exist_ok=True)
        (folder / "one.yaml").write_text(one_pipeline(system, "things", form, mode))
        world.folder = folder
        world.run()
        self.do("update things set amount = amount + 1 where id in (3, 120)", "delete from things where id = 200")
        world.run()

    @classmethod
    def opened(
        cls, world: World, system: str, form: str, mode: str, name: str = "target", part_rows: int = 50
    ) -> Verifiable:
        """Another table, which is there already."""
        made = cls.__new__(cls)
        made._take(world, system, form, mode, part_rows, name)
        return made

    def _take(self, world: World, system: str, form: str, mode: str, part_rows: int, name: str) -> None:
        self.world, self.system, self.form, self.mode = world, system, form, mode
        self.part_rows, self.name = part_rows, name

    def do(self, *statements: str) -> None:
        (self.world.postgres_do if self.system == "postgres" else self.world.mysql_do)(*statements)

    def verify(self, repair: bool = False, full: bool = False, in_database: bool = False) -> Verified:
        """Raises the pipeline's error."""
        everything = self.world.pipelines()
        options = Options(repair, full, in_database, self.part_rows)
        (found,) = verify(self.world.settings, self.world.variables, everything, select(everything, []), options)
        if found.error:
            raise found.error
        return found

    # What is there, by readers that are not the platform's

    def rows(self) -> list[dict[str, Any]]:
        """The destination, by DuckDB."""
        if self.form == "deltalake":
            return readers.duckdb_delta(self.delta_path).to_dicts()
        return readers.duckdb_iceberg(self.world.iceberg_table(self.name).metadata_location).to_dicts()

    def assert_equal(self) -> None:
        """The destination's state is the source's."""
        query = f"select {', '.join(COLUMNS)} from things"
        source = self.world.postgres_rows(query) if self.system == "postgres" else self.world.mysql_rows(query)
        rows = self.rows()
        state = {(row["id"],): row for row in rows} if self.mode == "upsert" else latest(rows, ["id"])
        if self.mode == "upsert":
            assert len(rows) == len(state)
        assert_same(source, COLUMNS, state, 1)

    # Hands

    @property
    def delta_path(self) -> Path:
        return self.world.home / "lake" / "deltalake" / self.name

    def arrow(self) -> pa.Table:
        """All rows of the destination, by the format's own library."""
        if self.form == "deltalake":
            return pa.table(DeltaTable(str(self.delta_path)).to_pyarrow_table())
        return self.world.iceberg_table(self.name).scan().to_arrow()

    def delete(self, column: str, value: int) -> None:
        if self.form == "deltalake":
            DeltaTable(str(self.delta_path)).delete(f"{column} = {value}")
        else:
            self.world.iceberg_table(self.name).delete(f"{column} == {value}")

    def delete_all(self, column: str, cell: object) -> None:
        """Of a Delta table the rows with this cell, whatever its type."""
        rows = self.arrow()
        kept = rows.filter(pc.not_equal(rows[column], pa.scalar(cell, rows[column].type)))
        write_deltalake(str(self.delta_path), kept, mode="overwrite")

    def add(self, rows: pa.Table) -> None:
        if self.form == "deltalake":
            write_deltalake(str(self.delta_path), rows, mode="append")
        else:
            table = self.world.iceberg_table(self.name)
            table.append(rows.select(table.schema().column_names).cast(table.schema().as_arrow()))

    def set(self, value: int, column: str, cell: object) -> None:
        """Change a cell of all rows of one id."""
        rows = self.arrow().filter(pc.equal(pc.field("id"), value))
        place = rows.schema.get_field_index(column)
        changed = rows.set_column(
            place, rows.schema.field(place), pa.array([cell] * len(rows), rows.schema.types[place])
        )
        self.delete("id", value)
        self.add(changed)

    def drop_column(self, name: str) -> None:
        if self.form == "deltalake":
            rest = self.arrow().drop_columns([name])
            write_deltalake(str(self.delta_path), rest, mode="overwrite", schema_mode="overwrite")
        else:
            with self.world.iceberg_table(self.name).update_schema(allow_incompatible_changes=True) as update:
                update.delete_column(name)

    def add_column(self, name: str) -> None:
        if self.form == "deltalake":
            DeltaTable(str(self.delta_path)).alter.add_columns([Field(name, PrimitiveType("integer"))])
        else:
            with self.world.iceberg_table(self.name).update_schema() as update:
                update.add_column(name, IntegerType())

    def files(self) -> list[Path]:
        """The live data files."""
        if self.form == "deltalake":
            return [Path(uri) for uri in DeltaTable(str(self.delta_path)).file_uris()]
        paths = self.world.iceberg_table(self.name).inspect.files()["file_path"].to_pylist()
        return [Path(path.removeprefix("file://")) for path in paths]

    def edit_in_place(self, value: int, column: str, cell: object) -> None:
        """Change a cell of one id in the Parquet file that holds it."""
        for file in self.files():
            rows = pq.read_table(file, partitioning=None)
            ids = rows["id"].to_pylist()
            if value in ids:
                place = rows.schema.get_field_index(column)
                cells = [cell if i == value else old for i, old in zip(ids, rows[column].to_pylist(), strict=True)]
                array = pa.array(cells, rows.schema.types[place])
                pq.write_table(rows.set_column(place, rows.schema.field(place), array), file)
                return
        raise AssertionError(f"no file holds {value}")
