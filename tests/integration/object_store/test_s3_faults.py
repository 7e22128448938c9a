"""What the network and the service do to requests loses nothing, doubles nothing, and is never taken for an absence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.object_store.port import (
    ObjectExistsError,
    ObjectMissingError,
    ObjectReplacedError,
    ObjectStoreError,
    RefusedByStoreError,
)
from compliance_pipelines.object_store.s3 import S3ObjectStore
from compliance_pipelines.object_store.s3_client import S3Endpoint
from tests.support.fault_proxy import Fault, FaultProxy, Kind, s3_proxy
from tests.unit.object_store.contract import KEY, SEVERAL_BUFFERS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compliance_pipelines.local_stack.seaweedfs import EmbeddedSeaweedFS

_PIECE = 5 * 2**20
_FOR_EVER = 10**6


@pytest.fixture
def proxy(s3_server: EmbeddedSeaweedFS) -> Iterator[FaultProxy]:
    with s3_proxy(s3_server.port) as running:
        yield running


@pytest.fixture
def between(
    proxy: FaultProxy, store: S3ObjectStore, s3_server: EmbeddedSeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> S3ObjectStore:
    """The same objects, through the proxy."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    client = S3Endpoint(url=proxy.url, path_style=True, timeout_seconds=1).open()
    return S3ObjectStore(client, store.bucket, single_put_bytes=_PIECE)


class TestWriting:
    @pytest.mark.parametrize(
        "fault",
        [
            Fault(Kind.REFUSED, "PUT", KEY, times=3),
            Fault(Kind.REFUSED, "PUT", KEY, times=2, status=500, code="InternalError"),
            Fault(Kind.REFUSED, "PUT", KEY, times=3, status=409, code="ConditionalRequestConflict"),
            Fault(Kind.STALLED, "PUT", KEY),
            Fault(Kind.REFUSED, "HEAD", KEY, times=2),
        ],
        ids=["slow down", "internal error", "conflict", "stalled", "look refused"],
    )
    def test_what_passes_is_repeated(
        self, proxy: FaultProxy, between: S3ObjectStore, store: S3ObjectStore, fault: Fault
    ) -> None:
        proxy.faults.append(fault)

        between.put_bytes(KEY, b"data")

        assert fault.times == 0
        assert store.get_bytes(KEY) == b"data"

    @pytest.mark.parametrize("kind", [Kind.UNANSWERED, Kind.FAILED_AFTERWARDS])
    def test_of_a_put_whose_answer_is_lost_the_object_is_there_once(
        self, proxy: FaultProxy, between: S3ObjectStore, store: S3ObjectStore, kind: Kind
    ) -> None:
        proxy.faults.append(Fault(kind, "PUT", KEY, status=500, code="InternalError"))

        with pytest.raises(ObjectExistsError):
            between.put_bytes(KEY, b"data")

        assert store.get_bytes(KEY) == b"data"
        versions = store.client.list_object_versions(Bucket=store.bucket.name, Prefix=store.object_key(KEY))
        assert len(versions["Versions"]) == 1

    def test_of_a_replacement_whose_answer_is_lost_the_caller_is_told_and_the_object_is_the_new_one(
        self, proxy: FaultProxy, between: S3ObjectStore, store: S3ObjectStore
    ) -> None:
        store.put_bytes(KEY, b"1")
        version = store.read_versioned(KEY, 1).version
        proxy.faults.append(Fault(Kind.UNANSWERED, "PUT", KEY))

        with pytest.raises(ObjectReplacedError):
            between.replace(KEY, b"2", version)

        assert store.get_bytes(KEY) == b"2"

    @pytest.mark.parametrize("containing", ["uploads", "partNumber=1", "uploadId"])
    def test_an_upload_in_pieces_that_fails_leaves_nothing(
        self, proxy: FaultProxy, between: S3ObjectStore, store: S3ObjectStore, tmp_path: Path, containing: str
    ) -> None:
        (tmp_path / "large").write_bytes(bytes(_PIECE + 1))
        method = "PUT" if containing == "partNumber=1" else "POST"
        proxy.faults.append(Fault(Kind.REFUSED, method, containing, times=_FOR_EVER, status=403, code="AccessDenied"))

        with pytest.raises(RefusedByStoreError, match=KEY):
            between.put_file(KEY, tmp_path / "large")

        assert store.stat(KEY) is None
        uploads = store.client.list_multipart_uploads(Bucket=store.bucket.name, Prefix=store.object_key(KEY))
        assert uploads.get("Uploads", []) == []

    def test_a_service_that_stays_down_is_named(self, proxy: FaultProxy, between: S3ObjectStore) -> None:
        proxy.faults.append(Fault(Kind.REFUSED, "PUT", KEY, times=_FOR_EVER, status=500, code="InternalError"))

        with pytest.raises(ObjectStoreError, match="InternalError") as caught:
            between.put_bytes(KEY, b"data")

        assert type(caught.value) is ObjectStoreError  # passing: the next run may succeed


class TestReading:
    def test_a_transfer_that_is_cut_goes_on(
        self, proxy: FaultProxy, between: S3ObjectStore, store: S3ObjectStore, tmp_path: Path
    ) -> None:
        store.put_bytes(KEY, SEVERAL_BUFFERS)
        proxy.faults += [Fault(Kind.CUT, "GET", KEY, times=2), Fault(Kind.STALLED, "GET", KEY)]

        between.download(KEY, tmp_path / "copy")

        assert (tmp_path / "copy").read_bytes() == SEVERAL_BUFFERS
        assert [fault.times for fault in proxy.faults] == [0, 0]

    def test_one_that_is_always_cut_is_an_error_and_leaves_no_file(
        self, proxy: FaultProxy, between: S3ObjectStore, store: S3ObjectStore, tmp_path: Path
    ) -> None:
        store.put_bytes(KEY, SEVERAL_BUFFERS)
        proxy.faults.append(Fault(Kind.CUT, "GET", KEY, times=_FOR_EVER))

        for read in (between.get_bytes, lambda key: between.download(key, tmp_path / "copy")):
            with pytest.raises(ObjectStoreError, match=KEY) as caught:
                read(KEY)
            assert not isinstance(caught.value, ObjectMissingError)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("status", "code", "error"),
        [
            (403, "AccessDenied", RefusedByStoreError),
            (403, "SignatureDoesNotMatch", RefusedByStoreError),
            (400, "ExpiredToken", ObjectStoreError),
            (403, "RequestTimeTooSkewed", ObjectStoreError),
            (500, "InternalError", ObjectStoreError),
        ],
    )
    def test_what_is_refused_is_never_missing(
        self, proxy: FaultProxy, between: S3ObjectStore, status: int, code: str, error: type[ObjectStoreError]
    ) -> None:
        proxy.faults += [
            Fault(Kind.REFUSED, method, times=_FOR_EVER, status=status, code=code) for method in ("GET", "HEAD")
        ]

        for read in (between.get_bytes, between.stat, lambda key: list(between.list(key)), between.delete):
            with pytest.raises(ObjectStoreError) as caught:
                read(KEY)
            assert not isinstance(caught.value, ObjectMissingError)
            if read is between.get_bytes:
                assert type(caught.value) is error

    def test_a_listing_that_breaks_off_is_an_error(
        self, proxy: FaultProxy, between: S3ObjectStore, store: S3ObjectStore
    ) -> None:
        for number in range(3):
            store.put_bytes(f"a/{number}", b"")
        proxy.faults.append(Fault(Kind.CUT, "GET", "list-type=2", times=_FOR_EVER))

        with pytest.raises(ObjectStoreError):
            list(between.list("a/"))
