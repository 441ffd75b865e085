"""What a derived table's commit says it was made of: its definition, and the version of each input's change log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from cdc_platform.destinations.destination import Applied


@dataclass(frozen=True, slots=True)
class Part:
    """Of one input: its log, the version of it that is in, and what was read of it (`Wanted.digest`)."""

    log_id: str
    version: int
    wanted: str


@dataclass(frozen=True, slots=True)
class Basis:
    """`definition` is `Definition.digest`; `inputs` are by name."""

    definition: str
    inputs: Mapping[str, Part]

    def text(self) -> str:
        """As it travels in the commit."""
        return json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)

    def version_of(self, name: str, log_id: str) -> int:
        """The version of this log that is in as the input `name`; 0 where none is."""
        part = self.inputs.get(name)
        return part.version if part is not None and part.log_id == log_id else 0

    def made_as(self, definition: str, logs: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
        """Whether a table that was made of this may be kept by changes: same definition, same logs, same columns."""
        held = {name: (part.log_id, part.wanted) for name, part in self.inputs.items()}
        return self.definition == definition and held == {name: (logs[name], wanted[name]) for name in logs}


def basis_of(applied: Applied | None) -> Basis | None:
    """The inverse of `Basis.text`; None where the commit has none, or one that is not understood."""
    try:
        held = json.loads(applied.basis) if applied is not None else None
        return (
            Basis(held["definition"], {name: Part(**part) for name, part in held["inputs"].items()}) if held else None
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
