"""Locks of a bucket, tried out.

Here: the probe that is locked, and what every service is asked about it. Not here: the requests that must be refused
(s3_trials.py, gcs_trials.py).

What must not be possible is tried on a probe alone. It stays until its lock ends, two minutes later; the next trial
removes it.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

from compliance_pipelines.base.health import HealthCheck
from compliance_pipelines.object_store.port import BrokenPromiseError, ObjectStoreError
from compliance_pipelines.object_store.promises import PROBES, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.object_store.promises import Found, Look

LOCK_SECONDS: Final = 120
_LOCKED: Final = f"{PROBES}locked/"
_STAYS: Final = "what is locked stays"


class Locks(Protocol):
    """What a service is asked about an object that it locked."""

    def locking(self, end: datetime) -> ObjectStore:
        """The store, in which everything is locked until then."""

    def of_locked(self, key: str, version: str, end: datetime) -> Iterable[tuple[str, Callable[[], Found]]]:
        """Promises about a locked object, and how each is tried."""


def trials_of_locks(store: ObjectStore, locks: Locks, look: Look, pieces: Path) -> Iterator[HealthCheck]:
    """Try whether what is locked stays.

    Args:
        store: in the bucket.
        locks: what the service is asked.
        look: names a trial.
        pieces: a file that is put in pieces.
    """
    yield look("its objects can be listed", lambda: _remove_unlocked(store))
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=LOCK_SECONDS)
    locking = locks.locking(end)
    key = f"{_LOCKED}{uuid.uuid4().hex}"
    try:
        version = locking.put_bytes(key, b"data").version
    except ObjectStoreError as error:
        yield HealthCheck(_STAYS, str(error), "use a bucket whose objects can be locked")
        return
    if version is None:
        yield HealthCheck(_STAYS, "the bucket keeps no versions", "turn versions on")
        return
    for promise, trial in locks.of_locked(key, version, end):
        yield look(promise, trial)
    yield look("what is put in pieces is locked, too", lambda: _lock_of_pieces(locking, pieces, f"{key}-pieces"))


def _lock_of_pieces(store: ObjectStore, path: Path, key: str) -> Found:
    try:
        store.put_file(key, path)
    except BrokenPromiseError as error:
        return Verdict.BROKEN, str(error), "use a service that locks uploads in pieces"
    return Verdict.KEPT, "", ""


def _remove_unlocked(store: ObjectStore) -> Found:
    """Remove the probes of earlier trials, whose locks have ended."""
    for info in list(store.list(_LOCKED)):
        try:
            store.delete(info.key)
        except ObjectStoreError:
            continue  # its lock lasts; a later trial removes it
    return Verdict.KEPT, "", ""
