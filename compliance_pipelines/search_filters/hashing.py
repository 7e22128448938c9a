"""Keyed hashes of many values at once.

Here: AES-CMAC, vectorised. Not here: the keys (keys.py).

AES-CMAC (NIST SP 800-38B, RFC 4493) is a keyed hash that nobody can compute or tell from chance without the key. A
library computes it of one value at a time; here all values take their next block together, so that the time goes into
AES and not into calls. BLAKE2b, value by value, takes three times as long (decision 65).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa
    from cryptography.hazmat.primitives.ciphers import CipherContext

_BLOCK: Final = 16
_HALVES: Final = 2
_NUMBER: Final = np.dtype("<u8")
_PADDING: Final = 0x80
_POLYNOMIAL: Final = 0x87
_ALL: Final = (1 << 8 * _BLOCK) - 1


def _halves(blocks: bytes) -> npt.NDArray[np.uint64]:
    """Blocks as two numbers each, shape (blocks, 2)."""
    return np.frombuffer(blocks, dtype=_NUMBER).reshape(-1, _HALVES)


# By how many bytes of a value's last block there are: which are kept, and the padding after them.
_KEPT: Final = _halves(b"".join(b"\xff" * there + bytes(_BLOCK - there) for there in range(_BLOCK + 1)))
_PADDED: Final = _halves(
    b"".join((bytes(there) + bytes([_PADDING]) + bytes(_BLOCK))[:_BLOCK] for there in range(_BLOCK + 1))
)


class Hasher:
    """Hashes values under one key; for one thread at a time.

    Args:
        key: 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        # Each value is a chain of its own, and its blocks go through the cipher one after the other: chaining is what
        # the caller of the bare cipher does.
        self._cipher: CipherContext = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - CMAC's chain
        first = _doubled(int.from_bytes(self._cipher.update(bytes(_BLOCK)), "big"))
        padded, full = _doubled(first).to_bytes(_BLOCK, "big"), first.to_bytes(_BLOCK, "big")
        # The last block gets the first subkey where it is full, else the second one.
        self._subkeys = np.repeat(_halves(padded), _BLOCK + 1, axis=0)
        self._subkeys[_BLOCK] = _halves(full)[0]

    def hashes(self, values: pa.Array) -> npt.NDArray[np.uint64]:
        """The first 64 bits, as a little-endian number, of the CMAC of each value's UTF-8 bytes; shape (values,).

        Args:
            values: strings with 32-bit offsets, none of them null.
        """
        if not len(values):
            return np.empty(0, dtype=_NUMBER)
        _, offsets, data = values.buffers()
        ends = np.frombuffer(offsets, dtype=np.int32)[values.offset : values.offset + len(values) + 1].astype(np.int64)
        text = np.zeros(int(ends[-1] - ends[0]) + _BLOCK, dtype=np.uint8)
        if data is not None:
            text[:-_BLOCK] = np.frombuffer(data, dtype=np.uint8)[ends[0] : ends[-1]]
        # A block can begin at any byte.
        blocks = np.ndarray((len(text) - _BLOCK + 1,), dtype=f"V{_BLOCK}", buffer=text.data, strides=(1,))
        starts, lengths = ends[:-1] - ends[0], np.diff(ends)
        before_last = np.maximum(lengths - 1, 0) // _BLOCK
        found = np.empty(len(values), dtype=_NUMBER)
        for count in np.unique(before_last):
            chosen = np.flatnonzero(before_last == count)
            found[chosen] = self._chained(blocks, starts[chosen], lengths[chosen], int(count))
        return found

    def _chained(
        self,
        blocks: npt.NDArray[np.void],
        starts: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        before_last: int,
    ) -> npt.NDArray[np.uint64]:
        """The hashes of values that have so many blocks before their last one."""
        state = np.zeros((len(starts), _HALVES), dtype=_NUMBER)
        for number in range(before_last):
            state = self._encrypted(state ^ _taken(blocks, starts + number * _BLOCK))
        rest = lengths - before_last * _BLOCK
        last = _taken(blocks, starts + before_last * _BLOCK) & _KEPT[rest] ^ _PADDED[rest] ^ self._subkeys[rest]
        return self._encrypted(state ^ last)[:, 0]

    def _encrypted(self, state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        return _halves(self._cipher.update(state.tobytes()))


def _taken(blocks: npt.NDArray[np.void], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    return blocks[starts].view(_NUMBER).reshape(-1, _HALVES)


def _doubled(number: int) -> int:
    """Twice the number in the field of RFC 4493."""
    twice = number << 1
    return twice & _ALL ^ _POLYNOMIAL if twice >> 8 * _BLOCK else twice
