"""Dagster concept: I/O manager. The project's assets have no value in Python, and so nothing that stores one.

Here: an I/O manager that says so, in the place of the host's, which every run of ours would start otherwise and which
may be out of order. Not here: where the project's data is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from dagster import IOManager

from compliance_pipelines.base.errors import ComplianceError

if TYPE_CHECKING:
    from dagster import InputContext, OutputContext

VALUES: Final = "compliance_values"
# A resource that nothing uses. Dagster's refusal to merge two of these definitions names it.
ONCE: Final = "compliance_once_in_a_code_location"


class NoValueError(ComplianceError):
    """Somebody asks for the value of an asset that has none."""


class NoValues(IOManager):
    """Takes the place of a store of values for assets and checks that hand none over."""

    def handle_output(self, context: OutputContext, obj: object) -> None:
        """Store nothing.

        Raises:
            NoValueError: there is something.
        """
        if obj is not None:
            raise NoValueError(f"{context.name} has a value, and nothing here stores values")

    def load_input(self, context: InputContext) -> NoReturn:
        """Refuse.

        Raises:
            NoValueError: always.
        """
        raise NoValueError(
            f"{context.asset_key.to_user_string()} has no value in Python: name it in deps, and read its data where "
            "they are"
        )


NO_VALUES: Final = NoValues()
