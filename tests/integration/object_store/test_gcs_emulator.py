"""The promises of the port on an emulator of Google Cloud Storage by others: fake-gcs-server, over HTTP.

What it keeps is tried here: bytes, generations, preconditions of uploads in one request, ranges, listings. What it does
not keep is tried on the tests' own service alone (test_gcs.py), and `TestWhatItDoesNotKeep` would notice a better one:

- `ifGenerationMatch` of uploads in pieces: it overwrites;
- the generation that is asked for when bytes are read: it gives the newest ones;
- locks: it takes them and keeps nobody from anything; holds: it drops them;
- checksums that were sent: it stores other bytes.

Neither of the two is Google's service.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.object_store.gcs import GcsBucket, GcsObjectStore
from compliance_pipelines.object_store.port import BrokenPromiseError
from compliance_pipelines.object_store.trials import store_trials
from tests.integration.object_store.gcs_stores import service_at
from tests.support.gcs_emulator import GcsEmulator
from tests.support.servers import in_use
from tests.unit.object_store.contract import KEY, SEVERAL_BUFFERS, ObjectStoreContract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MORE_THAN_ONE_REQUEST = SEVERAL_BUFFERS * 6


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsEmulator]:
    """Of this worker alone."""
    run_dir = tmp_path_factory.getbasetemp()
    server = GcsEmulator(run_dir / "gcs-server")
    with in_use(server, "gcs", run_dir / "gcs-server.users"):
        yield server


@pytest.fixture
def store(emulator: GcsEmulator) -> GcsObjectStore:
    bucket = GcsBucket(f"emulated-{uuid.uuid4().hex[:8]}", location="EU")
    store = GcsObjectStore(service_at(emulator.url), bucket)
    store.create()
    return store


class TestGcsObjectStore(ObjectStoreContract):
    """All of it."""


class TestMore:
    def test_what_is_large_is_put_in_pieces(self, store: GcsObjectStore, tmp_path: Path) -> None:
        (tmp_path / "large").write_bytes(_MORE_THAN_ONE_REQUEST)

        info = store.put_file(KEY, tmp_path / "large")

        assert store.stat(KEY) == info
        assert store.get_bytes(KEY) == _MORE_THAN_ONE_REQUEST

    def test_the_generation_that_was_put_is_known_whatever_came_later(self, emulator: GcsEmulator) -> None:
        store = GcsObjectStore(service_at(emulator.url), GcsBucket(f"versions-{uuid.uuid4().hex[:8]}"))
        bucket: Any = store.service.client.bucket(store.bucket.name)
        bucket.versioning_enabled = True
        store.service.client.create_bucket(bucket)
        info = store.put_bytes(KEY, b"first")

        bucket.blob(KEY).upload_from_string(b"another")

        assert store.get_bytes(KEY) == b"another"
        pinned = store.at_versions({KEY: info.version or ""})
        assert pinned.stat(KEY) == info
        assert pinned.get_bytes(KEY) == b"anoth"  # which it does not keep: the size of the one, the bytes of the other
        store.delete(KEY)
        assert list(store.service.client.list_blobs(store.bucket.name, versions=True)) == []


class TestWhatItDoesNotKeep:
    """The adapter, or the check of the store, tells each; what it tells of a service is no theory."""

    def test_a_checksum(self, store: GcsObjectStore) -> None:
        assert "a checksum that does not match is refused" in broken(store)

    def test_a_lock(self, store: GcsObjectStore) -> None:
        locked = GcsObjectStore(store.service, replace(store.bucket, lock_mode="Locked"))

        assert broken(locked) >= {
            "objects can be locked, each until its own date",
            "what is locked cannot be deleted",
            "no lock can be shortened",
            "this login cannot pass a lock",
        }

    def test_a_hold(self, store: GcsObjectStore) -> None:
        store.put_bytes(KEY, b"data")

        with pytest.raises(BrokenPromiseError, match="did not do it"):
            store.set_hold(KEY, held=True)

    def test_the_condition_of_an_upload_in_pieces(self, store: GcsObjectStore, tmp_path: Path) -> None:
        """No adapter could notice: nothing is left of what was there. Google's documents promise that it is refused."""
        (tmp_path / "large").write_bytes(_MORE_THAN_ONE_REQUEST)
        store.put_bytes(KEY, b"before")

        store.put_file(KEY, tmp_path / "large")

        assert store.get_bytes(KEY) == _MORE_THAN_ONE_REQUEST


def broken(store: GcsObjectStore) -> set[str]:
    return {check.name for check in store_trials(store, 7) if check.fails}
