"""The catalogue's rows about keys: the other record, beside the one in the cold store.

Here: reading and writing them. Not here: SQL (sql.py), comparing both (comparison.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from compliance_pipelines.encryption import sql
from compliance_pipelines.encryption.wrapped_key import WrappedKey

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime

    import sqlalchemy

_PAGE: Final = 1_000


@dataclass(frozen=True)
class CataloguedKey:
    """A row about the key of an object.

    Attributes:
        wrapped: the key; None once it was destroyed.
        destroyed_at: when that was; None while it is there.
        destruction_reason: why, in the words of whoever did it.
    """

    object_key: str
    key_id: str
    wrapped: WrappedKey | None
    destroyed_at: datetime | None
    destruction_reason: str | None


def _of_row(row: sqlalchemy.Row[tuple[object, ...]]) -> CataloguedKey:
    wrapped = None
    if row.wrapped is not None:
        wrapped = WrappedKey(row.object_key, row.key_id, row.key_encryption_key, bytes(row.wrapped), row.wrapped_at)
    return CataloguedKey(row.object_key, row.key_id, wrapped, row.destroyed_at, row.destruction_reason)


def catalogued_key(connection: sqlalchemy.Connection, object_key: str) -> CataloguedKey | None:
    """The row about the key of an object; None where there is none."""
    row = connection.execute(sql.KEY_OF_OBJECT, {"object_key": object_key}).one_or_none()
    return None if row is None else _of_row(row)


def catalogued_keys_of(connection: sqlalchemy.Connection, object_keys: Collection[str]) -> list[CataloguedKey]:
    """The rows about the keys of these objects, in no order; none where there is none."""
    return list(map(_of_row, connection.execute(sql.KEYS_OF_OBJECTS, {"object_keys": list(object_keys)})))


def catalogued_keys(connection: sqlalchemy.Connection) -> Iterator[CataloguedKey]:
    """All rows, ordered by the object's key as PostgreSQL orders its bytes; a page at a time."""
    after = ""
    while rows := connection.execute(sql.KEYS_AFTER, {"after": after, "count": _PAGE}).all():
        yield from map(_of_row, rows)
        after = rows[-1].object_key


def catalogued_objects(connection: sqlalchemy.Connection, prefix: str) -> list[str]:
    """The objects with a row whose keys begin so, those whose key was destroyed included."""
    return list(connection.execute(sql.OBJECTS_WITH_PREFIX, {"prefix": prefix}).scalars())


def record_key_in_catalogue(connection: sqlalchemy.Connection, key: WrappedKey) -> None:
    """Write a row, within the caller's transaction; one that is there is left as it is."""
    connection.execute(
        sql.INSERT_KEY,
        {
            "object_key": key.object_key,
            "key_id": key.key_id,
            "key_encryption_key": key.key_encryption_key,
            "wrapped": key.wrapped,
            "wrapped_at": key.wrapped_at,
        },
    )


def rewrap_in_catalogue(connection: sqlalchemy.Connection, key: WrappedKey) -> bool:
    """Let a row have the key as it is wrapped now, within the caller's transaction; whether there was such a row."""
    values = {
        "object_key": key.object_key,
        "key_id": key.key_id,
        "key_encryption_key": key.key_encryption_key,
        "wrapped": key.wrapped,
        "wrapped_at": key.wrapped_at,
    }
    return connection.execute(sql.REWRAP_KEY, values).rowcount > 0


def destroy_in_catalogue(connection: sqlalchemy.Connection, object_key: str, reason: str) -> str | None:
    """Take the wrapped key out of a row, within the caller's transaction; its id, None where there was none to take."""
    found: str | None = connection.execute(
        sql.DESTROY_KEY, {"object_key": object_key, "reason": reason}
    ).scalar_one_or_none()
    return found
