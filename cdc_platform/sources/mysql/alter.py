"""What an ALTER TABLE does to the columns and rows of its table.

    alter table t rename column a to b, drop c, add d int not null, modify e bigint
      ──> renamed {a: b}, dropped {c}, doubts: "ADD COLUMN d ...", a MODIFY of e to `bigint`

Each spec is either known to leave all rows as they are, or it is a doubt: a reason why rows may have changed. What is
not recognised is a doubt, never a guess. Names in one statement speak of the table as it was before it, so `change a b
int, change b a int` swaps and `drop a, add a int` makes another column. Whether a MODIFY or CHANGE says the type that
the column has already is for `applied`, which knows the table. Pure; the words come from `words.py`.

What stays ambiguous, because it is not in the log or not in one statement: DDL of sessions with sql_log_bin=0 (a
column renamed there is another column here); tables that tools of online schema change swap in by RENAME TABLE
(their tables stop); logs with less than binlog_row_metadata=FULL, where the rows before a rename come under the
present names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from cdc_platform.model.schema import TableName, TableSchema
from cdc_platform.sources.mysql.binlog import STRICT
from cdc_platform.sources.mysql.definition import read_definition
from cdc_platform.sources.mysql.words import Words, split


@dataclass(slots=True)
class Alteration:
    """`renamed` maps old names to new ones; `dropped` are old names; `doubts` say why rows may have changed.

    `retyped` maps old names of columns with a new definition to its type, as `Column.source_type` writes it (None for
    one that is not understood). `defaults` is true where the default of a column changes, which changes no row.
    `others` are further tables whose rows the statement changed, `moved` is true for a table under another name,
    `unbinds` where a foreign key goes, or a constraint that may be one. `added` has the types of columns that come.
    """

    renamed: dict[str, str] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    retyped: dict[str, str | None] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    defaults: bool = False
    strict: bool = False
    others: set[TableName] = field(default_factory=set)
    moved: bool = False
    unbinds: bool = False
    added: dict[str, str | None] = field(default_factory=dict)

    def doubt(self, what: str) -> None:
        self.doubts.append(f"ALTER TABLE ... {what}")


def read_alter(words: Words, sql_mode: int) -> Alteration:
    """The specs behind `ALTER TABLE name`."""
    found = Alteration(strict=bool(sql_mode & STRICT))
    words.skip("NOWAIT")
    if words.skip("WAIT"):
        words.text()
    for part in words.parts():
        spec = Words(words.database, part)
        while spec.more():
            place = spec.place
            reader = _SPECS.get(spec.peek(), _option)
            reader(spec, found)
            if spec.place == place or (spec.more() and not _goes_on(spec)):
                found.doubt("with a clause that is not understood")
                break
    return found


def applied(alteration: Alteration, schema: TableSchema) -> tuple[TableSchema, tuple[str, ...]]:
    """The known shape after the statement (names changed, columns gone, types as they were), and all doubts.

    Names are compared as the servers do, whatever their case. A name that the shape does not have is of a column
    which was added since: nothing is known of it, and the next row says what it is.
    """
    renamed = {old.lower(): new for old, new in alteration.renamed.items()}
    gone = {name.lower() for name in alteration.dropped}
    taken = {new.lower() for old, new in renamed.items() if old in {column.name.lower() for column in schema.columns}}
    doubts = list(alteration.doubts)
    columns = []
    names: dict[str, str] = {}
    for column in schema.columns:
        low = column.name.lower()
        if low in gone or (low in taken and low not in renamed):
            continue
        names[column.name] = renamed.get(low, column.name)
        columns.append(replace(column, name=names[column.name]))
    for old, kind in alteration.retyped.items():
        known = next((column for column in schema.columns if column.name.lower() == old.lower()), None)
        if known is None or kind is None or kind != known.source_type:
            doubts.append("ALTER TABLE ... a column of another type")
        elif not alteration.strict:
            doubts.append("ALTER TABLE ... a column defined anew without strict sql_mode")
    key = tuple(names[name] for name in schema.primary_key if name in names)
    return replace(schema, columns=tuple(columns), primary_key=key), tuple(dict.fromkeys(doubts))


def _goes_on(spec: Words) -> bool:
    """Whether further options may follow without a comma."""
    return spec.peek() in _OPTIONS or spec.peek() in (
        "DEFAULT",
        "CHARACTER",
        "CHARSET",
        "COLLATE",
        "PARTITION",
        "REMOVE",
    )


def _rest(spec: Words, _found: Alteration) -> None:
    """A spec that is known to leave the rows alone, to its end."""
    spec.place = len(spec.tokens)


def _if_exists(spec: Words) -> None:
    if not spec.skip("IF", "EXISTS"):
        spec.skip("IF", "NOT", "EXISTS")


_KEYS = ("INDEX", "KEY", "UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR", "FOREIGN", "CHECK", "CONSTRAINT")


def _add(spec: Words, found: Alteration) -> None:
    spec.skip("ADD")
    if spec.peek() in _KEYS:
        return _rest(spec, found)
    if spec.skip("PRIMARY", "KEY"):
        if not found.strict:
            found.doubt("ADD PRIMARY KEY without strict sql_mode")
        return _rest(spec, found)
    if spec.skip("PARTITION"):
        return _rest(spec, found)
    if spec.peek() in ("SYSTEM", "PERIOD"):
        found.doubt(f"ADD {spec.peek()}")
        return _rest(spec, found)
    spec.skip("COLUMN")
    _if_exists(spec)
    inside = spec.bracket()
    for part in [spec.tokens[spec.place :]] if inside is None else split(inside):
        _added_column(Words(spec.database, part), found)
    return _rest(spec, found)


def _added_column(spec: Words, found: Alteration) -> None:
    if spec.peek() in (*_KEYS, "PRIMARY"):  # keys may stand among the columns in parentheses
        return
    name = spec.text()
    definition = read_definition(spec)
    found.added[name] = definition.kind
    if definition.kind is None or not definition.plain or definition.not_null or definition.default:
        found.doubt("ADD COLUMN with a value in the rows that are there")


def _drop(spec: Words, found: Alteration) -> None:
    spec.skip("DROP")
    found.unbinds = found.unbinds or spec.peek() in ("FOREIGN", "CONSTRAINT")
    if spec.peek() in _KEYS or spec.peek() == "PRIMARY":
        return _rest(spec, found)
    if spec.peek() in ("PARTITION", "SYSTEM", "PERIOD"):
        found.doubt(f"DROP {spec.peek()}")
        return _rest(spec, found)
    spec.skip("COLUMN")
    _if_exists(spec)
    found.dropped.add(spec.text())
    spec.skip_any("RESTRICT", "CASCADE")
    return None


def _rename(spec: Words, found: Alteration) -> None:
    spec.skip("RENAME")
    if spec.skip("COLUMN"):
        _if_exists(spec)
        old = spec.text()
        if not spec.skip("TO") or not spec.more():
            found.doubt("RENAME COLUMN")
            return _rest(spec, found)
        found.renamed[old] = spec.text()
        return None
    if spec.skip_any("INDEX", "KEY"):
        return _rest(spec, found)
    spec.skip_any("TO", "AS", "=")
    found.moved = True
    found.others.add(spec.name())
    return None


def _change(spec: Words, found: Alteration) -> None:
    changes_name = spec.text().upper() == "CHANGE"
    spec.skip("COLUMN")
    _if_exists(spec)
    old = spec.text()
    if changes_name:
        found.renamed[old] = spec.text()
    definition = read_definition(spec)
    if not definition.plain:
        found.doubt("a column defined anew that the server fills")
    found.retyped[old] = definition.kind
    found.defaults = True
    _rest(spec, found)


def _alter(spec: Words, found: Alteration) -> None:
    spec.skip("ALTER")
    if not spec.skip_any("INDEX", "KEY", "CHECK", "CONSTRAINT"):
        spec.skip("COLUMN")
        _if_exists(spec)
        spec.text()
        if spec.peek() not in ("SET", "DROP"):
            found.doubt("ALTER COLUMN")
        found.defaults = True
    _rest(spec, found)


def _exchange(spec: Words, found: Alteration) -> None:
    found.doubt("EXCHANGE PARTITION")
    while spec.more() and not spec.skip("WITH", "TABLE"):
        spec.text()
    if spec.more():
        found.others.add(spec.name())
    _rest(spec, found)


def _doubtful(spec: Words, found: Alteration) -> None:
    found.doubt(" ".join(token.word for token in spec.tokens[spec.place : spec.place + 2]))
    _rest(spec, found)


def _engine(spec: Words, found: Alteration) -> None:
    spec.skip("ENGINE")
    spec.skip("=")
    if spec.text().upper() not in ("INNODB", "ROCKSDB"):
        found.doubt("ENGINE")


_OPTIONS = (
    "ALGORITHM", "AUTOEXTEND_SIZE", "AUTO_INCREMENT", "AVG_ROW_LENGTH", "CHECKSUM", "COMMENT", "COMPRESSION",
    "CONNECTION", "DELAY_KEY_WRITE", "ENCRYPTED", "ENCRYPTION", "ENCRYPTION_KEY_ID", "ENGINE", "ENGINE_ATTRIBUTE",
    "INSERT_METHOD", "KEY_BLOCK_SIZE", "LOCK", "MAX_ROWS", "MIN_ROWS", "PACK_KEYS", "PAGE_CHECKSUM", "PAGE_COMPRESSED",
    "PAGE_COMPRESSION_LEVEL", "PASSWORD", "ROW_FORMAT", "SECONDARY_ENGINE", "SECONDARY_ENGINE_ATTRIBUTE",
    "STATS_AUTO_RECALC", "STATS_PERSISTENT", "STATS_SAMPLE_PAGES", "TRANSACTIONAL",
)  # fmt: skip
"""Options of a table that take one value and leave its rows alone (but for ENGINE, which `_engine` reads)."""


def _option(spec: Words, found: Alteration) -> None:
    """`[default] option [=] value`; the cursor stays where that is not what comes."""
    place = spec.place
    spec.skip("DEFAULT")
    known = spec.skip("CHARACTER", "SET") or spec.skip_any("CHARSET", "COLLATE", *_OPTIONS)
    if not known:
        spec.place = place
        return
    spec.skip("=")
    spec.text()


def _partition(spec: Words, found: Alteration) -> None:
    if spec.skip("PARTITION", "BY") or spec.skip("REMOVE", "PARTITIONING"):
        return _rest(spec, found)
    return _doubtful(spec, found)


def _with(spec: Words, found: Alteration) -> None:
    """WITH or WITHOUT VALIDATION; system versioning is a doubt."""
    if spec.skip("WITH", "VALIDATION") or spec.skip("WITHOUT", "VALIDATION"):
        return
    _doubtful(spec, found)


_SPECS: Mapping[str, Callable[[Words, Alteration], None]] = {
    "ADD": _add, "DROP": _drop, "RENAME": _rename, "CHANGE": _change, "MODIFY": _change, "ALTER": _alter,
    "EXCHANGE": _exchange, "ENGINE": _engine, "PARTITION": _partition, "REMOVE": _partition,
    "WITH": _with, "WITHOUT": _with,
    **dict.fromkeys(("CONVERT", "DISCARD", "IMPORT", "TRUNCATE", "REPAIR"), _doubtful),
    **dict.fromkeys(
        ("FORCE", "ORDER", "ENABLE", "DISABLE", "REORGANIZE", "COALESCE", "REBUILD", "OPTIMIZE", "ANALYZE", "CHECK"),
        _rest,
    ),
}  # fmt: skip
