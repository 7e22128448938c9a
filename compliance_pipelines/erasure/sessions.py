"""Sessions in Redis, as mcp-server-langgraph lays them out.

Here: `session:{id}`, a hash with a field `user_id`, and `user_sessions:{user_id}`, a list of session ids. Not here: who
may log in; an application that lets the person log in again makes a session, which the last look at the target finds.

A session belongs to whom its own field names. The list alone does not decide: it expires later than its sessions, and
a session that it lost would be missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compliance_pipelines.conversations.environment import check_environment
from compliance_pipelines.erasure.redis_scan import (
    by_type,
    day_of_iso,
    each_answer,
    keys_with_prefix,
    location_of,
    open_redis,
    shown,
    unlink_items,
)
from compliance_pipelines.erasure.targets import Findings, Item, Reported

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from compliance_pipelines.conversations.connection import Client
    from compliance_pipelines.settings import Settings

_SESSION: Final = "session:"
_LIST: Final = "user_sessions:"
_DATA_TYPE: Final = "sessions"
_LIST_DATA_TYPE: Final = "session_lists"


class SessionTarget:
    """The sessions of one Redis database.

    Args:
        client: gives bytes.
        location: what the certificate says.
    """

    name = "sessions"

    def __init__(self, client: Client, location: str) -> None:
        self._client = client
        self.location = location

    @classmethod
    def from_settings(cls, settings: Settings) -> SessionTarget | None:
        """The sessions of GDPR_SESSION_REDIS_URL; None where it is not set.

        Raises:
            ConfigurationError: it cannot be used.
        """
        if settings.gdpr_session_redis_url is None:
            return None
        url = settings.gdpr_session_redis_url.get_secret_value()
        return cls(open_redis("GDPR_SESSION_REDIS_URL", url, settings), location_of(url))

    def require_environment(self, environment: UUID | None) -> None:
        """Let only a Redis of this environment pass.

        Raises:
            ConversationError: it is another environment's, or does not say.
            TransientError: Redis did not answer.
        """
        check_environment(self._client, environment, setting="GDPR_SESSION_REDIS_URL")

    def find(self, user_id: str) -> Findings:
        """The sessions whose `user_id` this is, and the person's list.

        Raises:
            RedisError: Redis did not answer, or not as it should.
        """
        wanted = user_id.encode()
        items: dict[bytes, Item] = {}
        reported: list[Reported] = []
        for keys in keys_with_prefix(self._client, _SESSION):
            types = by_type(self._client, keys)
            hashes = types.pop("hash", [])
            reported += [_not_a_session(key) for others in types.values() for key in others]
            answers = each_answer(self._client, "HMGET", hashes, "user_id", "created_at", "last_accessed")
            for key, (owner, created_at, last_accessed) in zip(hashes, answers, strict=True):
                if owner == wanted:
                    first = day_of_iso(created_at)
                    items[key] = Item(_DATA_TYPE, key.hex(), first_day=first, last_day=day_of_iso(last_accessed))
        own_list = _LIST.encode() + wanted
        if self._client.exists(own_list):
            items[own_list] = Item(_LIST_DATA_TYPE, own_list.hex())
        return Findings(tuple(items.values()), tuple(reported))

    def delete(self, user_id: str, items: Sequence[Item]) -> Mapping[str, int]:  # noqa: ARG002 - the items say it
        """Delete sessions first and the list last, so that an interruption leaves nothing that is hard to find.

        Raises:
            RedisError: Redis did not answer.
        """
        return unlink_items(self._client, items, in_order=(_DATA_TYPE, _LIST_DATA_TYPE))

    def user_ids(self) -> Iterator[str]:
        """Whose sessions there are.

        Raises:
            RedisError: Redis did not answer, or not as it should.
        """
        for keys in keys_with_prefix(self._client, _SESSION):
            hashes = by_type(self._client, keys).get("hash", [])
            for (owner,) in each_answer(self._client, "HMGET", hashes, "user_id"):
                if owner is not None:
                    yield owner.decode("utf-8", "replace")

    def rescan(self, user_id: str) -> Findings:
        """The same as :meth:`find`: nothing is remembered."""
        return self.find(user_id)


def _not_a_session(key: bytes) -> Reported:
    why = "its key looks like a session's, and it is no hash: nobody can tell whose it is"
    return Reported(_DATA_TYPE, shown(key), why, is_theirs=False)
