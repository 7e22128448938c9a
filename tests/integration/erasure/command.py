"""The `compliance` command on the services of one test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.testing import CliRunner, Result

from compliance_pipelines.cli import compliance
from tests.support.command import environment

if TYPE_CHECKING:
    from compliance_pipelines.settings import Settings


class Command:
    """`compliance ARGUMENTS` in this process."""

    def __init__(self, settings: Settings) -> None:
        self.environment = environment(settings)

    def __call__(self, *arguments: str) -> Result:
        """Run it; a domain error is the result's exception."""
        return CliRunner(env=self.environment).invoke(compliance, arguments)
