"""A process of its own that seals once and kills itself in the middle, as a power failure would.

`python -m tests.integration.ledger.sealing_process MOMENT`, with the settings in the environment. MOMENT is a step and
how often it is let pass before (`hashed:1`), or `hashing`: after leaves were hashed, before the day's root is known.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn
from unittest import mock

from compliance_pipelines.ledger import sealing
from compliance_pipelines.ledger.hashing import SegmentHasher
from compliance_pipelines.services import open_services
from compliance_pipelines.settings import load_settings

if TYPE_CHECKING:
    import pyarrow as pa

    from compliance_pipelines.ledger.merkle import Hashes


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


class DyingHasher(SegmentHasher):
    def feed(self, batch: pa.RecordBatch) -> Hashes:
        super().feed(batch)
        die()


def main(moment: str) -> None:
    name, _, passes = moment.partition(":")
    left = int(passes or 0)
    if name == "hashing":
        mock.patch.object(sealing, "SegmentHasher", DyingHasher).start()

    def step(done: str) -> None:
        nonlocal left
        if done == name:
            if left == 0:
                die()
            left -= 1

    with open_services(load_settings()) as services:
        sealing.seal(services, step=step)


if __name__ == "__main__":
    main(sys.argv[1])
