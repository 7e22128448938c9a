"""Dagster concept: resources. What runs and sensors work with.

Here: opening the domain's services from the settings. Not here: what is done with them; where alerts go (alerts.py).
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING, Final

from dagster import ConfigurableResource, InitResourceContext
from pydantic import Field
from sqlalchemy.exc import SQLAlchemyError

from compliance_pipelines.base.clock import Clock, clock_at, system_clock
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.postgres.replica import ReadOnlyReplicaError, refuse_replicas
from compliance_pipelines.services import Services, open_services
from compliance_pipelines.settings import ConfigurationError, Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Generator

    import sqlalchemy

SERVICES: Final = "compliance_services"
ALERTS: Final = "compliance_alerts"


def clock_as_of(settings: Settings, as_of: date | None) -> Clock:
    """The clock that decides what is due: the real one, or one that shows `as_of` at the present time of day.

    Raises:
        ConfigurationError: a date is given and this is not the embedded stack. Elsewhere a shifted clock would archive
            and purge real entries before their time.
    """
    if as_of is None:
        return system_clock
    if not settings.compliance_local_stack:
        raise ConfigurationError(
            f"as-of {as_of} refused: the clock can be moved on the embedded stack only, which sets "
            "COMPLIANCE_LOCAL_STACK; leave the date out"
        )
    return clock_at(datetime.combine(as_of, system_clock().timetz()))


def _find_out(engine: sqlalchemy.Engine) -> None:
    """Make the first connection, by which a replica is refused before anything is done.

    Raises:
        ReadOnlyReplicaError: the database is one.
    """
    try:
        with engine.connect():
            pass
    except ReadOnlyReplicaError:
        raise
    except (SQLAlchemyError, ComplianceError):
        return  # the step that needs the database is told, and tried again where that helps


class ServicesResource(ConfigurableResource[Services]):
    """Database, cold store and signing key, opened from the settings when a run or a tick begins, closed when it ends.

    Connections are made when they are first used and shared by the steps of the run. None is made to a replica.
    """

    as_of: str | None = Field(
        default=None,
        description="Date (YYYY-MM-DD) that decides what is due, on the embedded stack only. Default: today.",
    )

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Generator[Services]:  # noqa: ARG002
        """Open the services for the time of one run or tick.

        Raises:
            ConfigurationError: a setting is missing or cannot be used, or `as_of` is not permitted or no date.
            ReadOnlyReplicaError: the database is a replica, on which no run could finish.
        """
        settings = load_settings()
        try:
            as_of = None if self.as_of is None else date.fromisoformat(self.as_of)
        except ValueError as error:
            raise ConfigurationError(f"as_of is no date (YYYY-MM-DD): {error}") from error
        with open_services(settings, clock=clock_as_of(settings, as_of)) as services:
            refuse_replicas(services.engine, "every run")
            _find_out(services.engine)
            yield services
