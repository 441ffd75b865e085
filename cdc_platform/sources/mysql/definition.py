"""A column definition in DDL: its type as the project writes types, and what it says of values.

Only definitions of which all is understood are `plain`. Pure; the words come from `words.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from cdc_platform.sources.mysql.types import labels_of
from cdc_platform.sources.mysql.words import Words


@dataclass(frozen=True, slots=True)
class Definition:
    """`kind` is the type as `MySQLType.declared` writes it, None when it is not understood.

    `plain` is False where the server fills the column (generated, AUTO_INCREMENT) or a word is not understood;
    `default` is True for one that is not NULL. A timestamp that does not say NULL counts as `not_null`: with
    explicit_defaults_for_timestamp off it is.
    """

    kind: str | None
    plain: bool
    not_null: bool
    default: bool


_ALIASES = {
    "BOOL": "tinyint", "BOOLEAN": "tinyint", "INTEGER": "int", "INT1": "tinyint", "INT2": "smallint",
    "INT3": "mediumint", "INT4": "int", "INT8": "bigint", "MIDDLEINT": "mediumint", "DEC": "decimal",
    "NUMERIC": "decimal", "FIXED": "decimal", "REAL": "double", "FLOAT4": "float", "FLOAT8": "double",
    "CHARACTER": "char",
}  # fmt: skip
_WHOLE = {"tinyint", "smallint", "mediumint", "int", "bigint"}
_BARE = {
    "date", "tinytext", "mediumtext", "longtext", "tinyblob", "mediumblob", "longblob", "json", "geometry", "point",
    "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection", "uuid", "inet4",
    "inet6",
}  # fmt: skip
_SIZED = {"char", "varchar", "binary", "varbinary", "bit"}
_SIZE_ONE = {"char", "binary", "bit"}  # where none is given
_FRACTIONAL = {"datetime", "timestamp", "time"}
_LABELLED = {"enum", "set"}


def read_definition(words: Words) -> Definition:
    """The type and what follows it, to the end of the words."""
    kind = _read_type(words)
    plain, not_null, default = kind is not None, kind is not None and kind.startswith("timestamp"), False
    while plain and words.more():
        if words.skip("NOT", "NULL"):
            not_null = True
        elif words.skip("NULL"):
            not_null = False
        elif words.skip("DEFAULT"):
            default = not words.skip("NULL") or default
            if default:
                _skip_value(words)
        elif words.skip("ON", "UPDATE"):
            _skip_value(words)
        elif not _skip_harmless(words):
            plain = False
    words.place = len(words.tokens)
    return Definition(kind, plain, not_null, default)


def _read_type(words: Words) -> str | None:
    word = words.text()
    base = _ALIASES.get(word.upper(), word.lower())
    if base == "char" and words.skip("VARYING"):
        base = "varchar"
    if base == "double":
        words.skip("PRECISION")
    inside = words.bracket()
    arguments = "".join(token.text for token in inside or ())
    unsigned = False
    while words.peek() in ("UNSIGNED", "SIGNED", "ZEROFILL"):
        unsigned = words.text().upper() != "SIGNED" or unsigned
    sign = " unsigned" if unsigned else ""
    if base in _WHOLE:
        return base + sign
    if base in ("float", "double"):
        return base + sign if inside is None else None
    if base == "decimal":
        precision, _, scale = arguments.partition(",")
        return f"decimal({precision or 10},{scale or 0}){sign}"
    if base in _LABELLED:
        quoted = ",".join("'" + label.replace("'", "''") + "'" for label in labels_of(arguments))
        return f"{base}({quoted})"
    if base in _SIZED and (arguments or base in _SIZE_ONE):
        return f"{base}({arguments or 1})"
    if base in _FRACTIONAL:
        return f"{base}({arguments})" if arguments not in ("", "0") else base
    if base == "year":
        return base
    if base in ("text", "blob"):
        return base if inside is None else None
    return base if base in _BARE and inside is None else None


def _skip_value(words: Words) -> None:
    """A literal, with its sign or introducer, an expression in parentheses, or a function."""
    if words.bracket() is not None:
        return
    words.skip_any("-", "+")
    introduced = words.peek().startswith("_") or words.peek() in ("B", "X", "N", "DATE", "TIME", "TIMESTAMP")
    words.text()
    if introduced and words.peek().startswith("'"):
        words.text()
    if words.skip("."):
        words.text()
    words.bracket()


_WORDS = ("VISIBLE", "INVISIBLE", "FIRST")
_WITH_VALUE = ("COMMENT", "AFTER", "COLLATE", "CHARSET", "COLUMN_FORMAT", "STORAGE", "ENGINE_ATTRIBUTE", "SRID")


def _skip_harmless(words: Words) -> bool:
    """Step over what says nothing of the values in the column."""
    if words.skip_any(*_WORDS):
        return True
    if words.skip("CHARACTER", "SET") or words.skip_any(*_WITH_VALUE):
        words.skip("=")
        return words.text().upper() != "BINARY"  # as a character set it makes another type
    if words.skip("UNIQUE"):
        words.skip("KEY")
        return True
    if words.skip("CHECK"):
        return words.bracket() is not None
    return False
