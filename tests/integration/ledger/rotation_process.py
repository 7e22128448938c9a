"""A process of its own that lets a key follow and kills itself in the middle, as a power failure would.

`python -m tests.integration.ledger.rotation_process STEP FILE`, with the settings in the environment; FILE holds the
new key.
"""

from __future__ import annotations

import sys

from compliance_pipelines.ledger.keys import signer_of
from compliance_pipelines.ledger.rotation import rotate_key
from compliance_pipelines.services import open_services
from compliance_pipelines.settings import load_settings
from tests.integration.ledger.sealing_process import die


def main(moment: str, file: str) -> None:
    def step(done: str) -> None:
        if done == moment:
            die()

    with open_services(load_settings()) as services:
        rotate_key(services, signer_of(file, services.settings), step=step)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
