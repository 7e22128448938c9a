"""Split-block Bloom filters over hashes of 64 bits.

Here: their size, their bytes, asking them. Not here: what is hashed, and how (hashing.py).

The layout is that of Parquet's specification ("Bloom Filter", split block Bloom filters: BloomFilter.md of
apache/parquet-format): blocks of eight words of 32 bits, little-endian; a value sets one bit of each word of one block.
The upper half of its hash chooses the block, the lower half the bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

BLOCK_BYTES: Final = 32
_WORDS: Final = 8
_WORD_BITS: Final = 32
_BLOCK_BITS: Final = _WORDS * _WORD_BITS
BITS_PER_VALUE: Final = 12
"""About one value in two hundred is believed to be there that is not: a quarter of what it is with nine bits."""

# The specification's eight odd numbers, one for each word.
_SALT: Final = (
    0x47B6137B,
    0x44974D91,
    0x8824AD5B,
    0xA2B7289D,
    0x705495C7,
    0x2DF1424B,
    0x9EFC4947,
    0x5C6BFB31,
)
_LOW: Final = 0xFFFFFFFF
_SHIFT: Final = 27


def bytes_for(values: int) -> int:
    """How many bytes the filter of so many distinct values has."""
    return BLOCK_BYTES * max(1, -(-values * BITS_PER_VALUE // _BLOCK_BITS))


def filter_of(hashes: npt.NDArray[np.uint64]) -> bytes:
    """The filter of hashes.

    Args:
        hashes: distinct and in ascending order, shape (values,).
    """
    words = np.zeros((bytes_for(len(hashes)) // BLOCK_BYTES, _WORDS), dtype=np.dtype("<u4"))
    if len(hashes):
        block = ((hashes >> np.uint64(_WORD_BITS)) * np.uint64(len(words))) >> np.uint64(_WORD_BITS)
        # The larger the hash, the later the block: those of a block follow each other.
        firsts = np.flatnonzero(np.concatenate([[True], block[1:] != block[:-1]]))
        low = hashes.astype(np.uint32)
        for number, salt in enumerate(_SALT):
            bits = np.uint32(1) << (low * np.uint32(salt) >> np.uint32(_SHIFT))
            words[block[firsts].astype(np.int64), number] = np.bitwise_or.reduceat(bits, firsts)
    return words.tobytes()


def may_contain(bits: bytes, hashed: int) -> bool:
    """Whether a hash may have been put in; False is certain.

    Args:
        bits: a filter, whole blocks.
        hashed: of 64 bits.
    """
    start = ((hashed >> _WORD_BITS) * (len(bits) // BLOCK_BYTES) >> _WORD_BITS) * BLOCK_BYTES
    block = int.from_bytes(bits[start : start + BLOCK_BYTES], "little")
    low = hashed & _LOW
    return all(
        block >> (number * _WORD_BITS + ((low * salt & _LOW) >> _SHIFT)) & 1 for number, salt in enumerate(_SALT)
    )
