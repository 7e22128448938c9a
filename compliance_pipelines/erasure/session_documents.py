"""What the keys of sessions say: whose one is, and when it was used.

Here: from keys to facts, for every kind of session. Not here: what is done with them (sessions.py, and the retention of
idle ones).

| key | value | written by |
|---|---|---|
| `session:{id}` | hash with `user_id`, `created_at`, `last_accessed` | mcp-server-langgraph, sessions of logins |
| `session:{id}` | JSON in a string with `user_id`, `created_at`, `updated_at` | the same, playground |
| `session:user:{user}:{id}` | the same JSON again | the same, playground |

The user inside decides whose a session is. The name of the third kind says it too; but user ids contain colons, and
`session:user:alice:x:1` may be a session of `alice` or of `alice:x`. So the name only confirms what stands inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.base.strict_json import MalformedJsonError, parse_strictly
from compliance_pipelines.erasure.redis_scan import by_type, each_answer, moment_of_iso
from compliance_pipelines.erasure.sightings import user_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from compliance_pipelines.conversations.connection import Client

SESSION: Final = "session:"
HASH_FIELDS: Final = ("user_id", "created_at", "last_accessed")
_USER: Final = b"session:user:"
# A session of the playground has all of its messages in it.
_AT_ONCE: Final = 50
_MOST_BYTES: Final = 64 * 2**20
_MOST_VALUES: Final = 5_000_000


class SessionKind(StrEnum):
    """In which form a session is stored."""

    HASH = "hash"
    TEXT = "text"


@dataclass(frozen=True)
class SessionFacts:
    """One key under `session:`.

    Attributes:
        key: its name.
        kind: its form; None where it is none that a session has.
        owner: the user that it names, as bytes; None where it names none.
        created: when it was made; None where nothing says.
        used: when it was used last; None where nothing says.
        content: everything in it, where it names no user; None where it does, or could not be read.
        unreadable: why it could not be read, or its user not; None where it could.
        raw: what was read, for comparing it with what is there later.
    """

    key: bytes
    kind: SessionKind | None
    owner: bytes | None = None
    created: datetime | None = None
    used: datetime | None = None
    content: Any = None
    unreadable: str | None = None
    raw: tuple[bytes | None, ...] = ()

    @property
    def has_name_of_user(self) -> bool:
        """Whether its name says that it is of the kind that has the user in it."""
        return self.key.startswith(_USER) and b":" in self.key[len(_USER) :]

    def is_named_after(self, user_id: bytes) -> bool:
        """Whether its name can be `session:user:{user}:{id}` with this user."""
        return self.key.startswith(_USER + user_id + b":")

    @property
    def session_id(self) -> str:
        """Its id, which for a session of the playground is the id of its conversation, too."""
        name = self.key[len(SESSION) :]
        if self.owner is not None and self.is_named_after(self.owner):
            name = self.key[len(_USER) + len(self.owner) + 1 :]
        return name.decode("utf-8", "surrogateescape")

    @property
    def contradicts_its_name(self) -> bool:
        """Whether it names another user inside than its name can mean."""
        return self.owner is not None and self.has_name_of_user and not self.is_named_after(self.owner)


def read_sessions(client: Client, keys: Sequence[bytes]) -> Iterator[SessionFacts]:
    """What some keys say; those that are gone by now are left out.

    Raises:
        RedisError: Redis did not answer, or refused. What could not be looked at is not absent.
    """
    types = by_type(client, keys)
    yield from _hashes(client, types.pop("hash", []))
    texts = types.pop("string", [])
    for start in range(0, len(texts), _AT_ONCE):
        some = texts[start : start + _AT_ONCE]
        for key, value in zip(some, each_answer(client, "GET", some), strict=True):
            if value is not None:
                yield _of_text(key, value)
    for name, others in types.items():
        for key in others:
            yield SessionFacts(key, None, unreadable=f"it is a {name}, and a session is a hash or a text")


def _hashes(client: Client, keys: Sequence[bytes]) -> Iterator[SessionFacts]:
    without_user = []
    for key, values in zip(keys, each_answer(client, "HMGET", keys, *HASH_FIELDS), strict=True):
        owner, created, used = values
        if owner:
            made, last = moment_of_iso(created), moment_of_iso(used)
            yield SessionFacts(key, SessionKind.HASH, owner, made, _latest(made, last), raw=(owner, created, used))
        else:
            without_user.append(key)
    for key, fields in zip(without_user, each_answer(client, "HGETALL", without_user), strict=True):
        values = _pairs(fields)
        if values:
            owner, created, used = (values.get(name.encode()) for name in HASH_FIELDS)
            made, last = moment_of_iso(created), moment_of_iso(used)
            content = {_text(name): _nested(value) for name, value in values.items()}
            raw = (owner, created, used)
            # It may have been given a user between the two looks.
            yield SessionFacts(
                key, SessionKind.HASH, owner or None, made, _latest(made, last), content=content, raw=raw
            )


def _of_text(key: bytes, value: bytes) -> SessionFacts:
    try:
        content = parse_strictly(value, most_bytes=_MOST_BYTES, most_values=_MOST_VALUES)
    except MalformedJsonError as error:
        return SessionFacts(key, SessionKind.TEXT, unreadable=f"it is no JSON: {error}", raw=(value,))
    if not isinstance(content, dict):
        return SessionFacts(key, SessionKind.TEXT, content=content, raw=(value,))
    said = content.get("user_id")
    owner = user_of(said)
    made = moment_of_iso(content.get("created_at"))
    used = _latest(made, moment_of_iso(content.get("updated_at")), moment_of_iso(content.get("last_accessed")))
    unreadable = None
    if owner is None and said not in (None, ""):
        unreadable = f"its user_id is a {type(said).__name__}, and a user is a text"
    return SessionFacts(
        key,
        SessionKind.TEXT,
        None if owner is None else owner.encode(),
        made,
        used,
        content=content if owner is None else None,
        unreadable=unreadable,
        raw=(value,),
    )


def _pairs(fields: Any) -> dict[bytes, bytes]:  # noqa: ANN401 - a dict of redis-py's, or the list that Redis sent
    if isinstance(fields, dict):
        return fields
    return dict(zip(fields[::2], fields[1::2], strict=True))


def _latest(*moments: datetime | None) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _nested(value: bytes) -> Any:  # noqa: ANN401 - any JSON value, or a text
    """The value of a hash's field: fields of a session hold JSON, or texts."""
    if value[:1] in {b"{", b"[", b'"'}:
        try:
            return parse_strictly(value, most_bytes=_MOST_BYTES, most_values=_MOST_VALUES)
        except MalformedJsonError:
            pass
    return _text(value)
