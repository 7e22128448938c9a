from __future__ import annotations

from typing import TYPE_CHECKING, Self

import pytest

from compliance_pipelines.object_store.bounded import read_bounded
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.object_store.port import ObjectMissingError, ObjectStoreError, OversizedObjectError

if TYPE_CHECKING:
    from pathlib import Path


def test_an_object_is_read_as_far_as_it_may_be_large(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    store.put_bytes("a/b", b"12345")
    assert read_bounded(store, "a/b", 5) == b"12345"
    with pytest.raises(OversizedObjectError, match="it has 5 bytes, and none has more than 4"):
        read_bounded(store, "a/b", 4)
    with pytest.raises(ObjectMissingError):
        read_bounded(store, "a/c", 4)


def test_a_tebibyte_is_not_loaded(tmp_path: Path) -> None:
    with (tmp_path / "giant").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OversizedObjectError, match="it has 1,099,511,627,776 bytes"):
        read_bounded(LocalObjectStore(tmp_path), "giant", 1_000)


def test_a_store_that_fails_while_it_is_read_is_an_error_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalObjectStore(tmp_path)

    class Broken:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def read(self, _most: int) -> bytes:
            raise OSError("input/output error")

    monkeypatch.setattr(store, "open", lambda _key: Broken())
    with pytest.raises(ObjectStoreError, match="input/output error"):
        read_bounded(store, "b", 10)
