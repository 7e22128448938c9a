"""Where alerts go.

Here: what an alert is, the seam behind which a sink stands, and the sink that logs. Not here: what is worth an alert,
which the sensors decide.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Final, Protocol

from dagster import ConfigurableResource

_LOGGER: Final = logging.getLogger("compliance_pipelines.alerts")


@dataclass(frozen=True)
class Alert:
    """One message for a person: what happened, in one line, and what is known about it."""

    title: str
    lines: tuple[str, ...]

    def text(self) -> str:
        """The message as plain text."""
        return "\n".join((self.title, *(f"  - {line}" for line in self.lines)))


class AlertSink(Protocol):
    """Takes alerts to a person."""

    def send(self, alert: Alert) -> None:
        """Hand the alert over; when this returns, it has been accepted.

        Raises:
            Exception: it was not accepted. The sensor's tick fails and sends the same again.
        """


def _with_time_and_level() -> logging.Handler:
    handler = logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    return handler


class LogAlertSink(ConfigurableResource[None]):
    """Writes alerts to the log of the process that evaluates the sensors, as errors, with their time in UTC."""

    def send(self, alert: Alert) -> None:
        """Log the alert. Where nobody has set up logging, it goes to the standard error, with time and level."""
        if not _LOGGER.hasHandlers():
            _LOGGER.addHandler(_with_time_and_level())
        _LOGGER.error("%s", alert.text())
