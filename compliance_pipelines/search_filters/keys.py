"""The keys of a part's filters, derived from the key of its object.

Here: deriving them. Not here: the key of the object (encryption/), what is done with them (filters.py).

Whoever destroys the key of an object destroys what its filters can be asked with. An object that is not encrypted has
no key: those of its filters come from what everybody knows, so that whoever reads the catalogue can ask them, as they
could read the object, and whoever writes to the catalogue can make others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from compliance_pipelines.encryption.data_key import DataKey

COLUMNS: Final = ("user_id", "action", "resource_type", "resource_id")
"""The columns that have filters, in the order of a part's."""

_PURPOSE: Final = "compliance-pipelines/search-filter/1"
_KEY_BYTES: Final = 32
_NOBODYS: Final = b"compliance-pipelines/search-filter/of-an-object-that-is-not-encrypted"
_OF_AUTHENTICITY: Final = "mac"


@dataclass(frozen=True)
class FilterKeys:
    """The keys of the filters of one object.

    Attributes:
        of_columns: by column, 32 bytes each: what values are hashed with.
        of_authenticity: 32 bytes: what a filter is authenticated with.
    """

    of_columns: dict[str, bytes] = field(repr=False)
    of_authenticity: bytes = field(repr=False)

    @classmethod
    def of(cls, object_key: str, data_key: DataKey | None) -> FilterKeys:
        """Those of an object: HKDF-SHA256 (RFC 5869) of its key, a purpose each.

        Args:
            object_key: of the object; another object under the same key has other filters.
            data_key: of the object; None where it is not encrypted.
        """
        secret = _NOBODYS if data_key is None else data_key.secret

        def derived(purpose: str) -> bytes:
            # No purpose has a zero byte, and no object's key either.
            info = f"{_PURPOSE}\0{purpose}\0{object_key}".encode()
            return HKDF(hashes.SHA256(), _KEY_BYTES, salt=None, info=info).derive(secret)

        return cls({column: derived(f"column {column}") for column in COLUMNS}, derived(_OF_AUTHENTICITY))
