"""Keyed hashes of many values at once.

Here: AES-CMAC, vectorised. Not here: the keys (keys.py).

AES-CMAC (NIST SP 800-38B, RFC 4493) is a keyed hash that nobody can compute or tell from chance without the key. A
library computes it of one value at a time; here all values take their next block together, so that the time goes into
AES and not into calls. BLAKE2b, value by value, takes twenty times as long (decision 65).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt
    import pyarrow as pa
    from cryptography.hazmat.primitives.ciphers import CipherContext

_BLOCK: Final = 16
_HALVES: Final = 2
_PADDING: Final = 0x80
_POLYNOMIAL: Final = 0x87
_ALL: Final = (1 << 8 * _BLOCK) - 1
_NUMBER: Final = np.dtype("<u8")
_WHOLE: Final = np.dtype(f"V{_BLOCK}")
# As many values at a time as stay in a processor's own cache with what is computed of them.
_AT_ONCE: Final = 2_048


def _blocks(of_lengths: Iterable[bytes]) -> npt.NDArray[np.void]:
    return np.frombuffer(b"".join(of_lengths), dtype=_WHOLE)


# What is kept of a value's last block, by how many bytes of it there are.
_KEPT: Final = _blocks(b"\xff" * there + bytes(_BLOCK - there) for there in range(_BLOCK + 1))


class Hasher:
    """Hashes values under one key; for one thread at a time.

    Args:
        key: 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        # Each value is a chain of its own, and its blocks go through the cipher one after the other: chaining is what
        # the caller of the bare cipher does.
        self._cipher: CipherContext = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - CMAC's chain
        full = _doubled(int.from_bytes(self._cipher.update(bytes(_BLOCK)), "big"))
        padded = _doubled(full)
        padding = [_PADDING << 8 * (_BLOCK - 1 - there) for there in range(_BLOCK)]
        # What is added to the last block, by how many bytes of it there are: the padding and the second subkey, or the
        # first subkey where it is full.
        self._added = _blocks((padded ^ each).to_bytes(_BLOCK, "big") for each in padding)
        self._added = np.concatenate([self._added, _blocks([full.to_bytes(_BLOCK, "big")])])

    def hashes(self, values: pa.Array) -> npt.NDArray[np.uint64]:
        """The first 64 bits, as a little-endian number, of the CMAC of each value's UTF-8 bytes; shape (values,).

        Args:
            values: strings with 32-bit offsets, none of them null.
        """
        pieces = [self._hashes(values.slice(first, _AT_ONCE)) for first in range(0, len(values), _AT_ONCE)]
        return np.concatenate(pieces) if pieces else np.empty(0, dtype=_NUMBER)

    def _hashes(self, values: pa.Array) -> npt.NDArray[np.uint64]:
        _, offsets, data = values.buffers()
        ends = np.frombuffer(offsets, dtype=np.int32)[values.offset : values.offset + len(values) + 1].astype(np.int64)
        text = np.zeros(int(ends[-1] - ends[0]) + _BLOCK, dtype=np.uint8)
        if data is not None:
            text[:-_BLOCK] = np.frombuffer(data, dtype=np.uint8)[ends[0] : ends[-1]]
        # A block can begin at any byte.
        blocks: npt.NDArray[np.void] = np.ndarray(
            (len(text) - _BLOCK + 1,), dtype=_WHOLE, buffer=text.data, strides=(1,)
        )
        starts, lengths = ends[:-1] - ends[0], np.diff(ends)
        before_last = np.maximum(lengths - 1, 0) // _BLOCK
        found = np.empty(len(values), dtype=_NUMBER)
        for count in np.flatnonzero(np.bincount(before_last)).tolist():
            chosen = np.flatnonzero(before_last == count)
            found[chosen] = self._chained(blocks, starts[chosen], lengths[chosen], count)
        return found

    def _chained(
        self,
        blocks: npt.NDArray[np.void],
        starts: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        before_last: int,
    ) -> npt.NDArray[np.uint64]:
        """The hashes of values that have so many blocks before their last one."""
        state = np.zeros(_HALVES * len(starts), dtype=_NUMBER)
        for number in range(before_last):
            state = self._encrypted(state ^ blocks[starts + number * _BLOCK].view(_NUMBER))
        there = lengths - before_last * _BLOCK
        last: npt.NDArray[np.uint64] = blocks[starts + before_last * _BLOCK].view(_NUMBER) & _KEPT[there].view(_NUMBER)
        return self._encrypted(state ^ last ^ self._added[there].view(_NUMBER))[::_HALVES]

    def _encrypted(self, state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        return np.frombuffer(self._cipher.update(state.tobytes()), dtype=_NUMBER)


def _doubled(number: int) -> int:
    """Twice the number in the field of RFC 4493."""
    twice = number << 1
    return twice & _ALL ^ _POLYNOMIAL if twice >> 8 * _BLOCK else twice
