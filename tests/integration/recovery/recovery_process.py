"""A process of its own that recovers and kills itself in the middle, as a power failure would.

`python -m tests.integration.recovery.recovery_process STEP`, with the settings in the environment.
"""

from __future__ import annotations

import os
import signal
import sys

from compliance_pipelines.archive.returning import ReturningParts
from compliance_pipelines.ledger.recovery import recover
from compliance_pipelines.postgres.engine import migration_engine_from_settings
from compliance_pipelines.services import open_services
from compliance_pipelines.settings import load_settings
from tests.integration.recovery.restoring import AUTHOR, REASON


def main(moment: str) -> None:
    def step(done: str) -> None:
        if done == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    with open_services(load_settings()) as services:
        owner = migration_engine_from_settings(services.settings)
        recover(services, owner, ReturningParts(services), author=AUTHOR, reason=REASON, step=step)


if __name__ == "__main__":
    main(sys.argv[1])
