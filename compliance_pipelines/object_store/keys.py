r"""The rules for keys, the same in every store, so that an archive can move from one to another.

Here: what a key may look like. Not here: how an adapter maps a key to a path or a request.

A key is 1 to 1,024 bytes of UTF-8 (the limit of S3 and GCS) in segments separated by '/'. A segment has 1 to 255 bytes
(the limit of file systems), is neither '.' nor '..', and has no control character and no backslash. The first segment
is not `.object-store`, where the local store keeps what is not an object.
"""

from __future__ import annotations

import re
from typing import Final

from compliance_pipelines.object_store.port import InvalidKeyError

RESERVED_SEGMENT: Final = ".object-store"
_MAX_KEY_BYTES: Final = 1024
_MAX_SEGMENT_BYTES: Final = 255
_CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def key_problem(key: str) -> str | None:
    """Why a string cannot be a key, or None when it can."""
    return _characters_problem(key) or _segments_problem(key.split("/"))


def check_key(key: str) -> None:
    """Let a key pass.

    Raises:
        InvalidKeyError: it breaks a rule.
    """
    problem = key_problem(key)
    if problem is not None:
        raise InvalidKeyError(f"{key!r} cannot be the key of an object: {problem}")


def check_prefix(prefix: str) -> None:
    """Let the beginning of a key pass; it may be empty, and it may end in the middle of a segment.

    Raises:
        InvalidKeyError: no key can begin like this.
    """
    complete_segments = prefix.split("/")[:-1]
    problem = _characters_problem(prefix) or _segments_problem(complete_segments)
    if problem is not None:
        raise InvalidKeyError(f"no key of an object can begin with {prefix!r}: {problem}")


def _characters_problem(text: str) -> str | None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if size > _MAX_KEY_BYTES:
        return f"it has {size} bytes, {_MAX_KEY_BYTES} are possible"
    if "\\" in text:
        return "it has a backslash"
    if _CONTROL_CHARACTER.search(text):
        return "it has a control character"
    return None


def _segments_problem(segments: list[str]) -> str | None:
    if segments and segments[0] == RESERVED_SEGMENT:
        return f"{RESERVED_SEGMENT} is reserved"
    for segment in segments:
        if not segment:
            return "it is empty, or a '/' has nothing before or after it"
        if segment in {".", ".."}:
            return f"it has the segment {segment!r}"
        size = len(segment.encode())
        if size > _MAX_SEGMENT_BYTES:
            return f"a segment has {size} bytes, {_MAX_SEGMENT_BYTES} are possible"
    return None
