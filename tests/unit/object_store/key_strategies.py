"""Sets of keys for property tests, with the neighbours that a directory walk puts in the wrong order."""

from __future__ import annotations

from hypothesis import strategies as st

# '!', '-' and '.' sort before '/', the rest after it; the last two are two and four bytes long.
_SEGMENTS = st.text(alphabet="ab!-.0~é🂡", min_size=1, max_size=4).filter(lambda segment: segment not in {".", ".."})

KEYS = st.lists(_SEGMENTS, min_size=1, max_size=4).map("/".join)


def _without_continued_keys(keys: set[str]) -> set[str]:
    """Drop the keys that another one continues after a '/', which a store may refuse."""
    return {key for key in keys if not any(other.startswith(f"{key}/") for other in keys)}


KEY_SETS = st.sets(KEYS, max_size=12).map(_without_continued_keys)


@st.composite
def key_beginnings(draw: st.DrawFn) -> str:
    """The beginning of a key, which may end in the middle of a segment, or nothing."""
    key = draw(KEYS)
    return key[: draw(st.integers(0, len(key)))]


def in_byte_order(keys: set[str]) -> list[str]:
    return sorted(keys, key=str.encode)
