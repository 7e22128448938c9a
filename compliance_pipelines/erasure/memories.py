"""Long-term memories: the keys of LangGraph's stores.

Here: which memories and vectors go, and which are reported. Not here: what a key says (store_documents.py), whose a
namespace is (namespaces.py), conversations, which are checkpoints (threads.py).

A store's own search ignores case and punctuation and stops at a number of results; here every key is looked at and the
namespace compared as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compliance_pipelines.conversations.environment import check_environment
from compliance_pipelines.erasure.namespaces import NamespaceRules, names, namespace_of
from compliance_pipelines.erasure.redis_scan import (
    day_of,
    keys_with_prefix,
    location_of,
    open_redis,
    shown,
    unlink_items,
    without_foreign,
)
from compliance_pipelines.erasure.sightings import Sightings, mentions, names_in_key
from compliance_pipelines.erasure.store_documents import StoreFacts, read_documents
from compliance_pipelines.erasure.targets import Findings, Item

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from compliance_pipelines.conversations.connection import Client
    from compliance_pipelines.settings import Settings

__all__ = ["MemoryTarget", "NamespaceRules", "namespace_of"]

MEMORIES: Final = "memories"
VECTORS: Final = "memory_vectors"


class MemoryTarget:
    """The store of one Redis database.

    Args:
        client: gives bytes.
        location: what the certificate says.
        rules: whose a namespace is.
        prefixes: of the store's keys and of its vectors' keys, without the colon.
        setting: that names the Redis.
        foreign: how the names of keys begin that are other software's.
    """

    name = "memories"

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        client: Client,
        location: str,
        rules: NamespaceRules,
        prefixes: tuple[str, str] = ("store", "store_vectors"),
        *,
        setting: str = "GDPR_STORE_REDIS_URL",
        foreign: Sequence[str] = (),
    ) -> None:
        self._client = client
        self.location = location
        self._rules = rules
        self._prefixes = dict(zip((MEMORIES, VECTORS), prefixes, strict=True))
        self._setting = setting
        self._foreign = foreign

    @classmethod
    def from_settings(cls, settings: Settings) -> MemoryTarget | None:
        """The store of GDPR_STORE_REDIS_URL, else that of CHECKPOINT_REDIS_URL; None where neither is set.

        Raises:
            ConfigurationError: the URL cannot be used.
            TargetError: the namespaces are malformed.
        """
        setting, secret = "GDPR_STORE_REDIS_URL", settings.gdpr_store_redis_url
        if secret is None:
            setting, secret = "CHECKPOINT_REDIS_URL", settings.checkpoint_redis_url
        if secret is None:
            return None
        url = secret.get_secret_value()
        rules = NamespaceRules.from_json(settings.gdpr_store_namespaces)
        prefixes = (settings.gdpr_store_prefix, settings.gdpr_store_vector_prefix)
        client = open_redis(setting, url, settings)
        foreign = settings.gdpr_foreign_keys
        return cls(client, location_of(url), rules, prefixes, setting=setting, foreign=foreign)

    def require_environment(self, environment: UUID | None) -> None:
        """Let only a Redis of this environment pass.

        Raises:
            ConversationError: it is another environment's, or does not say.
            TransientError: Redis did not answer.
        """
        check_environment(self._client, environment, setting=self._setting)

    def find(self, user_id: str) -> Findings:
        """The memories, and their vectors, in namespaces of this person; what cannot be told is reported.

        Raises:
            RedisError: Redis did not answer.
        """
        return self._look(user_id).findings()

    def _look(self, user_id: str) -> Sightings:
        seen = Sightings()
        for data_type, prefix in self._prefixes.items():
            for keys in keys_with_prefix(self._client, f"{prefix}:"):
                ours = without_foreign(keys, self._foreign)
                seen.foreign += len(keys) - len(ours)
                for document in read_documents(self._client, ours):
                    self._judge(document, data_type, user_id, seen)
        return seen

    def _judge(self, document: StoreFacts, data_type: str, user_id: str, seen: Sightings) -> None:
        if document.prefix is None:
            _judge_unread(document, data_type, user_id, seen)
            return
        namespace = namespace_of(document.prefix)
        owner = self._rules.owner(namespace, document.item_key)
        reference = f"{shown(document.key)}, namespace {'.'.join(namespace)}"
        if owner == user_id:
            seen.items[document.key] = Item(
                data_type,
                document.key.hex(),
                first_day=day_of(document.created),
                last_day=day_of(document.updated),
            )
        elif names(namespace, user_id):
            why = "its namespace names the person and is not one of those that belong to one person"
            seen.report(data_type, document.key, why, is_theirs=True, reference=reference)
        elif owner is None and document.item_key == user_id:
            why = "its key is the person, and its namespace is not one of those that belong to one person"
            seen.report(data_type, document.key, why, is_theirs=True, reference=reference)

    def delete(self, user_id: str, items: Sequence[Item]) -> Mapping[str, int]:  # noqa: ARG002 - the items say it
        """Delete the keys. No other memory is ever written under the same key: its id is made anew for each.

        Raises:
            RedisError: Redis did not answer.
        """
        return unlink_items(self._client, items, in_order=(VECTORS, MEMORIES))

    def user_ids(self) -> Iterator[str]:
        """Whose memories there are, of the namespaces that belong to one person.

        Raises:
            RedisError: Redis did not answer.
        """
        for prefix in self._prefixes.values():
            for keys in keys_with_prefix(self._client, f"{prefix}:"):
                for document in read_documents(self._client, without_foreign(keys, self._foreign)):
                    if document.prefix is None:
                        continue
                    owner = self._rules.owner(namespace_of(document.prefix), document.item_key)
                    if owner is not None:
                        yield owner

    def rescan(self, user_id: str) -> Findings:
        """The same as :meth:`find`, and no answer where something could not be read.

        Raises:
            RedisError: Redis did not answer.
            TargetError: something that may be the person's could not be read.
        """
        seen = self._look(user_id)
        if not seen.items:
            seen.require_all_read()
        return seen.findings()


def _judge_unread(document: StoreFacts, data_type: str, user_id: str, seen: Sightings) -> None:
    problem = document.unreadable
    if names_in_key(document.key, user_id.encode()) or mentions(document.content, user_id):
        seen.report(data_type, document.key, f"{problem}; it names the person all the same", is_theirs=True)
    else:
        why = f"unreadable: {problem}; nobody can tell whose it is"
        seen.report(data_type, document.key, why, is_theirs=False, unread=True)
