"""Where a source database is, as far as mock data cares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


class Endpoint(Protocol):
    """Address and login of a database server; the embedded servers' state is one."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def database(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def password(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Address:
    """An Endpoint by its parts. The password stays out of `repr`."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
