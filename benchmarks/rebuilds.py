"""How long a database is made anew from a bucket, and in how much memory: of a made ledger that no archive holds.

Here: making it, and the measurement. Not here: archives, of which three requests each are made besides.

    python -m benchmarks.rebuilds --records 200000
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from benchmarks import ledgers, ours
from compliance_pipelines.archive.rebuilding import rebuild, rehearse_rebuild
from compliance_pipelines.audit_log import migrate
from compliance_pipelines.local_stack.postgres import EmbeddedPostgres


def measure(records: int, work: Path) -> dict[str, float]:
    """Make a ledger of so many records in a directory, and an empty database that becomes its own.

    Returns:
        Records, seconds of the rehearsal and of the rebuild, and peak memory of this process in MB.
    """
    cold = work / "cold"
    server = EmbeddedPostgres(work / "postgres")
    server.start()
    try:
        server.create_database("anew")
        migrate.upgrade(server.url("anew"))
        services = ours.open_services(server.url("anew"), ledgers.KEY.to_note_string(), cold)
        ours.forget(services, "audit_store", "audit_environment")
        ledgers.make(cold, records, ledgers.KEY)
        started = time.perf_counter()
        uncommitted = rehearse_rebuild(services).found.uncommitted
        rehearsed = time.perf_counter()
        rebuild(services, services.engine, uncommitted, author="benchmark", reason="measuring")
        done = time.perf_counter()
        services.engine.dispose()
    finally:
        server.stop()
    return {
        "records": records,
        "rehearsal_seconds": round(rehearsed - started, 1),
        "rebuild_seconds": round(done - rehearsed, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    """Measure once and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rebuilds", description=__doc__)
    parser.add_argument("--records", type=int, default=200_000, help="of the ledger")
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        print(json.dumps(measure(parser.parse_args().records, Path(directory))))


if __name__ == "__main__":
    main()
