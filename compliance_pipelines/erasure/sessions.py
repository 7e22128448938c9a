"""Sessions in Redis, as mcp-server-langgraph lays them out.

Here: which sessions go, which are reported, and `user_sessions:{user_id}`, the list of a person's session ids. Not
here: what a session says (session_documents.py); who may log in. An application that lets the person log in again makes
a session, which the last look at the target finds.

A session belongs to whom its own field names. The list alone does not decide: it expires later than its sessions, and
a session that it lost would be missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compliance_pipelines.conversations.environment import check_environment
from compliance_pipelines.erasure.redis_scan import (
    by_type,
    day_of,
    keys_with_prefix,
    location_of,
    open_redis,
    unlink_items,
    without_foreign,
)
from compliance_pipelines.erasure.session_documents import SESSION, SessionFacts, SessionKind, read_sessions
from compliance_pipelines.erasure.sightings import Sightings, mentions, names_in_key
from compliance_pipelines.erasure.targets import Findings, Item

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from compliance_pipelines.conversations.connection import Client
    from compliance_pipelines.settings import Settings

_LIST: Final = "user_sessions:"
_DATA_TYPE: Final = "sessions"
_LIST_DATA_TYPE: Final = "session_lists"
# The server writes a list; its documentation has a set.
_LISTS: Final = frozenset({"list", "set", "zset"})


class SessionTarget:
    """The sessions of one Redis database.

    Args:
        client: gives bytes.
        location: what the certificate says.
        name: of the target.
        setting: that names the Redis.
        foreign: how the names of keys begin that are other software's.
    """

    def __init__(
        self,
        client: Client,
        location: str,
        *,
        name: str = "sessions",
        setting: str = "GDPR_SESSION_REDIS_URL",
        foreign: Sequence[str] = (),
    ) -> None:
        self._client = client
        self.location = location
        self.name = name
        self._setting = setting
        self._foreign = foreign

    @classmethod
    def from_settings(cls, settings: Settings) -> SessionTarget | None:
        """The sessions of GDPR_SESSION_REDIS_URL; None where it is not set.

        Raises:
            ConfigurationError: it cannot be used.
        """
        return next((target for target in session_targets(settings) if target.name == "sessions"), None)

    def require_environment(self, environment: UUID | None) -> None:
        """Let only a Redis of this environment pass.

        Raises:
            ConversationError: it is another environment's, or does not say.
            TransientError: Redis did not answer.
        """
        check_environment(self._client, environment, setting=self._setting)

    def find(self, user_id: str) -> Findings:
        """The sessions whose user this is, and the person's list; what cannot be told is reported.

        Raises:
            RedisError: Redis did not answer, or not as it should.
        """
        return self._look(user_id).findings()

    def _look(self, user_id: str) -> Sightings:
        seen = Sightings()
        for keys in keys_with_prefix(self._client, SESSION):
            ours = without_foreign(keys, self._foreign)
            seen.foreign += len(keys) - len(ours)
            for session in read_sessions(self._client, ours):
                _judge(session, user_id, seen)
        own_list = _LIST.encode() + user_id.encode()
        if self._client.exists(own_list):
            seen.items[own_list] = Item(_LIST_DATA_TYPE, own_list.hex())
        self._look_below(own_list, seen)
        return seen

    def _look_below(self, own_list: bytes, seen: Sightings) -> None:
        """Report what begins like the person's list and is no list: a list is that of a user whose id begins so."""
        for keys in keys_with_prefix(self._client, own_list + b":"):
            for kind, of_kind in by_type(self._client, keys).items():
                for key in of_kind:
                    if kind not in _LISTS:
                        why = f"it is a {kind} and no list of sessions, under a name that begins like the person's"
                        seen.report(_LIST_DATA_TYPE, key, why, is_theirs=True)

    def delete(self, user_id: str, items: Sequence[Item]) -> Mapping[str, int]:
        """Delete sessions first and the list last, so that an interruption leaves nothing that is hard to find.

        A session that has become somebody else's since it was found is left.

        Raises:
            RedisError: Redis did not answer.
        """
        sessions = [bytes.fromhex(item.reference) for item in items if item.data_type == _DATA_TYPE]
        still = Sightings()
        for session in read_sessions(self._client, sessions):
            _judge(session, user_id, still)
        going = [item for item in items if item.data_type != _DATA_TYPE or bytes.fromhex(item.reference) in still.items]
        return unlink_items(self._client, going, in_order=(_DATA_TYPE, _LIST_DATA_TYPE))

    def user_ids(self) -> Iterator[str]:
        """Whose sessions there are.

        Raises:
            RedisError: Redis did not answer, or not as it should.
        """
        for keys in keys_with_prefix(self._client, SESSION):
            for session in read_sessions(self._client, without_foreign(keys, self._foreign)):
                if session.owner is not None:
                    yield session.owner.decode("utf-8", "replace")

    def rescan(self, user_id: str) -> Findings:
        """The same as :meth:`find`, and no answer where something could not be read.

        Raises:
            RedisError: Redis did not answer, or not as it should.
            TargetError: something that may be the person's could not be read.
        """
        seen = self._look(user_id)
        if not seen.items:
            seen.require_all_read()
        return seen.findings()


def session_targets(settings: Settings) -> list[SessionTarget]:
    """The sessions of every Redis that the settings name for them; one that two settings name is looked at once.

    Raises:
        ConfigurationError: a URL cannot be used.
    """
    named = (
        ("sessions", "GDPR_SESSION_REDIS_URL", settings.gdpr_session_redis_url),
        ("playground_sessions", "GDPR_PLAYGROUND_REDIS_URL", settings.gdpr_playground_redis_url),
    )
    targets = []
    seen = set()
    for name, setting, secret in named:
        if secret is None or (url := secret.get_secret_value()) in seen:
            continue
        seen.add(url)
        client = open_redis(setting, url, settings)
        targets.append(
            SessionTarget(client, location_of(url), name=name, setting=setting, foreign=settings.gdpr_foreign_keys)
        )
    return targets


def _judge(session: SessionFacts, user_id: str, seen: Sightings) -> None:
    wanted = user_id.encode()
    if session.owner == wanted and not session.contradicts_its_name:
        seen.items[session.key] = Item(
            _DATA_TYPE,
            session.key.hex(),
            # The playground runs its agent under the session's id, so that a hold on the thread covers the session.
            thread_id=session.session_id if session.kind is SessionKind.TEXT else None,
            first_day=day_of(session.created),
            last_day=day_of(session.used),
        )
    elif session.owner is not None:
        if session.contradicts_its_name and (session.owner == wanted or session.is_named_after(wanted)):
            why = "its name says another user than it does inside: nobody can tell whose it is"
            seen.report(_DATA_TYPE, session.key, why, is_theirs=True)
    elif session.unreadable is not None:
        _judge_unread(session, session.unreadable, user_id, seen)
    elif session.is_named_after(wanted) or mentions(session.content, user_id):
        why = "it has no user_id and names the person all the same: nobody can tell whose it is"
        seen.report(_DATA_TYPE, session.key, why, is_theirs=True)
    elif not session.has_name_of_user:
        why = "its key looks like a session's, and it names no user: nobody can tell whose it is"
        seen.report(_DATA_TYPE, session.key, why, is_theirs=False)


def _judge_unread(session: SessionFacts, problem: str, user_id: str, seen: Sightings) -> None:
    wanted = user_id.encode()
    has_name = session.has_name_of_user
    named = session.is_named_after(wanted) if has_name else names_in_key(session.key, wanted)
    if named or mentions(session.content, user_id):
        seen.report(_DATA_TYPE, session.key, f"unreadable: {problem}; it names the person", is_theirs=True)
    elif not has_name:
        why = f"unreadable: {problem}; nobody can tell whose it is"
        seen.report(_DATA_TYPE, session.key, why, is_theirs=False, unread=True)
