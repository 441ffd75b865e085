"""Texts in every character set: what snapshot and log say is what the server converts them to, or a stop.

The server is the oracle: of which characters there are, and of what they are in Unicode.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdc_platform.errors import InvalidRow, NotUnderstood
from cdc_platform.model.evolution import carried
from cdc_platform.sources.cells import BadCell
from cdc_platform.sources.mysql.characters import FORMS, NONE, THIRD_PLANE, Codepage, decoded, recoded_column
from cdc_platform.sources.mysql.charset_tables import read_codepage
from cdc_platform.sources.mysql.connection import session
from cdc_platform.sources.mysql.layout import cells_of
from cdc_platform_tests.mysql.conftest import Database, connect
from cdc_platform_tests.mysql.images import images, opened
from cdc_platform_tests.mysql.test_failures import global_setting

MULTIBYTE = ("sjis", "cp932", "eucjpms", "ujis", "gbk", "gb2312", "gb18030", "big5", "euckr")
UNICODE = ("utf16", "utf16le", "utf32", "ucs2", "utf8mb3")
SINGLE = ("latin1", "latin2", "cp1251", "koi8r", "greek", "tis620", "swe7", "ascii")
ASCII = "".join(map(chr, range(32, 127)))


def has(database: Database, charset: str) -> bool:
    found = database.query(f"show character set like '{charset}'")
    return bool(found)


def alphabet(database: Database, charset: str) -> str:
    """The characters of the basic plane that the server can put into the character set and get back."""
    if (database.mariadb, charset) not in ALPHABETS:
        ALPHABETS[database.mariadb, charset] = ask_alphabet(database, charset)
    return ALPHABETS[database.mariadb, charset]


def ask_alphabet(database: Database, charset: str) -> str:
    every = "".join(chr(point) for point in [*range(32, 0xD800), *range(0xE000, 0xFFFD)] if point != ord("?"))
    ((back,),) = database.query(f"select convert(convert('{every.translate(ESCAPED)}' using {charset}) using utf8mb4)")
    return "".join(character for character, other in zip(every, back, strict=True) if character == other)


ALPHABETS: dict[tuple[bool, str], str] = {}
ESCAPED = str.maketrans({"'": "''", "\\": "\\\\"})


@pytest.fixture
def multibyte(database: Database, charset: str) -> Database:
    if not has(database, charset):
        pytest.skip(f"this server has no {charset}")
    database.run("set sql_mode = 'STRICT_ALL_TABLES'")
    return database


@pytest.mark.parametrize("charset", [*MULTIBYTE, *UNICODE, *SINGLE])
@settings(
    max_examples=2,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.generate],
)
@given(data=st.data())
def test_generated_texts(multibyte: Database, charset: str, data: st.DataObject) -> None:
    multibyte.run(
        f"create table if not exists t (v varchar(60), c char(20), p text, e enum('a', 'b'), n int default 0)"
        f" character set {charset}"
    )
    known = alphabet(multibyte, charset)
    character = st.sampled_from(known) | st.sampled_from([character for character in ASCII if character in known])
    texts = st.none() | st.text(character, max_size=20)
    long = st.none() | st.text(character, max_size=60)
    rows = data.draw(
        st.lists(st.tuples(long, texts, long, st.sampled_from(["a", "b", None])), min_size=20, max_size=99)
    )
    with opened(multibyte) as source:
        start = source.head()
    multibyte.run("begin", "insert into t (v, c, p, e) values (%s, %s, %s, %s)", rows=rows)
    multibyte.run("commit")
    wanted = multibyte.query("select v, c, p, e from t")
    assert images(multibyte, "t", start).rows() == wanted
    assert [row[0] for row in wanted] == [row[0] for row in rows]


@pytest.mark.parametrize("charset", MULTIBYTE)
def test_every_character(multibyte: Database, charset: str) -> None:
    """All codes that have a Unicode character, in one text; and no character of Unicode is missing among them."""
    with session(multibyte.target) as asked:
        ((width,),) = asked.rows(
            "select maxlen from information_schema.character_sets where character_set_name = %s", [charset]
        )
        codepage = read_codepage(asked, charset, width)
    assert codepage is not None
    codes = [code for code, point in enumerate(codepage.table.tolist()) if point != NONE and code >= 32]
    random.Random(1).shuffle(codes)  # so that characters of all lengths stand beside each other
    whole = b"".join(code_bytes(codepage, code) for code in codes)
    multibyte.run(f"create table t (p longtext character set {charset}, n int default 0)")
    with opened(multibyte) as source:
        start = source.head()
    multibyte.run(f"insert into t (p) values (convert(x'{whole.hex()}' using {charset}))")
    ((wanted,),) = multibyte.query("select p from t")
    ((said,),) = images(multibyte, "t", start).rows()
    assert said == wanted
    assert "?" not in said.replace("?", "", 1)
    assert set(alphabet(multibyte, charset)) <= set(said)


def code_bytes(codepage: Codepage, code: int) -> bytes:
    if code < 256:
        return bytes([code])
    if code < THIRD_PLANE:
        return code.to_bytes(2, "big")
    rest = code - THIRD_PLANE
    if codepage.form == "euc":
        return b"\x8f" + rest.to_bytes(2, "big")
    return bytes([0x81 + rest // 12600, 0x30 + rest // 1260 % 10, 0x81 + rest // 10 % 126, 0x30 + rest % 10])


@pytest.mark.parametrize("charset", ["gb18030", "utf16", "utf16le", "utf32"])
def test_beyond_the_basic_plane(multibyte: Database, charset: str) -> None:
    """Every 37th character, each plane's first and last ones, and their neighbours."""
    points = [
        point for point in range(0x10000, 0x110000) if point % 37 == 0 or point & 0xFFFF in (0, 1, 0xFFFE, 0xFFFF)
    ]
    text = "".join(f"{chr(point)}é" for point in points)
    multibyte.run(f"create table t (p longtext character set {charset}, n int default 0)")
    with opened(multibyte) as source:
        start = source.head()
    multibyte.run("insert into t (p) values (%s)", rows=[(text,)])
    assert images(multibyte, "t", start).rows() == [(text,)]


@pytest.mark.parametrize(
    ("charset", "code"),
    [("sjis", "85a0"), ("cp932", "8540"), ("eucjpms", "8fa1a1"), ("cp1251", "98"), ("ucs2", "d83d"), ("ascii", "80"),
     ("utf32", "0000d800"), ("utf8mb3", "eda080"), ("utf8mb4", "eda080")],
)  # fmt: skip
def test_what_unicode_has_not_stops_the_table(multibyte: Database, charset: str, code: str) -> None:
    """The server makes a question mark of these, or half a surrogate pair, where it lets them in at all."""
    multibyte.run("set sql_mode = ''", f"create table t (id int, c varchar(9) character set {charset})")
    with opened(multibyte) as source:
        start = source.head()
    multibyte.run("insert into t values (1, 'fine'), (2, null)")
    multibyte.run(f"insert into t values (3, x'{code}')")
    ((kept,),) = multibyte.query("select hex(c) from t where id = 3")
    if kept.lower() != code:
        pytest.skip("this server does not let it in")
    table = multibyte.table("t")
    captured = multibyte.changes("t", start=start)
    (failure,) = [failure for one in captured for failure in one.failures.values()]
    with opened(multibyte) as source, source.snapshot([]) as snapshot, pytest.raises(InvalidRow) as error:
        list(snapshot.read(table))
    for message in (str(failure), str(error.value)):
        assert "column c at " in message
        assert ("Unicode has not" in message) or ("no valid UTF-8" in message)
        assert "fine" not in message


def test_a_snapshot_of_many_chunks(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server cannot be asked about a character set while rows are on their way."""
    monkeypatch.setattr("cdc_platform.sources.mysql.snapshot.CHUNK_BYTES", 2000)
    database.run(
        "create table t (id int primary key, a varchar(90) character set latin1, b varchar(90) character set sjis)",
        "insert into t select seq.i, 'Größe', '表' from (with recursive seq (i) as"
        " (select 1 union all select i + 1 from seq where i < 900) select i from seq) seq",
    )
    with opened(database) as source, source.snapshot([]) as snapshot:
        batches = [batch.frame["after"].struct.unnest().rows() for batch in snapshot.read(database.table("t"))]
    assert len(batches) > 3
    assert sorted(row for batch in batches for row in batch) == [(number, "Größe", "表") for number in range(1, 901)]


def test_labels_in_another_character_set(database: Database) -> None:
    database.run("create table t (e enum('表', 'ソ', 'b'), s set('能', 'x') , n int default 0) character set sjis")
    with opened(database) as source:
        start = source.head()
    database.run("insert into t (e, s) values ('表', '能,x'), ('ソ', ''), (null, 'x')")
    assert images(database, "t", start).rows() == [("表", "能,x"), ("ソ", ""), (None, "x")]


def test_a_label_that_unicode_has_not(database: Database) -> None:
    database.run("create table t (e enum(x'85a0', 'b') character set sjis)")
    with opened(database) as source:
        start = source.head()
    database.run("insert into t values ('b')")
    (failure,) = [failure for one in database.changes("t", start=start) for failure in one.failures.values()]
    assert isinstance(failure, NotUnderstood)
    assert "members of an enum or set" in str(failure)


@pytest.mark.parametrize("metadata", ["less", "FULL"])
def test_labels_that_the_information_schema_cannot_show(database: Database, metadata: str) -> None:
    """It has question marks for them: with the labels in the log they are exact, without them the table stops."""
    less = "NO_LOG" if database.mariadb else "MINIMAL"
    with global_setting(database, "binlog_row_metadata", f"'{less if metadata == 'less' else metadata}'"):
        renewed = Database(database.state, connect(database.state))
        renewed.run("create table t (e enum('😀', 'b?'), s set('🚀', 'x'), n int default 0)")
        with opened(renewed) as source:
            start = source.head()
            schema = source.schemas([renewed.table("t")])[renewed.table("t")]
        renewed.run("insert into t (e, s) values ('😀', '🚀,x'), ('b?', '')")
        captured = renewed.changes("t", start=start)
        if metadata == "FULL":
            assert captured[0].batches[0].schema == carried(None, schema)
            assert images(renewed, "t", start).rows() == [("😀", "🚀,x"), ("b?", "")]
        else:
            (failure,) = [failure for one in captured for failure in one.failures.values()]
            assert "set binlog_row_metadata=FULL" in str(failure)
        renewed.close()


def every_code(name: str) -> Codepage:
    """A character set in which each code is a character, so that only half characters are refused."""
    form = FORMS.get(name, "single")
    size = 0 if form in ("utf16", "utf16le", "ucs2", "utf32") else 256 if form == "single" else 2 * THIRD_PLANE
    return Codepage(name, form, np.arange(size, dtype=np.uint32) % 0xD000)


@pytest.mark.parametrize("name", ["latin1", *FORMS])
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_cells_do_not_touch_each_other(name: str, data: st.DataObject) -> None:
    """Any bytes: a column is what its cells are one by one, and half a character at a cell's end is refused."""
    codepage = every_code(name)
    byte = st.sampled_from([0, 0x30, 0x39, 0x41, 0x7F, 0x80, 0x81, 0x8E, 0x8F, 0xA1, 0xD8, 0xDC, 0xFE, 0xFF])
    cells = data.draw(st.lists(st.lists(byte, max_size=9).map(bytes), max_size=6))
    alone = []
    for row, cell in enumerate(cells):
        try:
            alone.append(decoded(cell, codepage))
        except BadCell:
            with pytest.raises(BadCell) as error:
                recoded_column(cells_of(cells), codepage)
            assert error.value.row == row
            return
    assert recoded_column(cells_of(cells), codepage).to_list() == alone


@pytest.mark.parametrize(
    ("name", "codec"),
    [("gbk", "gbk"), ("gb18030", "gb18030"), ("utf16", "utf-16-be"), ("utf16le", "utf-16-le"), ("utf32", "utf-32-be")],
)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_halves_are_refused_as_by_pythons_codecs(name: str, codec: str, data: st.DataObject) -> None:
    """Which bytes are whole characters is the same for all who read these sets; what they mean need not be."""
    text = data.draw(
        st.text(st.sampled_from("aé表") | (st.characters(codec="utf-8") if name != "gbk" else st.just("z")))
    )
    whole = text.encode(codec)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    try:
        cut.decode(codec)
    except UnicodeDecodeError:
        with pytest.raises(BadCell):
            decoded(cut, every_code(name))
    else:
        decoded(cut, every_code(name))
