"""mcp-server-langgraph's notes on conversations, in whatever Redis they lie.

Here: `conversation:metadata:{thread}`, JSON in a string with `user_id`, a title and times; which notes go, and which
must stay until their conversation is gone. Not here: conversations (threads.py), whose erasure takes the note beside
them along.

The server that writes the notes keeps them in another database than the checkpoints (2 and 1, by its defaults). A note
may be the only thing that says whose a conversation is. Such a note is not deleted while the conversation is there:
then nobody could ever tell again whose it was.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.base.strict_json import MalformedJsonError, parse_strictly
from compliance_pipelines.conversations.environment import check_environment
from compliance_pipelines.conversations.keys import KeyLayout
from compliance_pipelines.conversations.store import open_store
from compliance_pipelines.conversations.survey import OwnerRule, take_survey
from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.redis_scan import (
    by_type,
    day_of_epoch,
    day_of_iso,
    each_answer,
    keys_with_prefix,
    location_of,
    open_redis,
    shown,
    unlink,
    without_foreign,
)
from compliance_pipelines.erasure.sightings import Sightings, mentions, names_in_key, user_of
from compliance_pipelines.erasure.targets import Findings, Item

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date
    from uuid import UUID

    from compliance_pipelines.conversations.connection import Client
    from compliance_pipelines.conversations.threads import ThreadFacts
    from compliance_pipelines.settings import Settings

_NOTE: Final = "conversation:metadata:"
_DATA_TYPE: Final = "conversation_notes"
_CHECKPOINTS: Final = "CHECKPOINT_REDIS_URL"
_MOST_BYTES: Final = 16 * 2**20
_MOST_VALUES: Final = 1_000_000


@dataclass(frozen=True)
class NotePlace:
    """A Redis in which notes are looked for.

    Attributes:
        setting: that names it.
        client: gives bytes.
        location: what the certificate says.
    """

    setting: str
    client: Client
    location: str


@dataclass(frozen=True)
class _Note:
    """A key that is a note by its name; `user_id` is None where it names nobody, `problem` says why it is unread."""

    key: bytes
    user_id: str | None = None
    days: tuple[date | None, date | None] = (None, None)
    content: Any = None
    problem: str | None = None

    @property
    def thread_id(self) -> str:
        return self.key[len(_NOTE) :].decode("utf-8", "surrogateescape")


class NoteTarget:
    """The notes on conversations in every Redis where they may lie.

    Args:
        settings: name the Redis, and say how conversations are laid out and owned.
        places: where to look.

    Raises:
        TargetError: CONVERSATION_OWNER_PATTERN cannot be used.
        ConfigurationError: the key prefixes cannot be used.
    """

    name = "conversation_notes"

    def __init__(self, settings: Settings, places: Sequence[NotePlace]) -> None:
        self._settings = settings
        self._places = tuple(places)
        self.location = ", ".join(place.location for place in places)
        self._layout = KeyLayout(settings.checkpoint_redis_prefix, settings.checkpoint_redis_write_prefix)
        try:
            self._rule = OwnerRule(settings.conversation_owner_pattern)
        except (ValueError, re.error) as error:
            raise TargetError(f"CONVERSATION_OWNER_PATTERN cannot be used: {error}") from error

    @classmethod
    def from_settings(cls, settings: Settings) -> NoteTarget | None:
        """The notes of every Redis of the settings that may have some; None where there is none.

        Raises:
            ConfigurationError: a URL cannot be used.
            TargetError: see the class.
        """
        named = (
            ("GDPR_NOTES_REDIS_URL", settings.gdpr_notes_redis_url),
            (_CHECKPOINTS, settings.checkpoint_redis_url),
            ("GDPR_SESSION_REDIS_URL", settings.gdpr_session_redis_url),
            ("GDPR_PLAYGROUND_REDIS_URL", settings.gdpr_playground_redis_url),
        )
        places: dict[str, NotePlace] = {}
        checkpoints = settings.checkpoint_redis_url
        for setting, secret in named:
            if secret is None or (url := secret.get_secret_value()) in places:
                continue
            # A database that has the checkpoints is treated as theirs, whatever else it is named for.
            is_theirs = checkpoints is not None and url == checkpoints.get_secret_value()
            places[url] = NotePlace(
                _CHECKPOINTS if is_theirs else setting, open_redis(setting, url, settings), location_of(url)
            )
        return cls(settings, list(places.values())) if places else None

    def require_environment(self, environment: UUID | None) -> None:
        """Let only Redis of this environment pass.

        Raises:
            ConversationError: one is another environment's, or does not say.
            TransientError: one did not answer.
        """
        for place in self._places:
            check_environment(place.client, environment, setting=place.setting)

    def find(self, user_id: str) -> Findings:
        """The notes that name the person.

        Beside the checkpoints only those on conversations of others are found: the rest goes with its conversation.

        Raises:
            RedisError: a Redis did not answer, or not as it should.
            TransientError: the Redis of the checkpoints did not answer.
            ConversationError: it refused.
        """
        return self._look(user_id).findings()

    def _look(self, user_id: str) -> Sightings:
        whole = Sightings()
        mine: list[tuple[int, _Note]] = []
        for number, place in enumerate(self._places):
            seen = Sightings()
            for note in self._notes(place, seen):
                if note.user_id == user_id:
                    mine.append((number, note))
                elif note.user_id is None:
                    _report_nobodys(note, user_id, seen, f"{shown(note.key)} in {place.location}")
            # The same name may stand in two databases.
            for key, reported in seen.reported.items():
                whole.reported[_at(number, key)] = reported
            whole.unread.update((_at(number, key), why) for key, why in seen.unread.items())
            whole.foreign += seen.foreign
        threads = self._threads() if mine else {}
        for number, note in mine:
            self._judge(number, note, threads.get(note.thread_id), whole)
        return whole

    def _judge(self, number: int, note: _Note, thread: ThreadFacts | None, seen: Sightings) -> None:
        is_beside = self._places[number].setting == _CHECKPOINTS
        if is_beside and thread is not None and (not thread.users or note.user_id in thread.users):
            return  # conversations takes it along, or reports the conversation
        if not is_beside and thread is not None and not self._rule.owners(thread):
            why = "it alone says that the conversation is this person's, which is still there: delete that one first"
            seen.report(_DATA_TYPE, _at(number, note.key), why, is_theirs=True, reference=note.thread_id)
            return
        first, last = note.days
        reference = f"{number} {note.key.hex()}"
        seen.items[_at(number, note.key)] = Item(
            _DATA_TYPE, reference, thread_id=note.thread_id, first_day=first, last_day=last
        )

    def _threads(self) -> dict[str, ThreadFacts]:
        """The conversations that there are; none where the settings name no checkpoints."""
        if self._settings.checkpoint_redis_url is None:
            return {}
        with open_store(self._settings) as store:
            return take_survey(store, self._layout, only=()).threads

    def _notes(self, place: NotePlace, seen: Sightings) -> Iterator[_Note]:
        for keys in keys_with_prefix(place.client, _NOTE):
            ours = without_foreign(keys, self._settings.gdpr_foreign_keys)
            seen.foreign += len(keys) - len(ours)
            yield from _read(place.client, ours)

    def delete(self, user_id: str, items: Sequence[Item]) -> Mapping[str, int]:
        """Delete the notes that still name the person.

        Raises:
            RedisError: a Redis did not answer.
        """
        deleted = 0
        for number, place in enumerate(self._places):
            keys = [
                bytes.fromhex(key)
                for place_number, key in (item.reference.split(" ") for item in items)
                if int(place_number) == number
            ]
            deleted += unlink(place.client, [note.key for note in _read(place.client, keys) if note.user_id == user_id])
        return {_DATA_TYPE: deleted}

    def rescan(self, user_id: str) -> Findings:
        """The same as :meth:`find`, and no answer where something could not be read.

        Raises:
            RedisError: a Redis did not answer, or not as it should.
            TargetError: something that may be the person's could not be read.
        """
        seen = self._look(user_id)
        if not seen.items:
            seen.require_all_read()
        return seen.findings()


def _at(number: int, key: bytes) -> bytes:
    """A key of one place, told from the same name in another."""
    return key if number == 0 else b"%b (%d)" % (key, number)


def _read(client: Client, keys: Sequence[bytes]) -> Iterator[_Note]:
    types = by_type(client, keys)
    texts = types.pop("string", [])
    for key, value in zip(texts, each_answer(client, "GET", texts), strict=True):
        if value is not None:
            yield _of_text(key, value)
    for name, others in types.items():
        for key in others:
            yield _Note(key, problem=f"it is a {name}, and a note is a text")


def _of_text(key: bytes, value: bytes) -> _Note:
    try:
        content = parse_strictly(value, most_bytes=_MOST_BYTES, most_values=_MOST_VALUES)
    except MalformedJsonError as error:
        return _Note(key, problem=f"it is no JSON: {error}")
    if not isinstance(content, dict):
        return _Note(key, content=content)
    said = content.get("user_id")
    user_id = user_of(said)
    if user_id is None and said not in (None, ""):
        return _Note(key, content=content, problem=f"its user_id is a {type(said).__name__}, and a user is a text")
    days = _day(content.get("created_at")), _day(content.get("last_activity"))
    return _Note(key, user_id, days, content)


def _day(value: object) -> date | None:
    return day_of_iso(value) if isinstance(value, str) else day_of_epoch(value)


def _report_nobodys(note: _Note, user_id: str, seen: Sightings, reference: str) -> None:
    if names_in_key(note.key, user_id.encode()) or mentions(note.content, user_id):
        problem = note.problem or "it has no user_id"
        seen.report(
            _DATA_TYPE, note.key, f"{problem}; it names the person all the same", is_theirs=True, reference=reference
        )
    elif note.problem is not None:
        why = f"unreadable: {note.problem}; nobody can tell whose it is"
        seen.report(_DATA_TYPE, note.key, why, is_theirs=False, unread=True, reference=reference)
    else:
        why = "it names no user: nobody can tell whose it is"
        seen.report(_DATA_TYPE, note.key, why, is_theirs=False, reference=reference)
