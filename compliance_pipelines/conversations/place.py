"""Which Redis, and which application in it, something is about.

Here: the id that a Redis carries, and the place that it makes with the prefixes. Not here: whether the Redis is of the
right environment (environment.py), the prefixes' layout (keys.py).

Host and port lead to another server after a mistake. The id is a random one in a key of its own; a database of the same
server has another, and a Redis that was flushed gets a new one: what was planned over its former content is not about
it any more.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final, NamedTuple

from compliance_pipelines.conversations.errors import ConversationError, is_refused_right, redis_errors

if TYPE_CHECKING:
    from compliance_pipelines.conversations.connection import Client
    from compliance_pipelines.conversations.keys import KeyLayout

STORE_KEY: Final = "compliance_pipelines:store"


class Place(NamedTuple):
    """A Redis and the prefixes of an application's keys in it.

    Attributes:
        store_id: what the Redis carries.
        checkpoint_prefix: of checkpoints.
        write_prefix: of writes.
    """

    store_id: uuid.UUID
    checkpoint_prefix: str
    write_prefix: str


def place_of(client: Client, layout: KeyLayout, *, setting: str) -> Place:
    """The place of a layout in a Redis, which gets an id where it has none.

    Args:
        client: of the Redis.
        layout: with the prefixes.
        setting: the setting that names the Redis, for the message.

    Raises:
        TransientError: Redis did not answer.
        ConversationError: Redis refused, or carries something else than an id.
    """
    return Place(store_id_of(client, setting=setting), layout.checkpoint_prefix, layout.write_prefix)


def store_id_of(client: Client, *, setting: str) -> uuid.UUID:
    """The id that a Redis carries; it gets one where it has none.

    Raises:
        TransientError: Redis did not answer.
        ConversationError: Redis refused, or carries something else than an id.
    """
    with redis_errors(f"the look at the identity of the Redis of {setting}"):
        said = client.get(STORE_KEY)
        if said is None:
            try:
                client.set(STORE_KEY, str(uuid.uuid4()), nx=True)
            except Exception as error:
                if is_refused_right(error):
                    raise ConversationError(
                        f"the Redis of {setting} has no identity yet (no key {STORE_KEY}), and the login may not give "
                        "it one: run `compliance conversations bind` with a login that may call SET"
                    ) from error
                raise
            said = client.get(STORE_KEY)
    text = said.decode("utf-8", "backslashreplace") if isinstance(said, bytes) else str(said)
    try:
        return uuid.UUID(text)
    except ValueError:
        raise ConversationError(
            f"the key {STORE_KEY} of the Redis of {setting} holds {text[:100]!r}, which is no identity of a store: "
            "delete it and run `compliance conversations bind`"
        ) from None
