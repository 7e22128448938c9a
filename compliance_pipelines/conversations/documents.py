"""What the savers' documents say: ids, time, user.

Here: values of a few JSON paths become facts. Not here: fetching them (store.py), and what follows (survey.py).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from compliance_pipelines.conversations.keys import stored_id, stored_namespace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CHECKPOINT_FIELDS: Final = "$['thread_id','checkpoint_ns','checkpoint_id','checkpoint_ts','metadata']"
AGE_FIELDS: Final = "$['thread_id','checkpoint_ns','checkpoint_id','checkpoint_ts']"
CHECKPOINT_TIME: Final = "$.checkpoint.ts"
CHANNEL_USER: Final = "$.checkpoint.channel_values.user_id"
INPUT_USER: Final = "$.checkpoint.channel_values.__start__.user_id"
WRITE_FIELDS: Final = "$['thread_id','checkpoint_ns','checkpoint_id']"
BLOB_FIELDS: Final = "$['thread_id','checkpoint_ns']"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# 100 ns intervals between 1582-10-15, where UUIDs begin to count, and 1970 (RFC 9562, section 5.1).
_UUID_EPOCH: Final = 0x01B21DD213814000
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-6[0-9a-fA-F]{3}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_LAST_TICK: Final = 2**60 - 1
_IDS: Final = 3
# Year 2262; later "times" are garbage.
_LATEST_MICROSECONDS: Final = 9_223_372_036_000_000


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(value: int) -> datetime:
    """The datetime of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=value)


def time_of_id(checkpoint_id: str) -> int | None:
    """The time in a UUIDv6 (RFC 9562, section 5.6), in microseconds since 1970; None where the id is none."""
    if _UUID.fullmatch(checkpoint_id) is None:
        return None
    ticks = int(checkpoint_id[:8] + checkpoint_id[9:13] + checkpoint_id[15:18], 16)
    return _plausible((ticks - _UUID_EPOCH) // 10)


def ticks_of(moment: int) -> int:
    """The count in a UUIDv6 of a moment in microseconds since 1970, within what such an id can hold."""
    return min(max(moment * 10 + _UUID_EPOCH, 0), _LAST_TICK)


def time_of_text(text: object) -> int | None:
    """The time in an ISO 8601 text, in microseconds since 1970; without an offset it is taken as UTC."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return _plausible(microseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC)))


def time_of_number(value: object, *, per_second: int) -> int | None:
    """The time in a number since 1970, in microseconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return _plausible(int(value * (1_000_000 // per_second)))
    except (OverflowError, ValueError):
        return None


def _plausible(value: int) -> int | None:
    return value if 0 <= value <= _LATEST_MICROSECONDS else None


class DocumentIds(NamedTuple):
    """Where a document belongs, in stored form."""

    thread_id: str
    namespace: str
    checkpoint_id: str


class CheckpointFacts(NamedTuple):
    """What a checkpoint's document says.

    Attributes:
        time: microseconds since 1970, or None where neither the document nor its id tells.
        user_id: the user that this checkpoint names, or None.
        is_ahead: whether its own time or the one in its id lies ahead of the present.
    """

    ids: DocumentIds
    time: int | None
    user_id: str | None = None
    is_ahead: bool = False


def read_ids(values: Sequence[Any] | None) -> DocumentIds | None:
    """The ids of a document; None where it is no saver's."""
    if not isinstance(values, list) or len(values) < _IDS:
        return None
    thread_id, namespace, checkpoint_id = values[:_IDS]
    if not (isinstance(thread_id, str | int) and isinstance(namespace, str) and isinstance(checkpoint_id, str)):
        return None
    return DocumentIds(stored_id(thread_id), stored_namespace(namespace), stored_id(checkpoint_id))


def read_blob_ids(values: Any) -> DocumentIds | None:  # noqa: ANN401 - JSON
    """The ids of a blob, which has none of a checkpoint; None where it is no saver's."""
    return read_ids([*values, ""]) if isinstance(values, list) else None


def read_checkpoint(
    values: Mapping[str, Sequence[Any]] | None, latest: int | None = None, *, fields: str = CHECKPOINT_FIELDS
) -> CheckpointFacts | None:
    """The facts of a checkpoint from the values of its paths; None where it is no saver's document.

    The time is the checkpoint's own (`ts`), else that in its id, else the time of writing. What lies ahead of the
    present is not believed; then the time of writing counts, if the saver kept it. The user is the first of the
    checkpoint's metadata, its channel `user_id`, its input's `user_id`.

    Args:
        values: the values of each path.
        latest: the last moment that is not ahead of the present, in microseconds since 1970; None: nothing is.
        fields: the path of ids, time of writing and metadata, or :data:`AGE_FIELDS`, which leaves the last out.
    """
    if not isinstance(values, dict):
        return None
    found_fields = values[fields]
    ids = read_ids(found_fields)
    if ids is None:
        return None
    written: int | None = None
    user: str | None = None
    for value in found_fields[_IDS:]:
        if isinstance(value, str | dict):
            user = user or _user_of_metadata(value)
        else:
            written = time_of_number(value, per_second=1000)
    own = values[CHECKPOINT_TIME]
    moment = time_of_text(own[0]) if own else None
    of_id = time_of_id(ids.checkpoint_id)
    is_ahead = latest is not None and max(moment or 0, of_id or 0) > latest
    time = next((each for each in (moment, of_id) if each is not None), None)
    if time is None or (latest is not None and time > latest):
        time = written if written is None or latest is None or written <= latest else None
    for path in (CHANNEL_USER, INPUT_USER):
        found = values.get(path)
        user = user or (_user(found[0]) if found else None)
    return CheckpointFacts(ids, time, user, is_ahead)


def _user(value: object) -> str | None:
    """A user id; only texts and whole numbers are taken for one."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _user_of_metadata(metadata: str | dict[str, Any]) -> str | None:
    if isinstance(metadata, str):
        # Most metadata names no user; then it need not be parsed.
        if "user_id" not in metadata:
            return None
        try:
            parsed = json.loads(metadata)
        except ValueError:
            return None
        if not isinstance(parsed, dict):
            return None
        metadata = parsed
    return _user(metadata.get("user_id"))


@dataclass(frozen=True, slots=True)
class ConversationNote:
    """What mcp-server-langgraph notes on a conversation.

    Attributes:
        user_id: whose it is.
        created: microseconds since 1970.
        last_activity: microseconds since 1970.
        archived: whether it was archived.
        deleted: whether it was deleted softly.
        tags: its tags.
    """

    user_id: str | None = None
    created: int | None = None
    last_activity: int | None = None
    archived: bool = False
    deleted: bool = False
    tags: tuple[str, ...] = ()


def read_note(value: bytes | None) -> ConversationNote:
    """The note in a value of `conversation:metadata:{thread}`; an empty one where it cannot be read."""
    try:
        content = json.loads(value or b"")
    except ValueError:
        return ConversationNote()
    if not isinstance(content, dict):
        return ConversationNote()
    tags = content.get("tags")
    named = tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()

    def is_in_state(state: str) -> bool:
        flags = (content.get(state), content.get(f"is_{state}"), content.get(f"{state}_at"))
        return any(flags) or content.get("status") == state or state in named

    return ConversationNote(
        user_id=_user(content.get("user_id")),
        created=_time(content.get("created_at")),
        last_activity=_time(content.get("last_activity")),
        archived=is_in_state("archived"),
        deleted=is_in_state("deleted"),
        tags=named,
    )


def _time(value: object) -> int | None:
    return time_of_text(value) if isinstance(value, str) else time_of_number(value, per_second=1)
