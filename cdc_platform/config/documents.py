"""YAML documents of a file, read safely: plain values only, and never more of them than a file's size suggests.

YAML's tags can name code to run, its aliases can make a short text stand for a billion values. The safe loader knows
no such tags; the rest is counted before a value is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from cdc_platform.errors import ConfigError

MOST_BYTES: Final = 1 << 20
MOST_VALUES: Final = 100_000


def read_documents(file: Path) -> list[object]:
    """The documents of a file in order. Raises ConfigError in one line, with its line where one is known."""
    try:
        if not file.is_file():
            raise ConfigError(f"{file}: is no file")
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ConfigError(f"{file}: is larger than {MOST_BYTES >> 20} MiB; split it")
        return list(yaml.load_all(content.decode("utf-8-sig"), _StrictLoader))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise ConfigError(f"{file}:{line} not valid YAML: {' '.join(problem.split())}") from error
    except RecursionError as error:
        raise ConfigError(f"{file}: not valid YAML: nested too deep") from error
    except ValueError as error:  # of a date or number that looks like one and is none
        raise ConfigError(f"{file}: not valid YAML: {error}; put text between quotes") from error


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe subset, where a key written twice is an error instead of the last one winning."""

    def construct_document(self, node: yaml.Node) -> Any:
        _count(node, {}, set())
        return super().construct_document(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # `<<`, whose keys may be written again
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (str, int)) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is there twice", key_node.start_mark)
            if isinstance(key, (str, int)):
                seen.add(key)
        return super().construct_mapping(node, deep)


def _count(node: yaml.Node, known: dict[yaml.Node, int], above: set[yaml.Node]) -> int:
    """How many values the node stands for, its aliases spelt out. Each node is walked once."""
    if node in known:
        return known[node]
    if node in above:
        raise yaml.constructor.ConstructorError(None, None, "an alias of what holds it", node.start_mark)
    children: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.MappingNode):
        children = [child for pair in node.value for child in pair]
    above.add(node)
    count = 1 + sum(_count(child, known, above) for child in children)
    above.discard(node)
    if count > MOST_VALUES:
        raise yaml.constructor.ConstructorError(
            None, None, f"more than {MOST_VALUES:,} values, aliases spelt out", node.start_mark
        )
    known[node] = count
    return count
