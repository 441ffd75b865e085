"""What the documents say and what the code has are the same."""

from __future__ import annotations

import dataclasses
import re

import pytest
import typer.main

from cdc_platform.cli.main import app
from cdc_platform.config.pipeline import (
    ColumnConfig,
    DestinationConfig,
    Observability,
    PipelineConfig,
    PollingConfig,
    QualityCheck,
    SourceConfig,
    TableConfig,
)
from cdc_platform.config.rules import OtherColumn, ReferenceConfig, RuleConfig
from cdc_platform.config.settings import PACKAGE

ROOT = PACKAGE.parent
README = (ROOT / "README.md").read_text()
PIPELINES = (ROOT / "docs" / "pipelines.md").read_text()


def commands() -> dict[str, typer.core.TyperCommand]:
    """All commands by name, those of groups behind their group's."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    found: dict[str, typer.core.TyperCommand] = {}
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            found |= {f"{name} {part}": one for part, one in command.commands.items()}  # type: ignore[misc]
        elif not command.hidden:
            found[name] = command  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_is_in_the_readme_and_prints_json(name: str) -> None:
    assert f"`cdc {name}" in README
    assert any("--json" in option.opts for option in commands()[name].params)


def test_the_readme_names_no_command_that_is_not_there() -> None:
    assert set(re.findall(r"`cdc ([a-z]+)", README)) <= {name.split()[0] for name in commands()}


@pytest.mark.parametrize(
    "config",
    [
        PipelineConfig,
        RuleConfig,
        OtherColumn,
        ReferenceConfig,
        SourceConfig,
        PollingConfig,
        TableConfig,
        DestinationConfig,
        ColumnConfig,
        QualityCheck,
        Observability,
    ],
)
def test_every_key_is_documented(config: type) -> None:
    for field in dataclasses.fields(config):
        assert field.name in PIPELINES, f"{config.__name__}.{field.name}"


def test_links_between_documents_lead_somewhere() -> None:
    for document in (ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("infra/*.md"), ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_make_target_of_the_readme_is_there() -> None:
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+)", README)) <= targets
