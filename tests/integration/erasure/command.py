"""The `compliance` command on the services of one test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.testing import CliRunner, Result
from pydantic import SecretStr

from compliance_pipelines.cli import compliance
from compliance_pipelines.cli.settings_reference import environment_names

if TYPE_CHECKING:
    from compliance_pipelines.settings import Settings


def environment(settings: Settings) -> dict[str, str]:
    """The environment variables that give these settings."""
    variables = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is not None and name in type(settings).model_fields:
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            variables[environment_names(name, type(settings).model_fields[name])[0]] = text
    return variables


class Command:
    """`compliance ARGUMENTS` in this process."""

    def __init__(self, settings: Settings) -> None:
        self.environment = environment(settings)

    def __call__(self, *arguments: str) -> Result:
        """Run it; a domain error is the result's exception."""
        return CliRunner(env=self.environment).invoke(compliance, arguments)
