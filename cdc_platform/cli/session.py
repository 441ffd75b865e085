"""What every command begins with: settings, the environment with the embedded servers' values, the pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

from cdc_platform.config.load import Pipeline, load_pipelines, select
from cdc_platform.config.settings import SERVER_VARIABLES, Settings
from cdc_platform.errors import ConfigError
from cdc_platform.mock_data.endpoint import Address, Endpoint


class Session:
    """One invocation's configuration, read when first asked for."""

    def __init__(self) -> None:
        self.settings = Settings.load()

    @cached_property
    def environment(self) -> dict[str, str]:
        return self.settings.environment()

    def pipelines(self, names: Sequence[str] | None) -> tuple[list[Pipeline], list[Pipeline]]:
        """All pipelines, and the named ones (all without names)."""
        everything = load_pipelines(self.settings.pipelines, self.environment)
        chosen = select(everything, names or ())
        if not chosen:
            raise ConfigError(f"no pipelines in {self.settings.pipelines}")
        return everything, chosen

    def endpoint(self, server: Literal["postgres", "mysql"]) -> Endpoint:
        """A demo source from the environment, or the embedded server."""
        prefix = SERVER_VARIABLES[server]
        names = [f"{prefix}_{key}" for key in ("HOST", "PORT", "DB", "USER", "PASSWORD")]
        missing = [name for name in names if name not in self.environment]
        if missing:
            raise ConfigError(f"{', '.join(missing)} not set; set them, or start the embedded servers with 'cdc up'")
        host, port, database, user, password = (self.environment[name] for name in names)
        if not port.isdigit():
            raise ConfigError(f"{prefix}_PORT is not a number")
        return Address(host=host, port=int(port), database=database, user=user, password=password)
