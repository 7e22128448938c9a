"""What the network and the service do to requests loses nothing, doubles nothing, and is never taken for an absence.

The service is the tests' own (tests/support/gcs_rules.py says what that means); the requests and what Google's client
makes of lost and cut answers are real.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.object_store.gcs import GcsObjectStore
from compliance_pipelines.object_store.port import (
    ObjectExistsError,
    ObjectMissingError,
    ObjectReplacedError,
    ObjectStoreError,
    RefusedByStoreError,
    UnsupportedByStoreError,
)
from tests.integration.object_store.gcs_stores import gcs, gcs_store, rules, service_at
from tests.integration.object_store.test_gcs import _MORE_THAN_ONE_REQUEST, stored
from tests.support.fault_proxy import Fault, FaultProxy, Kind, gcs_proxy
from tests.unit.object_store.contract import KEY, SEVERAL_BUFFERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.gcs_rules import GcsRules
    from tests.support.gcs_server import GcsServer

__all__ = ["gcs", "gcs_store", "rules"]  # fixtures

_FOR_EVER = 10**6
_NAME = "0a1b2c3d"  # a part of the key that is the same in a URL


@pytest.fixture
def proxy(gcs: GcsServer) -> Iterator[FaultProxy]:
    with gcs_proxy(gcs.port) as running:
        yield running


@pytest.fixture
def between(proxy: FaultProxy, gcs_store: GcsObjectStore) -> GcsObjectStore:
    """The same objects, through the proxy."""
    return GcsObjectStore(service_at(proxy.url), gcs_store.bucket)


class TestWriting:
    @pytest.mark.parametrize(
        "fault",
        [
            Fault(Kind.REFUSED, "POST", "upload", times=3, status=503, code="backendError"),
            Fault(Kind.REFUSED, "POST", "upload", times=2, status=500, code="backendError"),
            Fault(Kind.REFUSED, "POST", "upload", times=3, status=429, code="rateLimitExceeded"),
            Fault(Kind.STALLED, "POST", "upload"),
            Fault(Kind.REFUSED, "GET", _NAME, times=2),
        ],
        ids=["unavailable", "internal error", "too many", "stalled", "look refused"],
    )
    def test_what_passes_is_repeated(
        self, proxy: FaultProxy, between: GcsObjectStore, gcs_store: GcsObjectStore, fault: Fault
    ) -> None:
        proxy.faults.append(fault)

        between.put_bytes(KEY, b"data")

        assert fault.times == 0
        assert gcs_store.get_bytes(KEY) == b"data"

    @pytest.mark.parametrize("kind", [Kind.UNANSWERED, Kind.FAILED_AFTERWARDS])
    def test_of_a_put_whose_answer_is_lost_the_object_is_there_once(
        self, proxy: FaultProxy, between: GcsObjectStore, gcs_store: GcsObjectStore, rules: GcsRules, kind: Kind
    ) -> None:
        proxy.faults.append(Fault(kind, "POST", "upload", status=500, code="backendError"))

        with pytest.raises(ObjectExistsError):
            between.put_bytes(KEY, b"data")

        assert stored(rules, gcs_store).data == b"data"

    @pytest.mark.parametrize("kind", [Kind.UNANSWERED, Kind.FAILED_AFTERWARDS, Kind.REFUSED, Kind.STALLED])
    @pytest.mark.parametrize("number", [1, 2], ids=["first piece", "last piece"])
    def test_a_piece_whose_answer_is_lost_is_sent_again(  # noqa: PLR0917 - fixtures
        self,
        proxy: FaultProxy,
        between: GcsObjectStore,
        gcs_store: GcsObjectStore,
        rules: GcsRules,
        tmp_path: Path,
        kind: Kind,
        number: int,
    ) -> None:
        (tmp_path / "large").write_bytes(_MORE_THAN_ONE_REQUEST)
        passed = Fault(Kind.PASSED, "PUT", "upload_id", times=number - 1)
        proxy.faults += [passed, Fault(kind, "PUT", "upload_id")]

        between.put_file(KEY, tmp_path / "large")

        assert [fault.times for fault in proxy.faults] == [0, 0]
        assert stored(rules, gcs_store).data == _MORE_THAN_ONE_REQUEST

    def test_of_a_replacement_whose_answer_is_lost_the_caller_is_told_and_the_object_is_the_new_one(
        self, proxy: FaultProxy, between: GcsObjectStore, gcs_store: GcsObjectStore
    ) -> None:
        gcs_store.put_bytes(KEY, b"1")
        version = gcs_store.read_versioned(KEY, 1).version
        proxy.faults.append(Fault(Kind.UNANSWERED, "POST", "upload"))

        with pytest.raises(ObjectReplacedError):
            between.replace(KEY, b"2", version)

        assert gcs_store.get_bytes(KEY) == b"2"

    @pytest.mark.parametrize("method", ["PATCH", "GET"])
    def test_a_hold_whose_answer_is_lost_is_set_once(
        self, proxy: FaultProxy, between: GcsObjectStore, gcs_store: GcsObjectStore, rules: GcsRules, method: str
    ) -> None:
        gcs_store.put_bytes(KEY, b"data")
        proxy.faults.append(Fault(Kind.UNANSWERED, method, _NAME))

        between.set_hold(KEY, held=True)

        assert proxy.faults[0].times == 0
        assert gcs_store.has_hold(KEY) is True
        assert stored(rules, gcs_store).metageneration == 2

    def test_a_deletion_whose_answer_is_lost_is_one(
        self, proxy: FaultProxy, between: GcsObjectStore, gcs_store: GcsObjectStore
    ) -> None:
        gcs_store.put_bytes(KEY, b"data")
        proxy.faults.append(Fault(Kind.UNANSWERED, "DELETE", _NAME))

        between.delete(KEY)

        assert gcs_store.stat(KEY) is None

    @pytest.mark.parametrize("method", ["POST", "PUT"])
    def test_an_upload_in_pieces_that_fails_leaves_nothing(
        self, proxy: FaultProxy, between: GcsObjectStore, gcs_store: GcsObjectStore, tmp_path: Path, method: str
    ) -> None:
        (tmp_path / "large").write_bytes(_MORE_THAN_ONE_REQUEST)
        proxy.faults.append(Fault(Kind.REFUSED, method, "upload", times=_FOR_EVER, status=403, code="forbidden"))

        with pytest.raises(RefusedByStoreError, match=KEY):
            between.put_file(KEY, tmp_path / "large")

        assert gcs_store.stat(KEY) is None

    def test_a_service_that_stays_down_is_named_and_an_upload_is_nobody_elses(
        self, proxy: FaultProxy, between: GcsObjectStore, tmp_path: Path
    ) -> None:
        """Whoever reads the id of an upload in a log could go on with it, without credentials."""
        (tmp_path / "large").write_bytes(_MORE_THAN_ONE_REQUEST)
        for fault in (
            Fault(Kind.REFUSED, "PUT", "upload", times=_FOR_EVER, status=503, code="backendError"),
            Fault(Kind.UNANSWERED, "PUT", "upload", times=_FOR_EVER),
            Fault(Kind.STALLED, "PUT", "upload", times=_FOR_EVER),
        ):
            proxy.faults[:] = [fault]
            with pytest.raises(ObjectStoreError, match=KEY) as caught:
                between.put_file(KEY, tmp_path / "large")

            assert type(caught.value) is ObjectStoreError  # passing: the next run may succeed
            upload_ids = {request.partition("upload_id=")[2] for request in proxy.requests} - {""}
            assert upload_ids
            assert not any(upload_id in str(caught.value) for upload_id in upload_ids)
            if fault.kind is Kind.REFUSED:
                assert "503 backendError" in str(caught.value)


class TestReading:
    def test_a_transfer_that_is_cut_goes_on(
        self, proxy: FaultProxy, between: GcsObjectStore, gcs_store: GcsObjectStore, tmp_path: Path
    ) -> None:
        gcs_store.put_bytes(KEY, SEVERAL_BUFFERS)
        proxy.faults += [Fault(Kind.CUT, "GET", "alt=media", times=2), Fault(Kind.STALLED, "GET", "alt=media")]

        between.download(KEY, tmp_path / "copy")

        assert (tmp_path / "copy").read_bytes() == SEVERAL_BUFFERS
        assert [fault.times for fault in proxy.faults] == [0, 0]

    def test_one_that_never_goes_on_is_an_error_and_leaves_no_file(
        self, proxy: FaultProxy, between: GcsObjectStore, gcs_store: GcsObjectStore, tmp_path: Path
    ) -> None:
        gcs_store.put_bytes(KEY, SEVERAL_BUFFERS)
        proxy.faults.append(Fault(Kind.UNANSWERED, "GET", "alt=media", times=_FOR_EVER))

        for read in (
            between.get_bytes,
            lambda key: between.download(key, tmp_path / "copy"),
            lambda key: between.read_versioned(key, len(SEVERAL_BUFFERS)),
        ):
            with pytest.raises(ObjectStoreError, match=KEY) as caught:
                read(KEY)
            assert not isinstance(caught.value, ObjectMissingError)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("status", "code", "error"),
        [
            (403, "forbidden", RefusedByStoreError),
            (401, "authError", RefusedByStoreError),
            (400, "invalid", RefusedByStoreError),
            (501, "notImplemented", UnsupportedByStoreError),
            (403, "rateLimitExceeded", ObjectStoreError),
            (429, "rateLimitExceeded", ObjectStoreError),
            (500, "backendError", ObjectStoreError),
            (503, "backendError", ObjectStoreError),
        ],
    )
    def test_what_is_refused_is_never_missing(
        self, proxy: FaultProxy, between: GcsObjectStore, status: int, code: str, error: type[ObjectStoreError]
    ) -> None:
        proxy.faults.append(Fault(Kind.REFUSED, "GET", times=_FOR_EVER, status=status, code=code))
        reads: list[Callable[[str], object]] = [
            between.get_bytes,
            between.stat,
            between.has_hold,
            lambda key: list(between.list(key)),
            between.delete,
        ]

        for read in reads:
            with pytest.raises(ObjectStoreError) as caught:
                read(KEY)
            assert not isinstance(caught.value, ObjectMissingError)
            assert type(caught.value) is error

    def test_a_404_is_no_absence_while_nobody_can_tell_whether_the_bucket_is_there(
        self, proxy: FaultProxy, between: GcsObjectStore
    ) -> None:
        proxy.faults.append(Fault(Kind.REFUSED, "GET", "/o?", times=_FOR_EVER, status=503, code="backendError"))

        with pytest.raises(ObjectStoreError) as caught:
            between.stat(KEY)

        assert type(caught.value) is ObjectStoreError

    @pytest.mark.parametrize("kind", [Kind.CUT, Kind.REFUSED])
    def test_a_listing_that_breaks_off_is_an_error(
        self, proxy: FaultProxy, between: GcsObjectStore, gcs_store: GcsObjectStore, kind: Kind
    ) -> None:
        for number in range(3):
            gcs_store.put_bytes(f"a/{number}", b"")
        proxy.faults.append(Fault(kind, "GET", "/o?", times=_FOR_EVER))

        with pytest.raises(ObjectStoreError):
            list(between.list("a/"))
