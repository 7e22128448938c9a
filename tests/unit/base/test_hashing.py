from __future__ import annotations

import hashlib
import os
import signal
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.base import hashing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

WITH_HASHLIB, WITH_DATAFUSION = 10**6, -1


@pytest.fixture(params=[WITH_HASHLIB, WITH_DATAFUSION], ids=["hashlib", "datafusion"], scope="module", autouse=True)
def _few(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "_FEW", request.param)
        yield


def digests_of(values: list[bytes]) -> list[bytes]:
    return [hashlib.sha256(value).digest() for value in values]


@given(st.lists(st.tuples(*[st.none() | st.binary(max_size=100)] * 3)), st.data())
def test_each_row_is_hashed_as_its_joined_values(rows: list[tuple[bytes | None, ...]], data: st.DataObject) -> None:
    columns = [pa.array([row[number] for row in rows], pa.binary()) for number in range(3)]
    start = data.draw(st.integers(0, len(rows)))
    count = data.draw(st.integers(0, len(rows) - start))

    digests = hashing.sha256_of_joined([column.slice(start, count) for column in columns])

    assert digests.shape == (count, 32)
    assert digests.dtype == np.uint8
    expected = digests_of([b"".join(value or b"" for value in row) for row in rows[start : start + count]])
    assert [row.tobytes() for row in digests] == expected


@given(st.integers(0, 40), st.integers(1, 70), st.randoms(use_true_random=False))
def test_fixed_width_rows_are_hashed_one_by_one(count: int, width: int, random: Random) -> None:
    rows = np.frombuffer(random.randbytes(count * width), dtype=np.uint8).reshape(count, width)

    assert [row.tobytes() for row in hashing.sha256_of_rows(rows)] == digests_of([row.tobytes() for row in rows])


def test_rows_that_are_not_contiguous_are_hashed_as_they_read() -> None:
    rows = np.arange(600, dtype=np.uint16).astype(np.uint8).reshape(20, 30)[::2, ::3]

    assert [row.tobytes() for row in hashing.sha256_of_rows(rows)] == digests_of([row.tobytes() for row in rows])


def test_order_survives_batches_larger_than_those_of_the_engine() -> None:
    values = [b"%d" % number for number in range(30_000)]

    digests = hashing.sha256_of_joined([pa.array(values, pa.binary())])

    assert digests.tobytes() == b"".join(digests_of(values))


def test_a_null_of_a_single_column_is_nothing() -> None:
    digests = hashing.sha256_of_joined([pa.array([b"a", None, b""], pa.binary())])

    assert digests.tobytes() == b"".join(digests_of([b"a", b"", b""]))


def test_more_bytes_than_one_array_holds_are_hashed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "MOST_BYTES_AT_ONCE", 100)
    values = [bytes([number]) * number for number in range(200)]
    rows = np.arange(9 * 64, dtype=np.uint16).astype(np.uint8).reshape(9, 64)

    assert hashing.sha256_of_joined([pa.array(values), pa.array(values)]).tobytes() == b"".join(
        digests_of([value * 2 for value in values])
    )
    assert [row.tobytes() for row in hashing.sha256_of_rows(rows)] == digests_of([row.tobytes() for row in rows])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_has_hashed_can_fork_and_the_child_can_hash() -> None:
    column = pa.array([b"%d" % number for number in range(2_000)])
    expected = hashing.sha256_of_joined([column]).tobytes()

    child = os.fork()
    if child == 0:
        signal.alarm(900)
        os._exit(0 if hashing.sha256_of_joined([column]).tobytes() == expected else 1)

    assert os.waitpid(child, 0)[1] == 0
