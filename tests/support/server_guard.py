"""Stops a test run's embedded server when the last process of the run is gone, however it went.

`python -m tests.support.server_guard USERS_LOCK gcs|postgres|redis|s3 STATE_DIR`. Every user of the server holds a
shared lock on USERS_LOCK, which the kernel releases when the process dies; the guard waits for the exclusive one. It
loads nothing until then, so that a waiting guard costs next to nothing.
"""

from __future__ import annotations

import fcntl
import shutil
import sys
from pathlib import Path


def main(users_lock: str, kind: str, state_dir: str) -> None:
    """Wait for the end of all users, then stop the server and remove its data."""
    with Path(users_lock).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not Path(state_dir).exists():
            return
        from compliance_pipelines.local_stack.postgres import EmbeddedPostgres  # noqa: PLC0415
        from compliance_pipelines.local_stack.redis import EmbeddedRedis  # noqa: PLC0415
        from compliance_pipelines.local_stack.seaweedfs import EmbeddedSeaweedFS  # noqa: PLC0415
        from tests.support.gcs_emulator import GcsEmulator  # noqa: PLC0415

        servers = {
            "gcs": GcsEmulator,
            "postgres": EmbeddedPostgres,
            "redis": EmbeddedRedis,
            "s3": EmbeddedSeaweedFS,
        }
        servers[kind](Path(state_dir)).stop()
        shutil.rmtree(state_dir)


if __name__ == "__main__":
    main(*sys.argv[1:])
