"""Character sets as the server itself knows them: it is asked what each code is in Unicode. Layer: sources."""

from __future__ import annotations

import numpy as np

from cdc_platform.sources.mysql.characters import (
    FORMS,
    FOUR_BYTE_CODES,
    LEADS,
    NONE,
    THIRD_PLANE,
    Codepage,
    Form,
    Points,
)
from cdc_platform.sources.mysql.connection import Session

_AT_ONCE = 2000


def read_codepage(session: Session, name: str, character_bytes: int) -> Codepage | None:
    """The character set `name`, or None when it is not one that is understood."""
    form = FORMS.get(name)
    if form is None and character_bytes == 1 and name.isalnum():
        form = "single"
    if form is None or name == "binary":
        return None
    if form in ("utf16", "utf16le", "ucs2", "utf32"):
        return Codepage(name, form, np.empty(0, np.uint32))
    table = np.full(THIRD_PLANE * (1 if form in ("single", "double") else 2), NONE, np.uint32)
    codes = _codes(name, form)
    ((question,),) = session.rows(f"select hex(convert('?' using {name}))")
    for first in range(0, len(codes), _AT_ONCE):
        part = codes[first : first + _AT_ONCE]
        _fill(session, name, part, table, str(question))
    return Codepage(name, form, table[:256] if form == "single" else table)


def _codes(name: str, form: Form) -> list[tuple[int, bytes]]:
    """All codes that the character set can have: their number in the table, their bytes."""
    if form == "single":
        return [(byte, bytes([byte])) for byte in range(256)]
    leads = [byte for first, last in LEADS[name] for byte in range(first, last + 1)]
    codes = [(byte, bytes([byte])) for byte in range(256) if byte not in leads]
    codes += [(lead << 8 | trail, bytes([lead, trail])) for lead in leads for trail in range(0x30, 256)]
    if form == "euc":
        above = range(0xA1, 0xFF)
        codes += [(THIRD_PLANE + (a << 8 | b), bytes([0x8F, a, b])) for a in above for b in above]
    if form == "gb18030":
        codes += [(THIRD_PLANE + order, _four_bytes(order)) for order in range(FOUR_BYTE_CODES)]
    return codes


def _four_bytes(order: int) -> bytes:
    return bytes([0x81 + order // 12600, 0x30 + order // 1260 % 10, 0x81 + order // 10 % 126, 0x30 + order % 10])


def _fill(session: Session, name: str, codes: list[tuple[int, bytes]], table: Points, question: str) -> None:
    """Ask for these codes. What is no character becomes null or question marks, as the server has it."""
    each = ", ".join(
        f"ifnull(hex(convert(convert(x'{code.hex()}' using {name}) using utf8mb4)), '')" for _, code in codes
    )
    ((answers,),) = session.rows(f"select concat_ws(',', {each})")
    for (number, code), answer in zip(codes, str(answers).split(","), strict=True):
        text = bytes.fromhex(answer).decode("utf-8", "replace")
        if len(text) == 1 and text != "\ufffd" and (text != "?" or code.hex().upper() == question):
            table[number] = ord(text)
