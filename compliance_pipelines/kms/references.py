"""References to keys that a service keeps.

Here: how they begin, and importing what a service needs when one is used. Not here: the services (aws.py, gcp.py).

    awskms:///<key id, ARN or alias>
    gcpkms://projects/.../cryptoKeys/<key>, with /cryptoKeyVersions/<n> where a version is meant
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from compliance_pipelines.kms.errors import KmsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

AWS: Final = "awskms:///"
GCP: Final = "gcpkms://"


def is_reference(text: str) -> bool:
    """Whether a text refers to a key in a service, well or badly."""
    return text.startswith(("awskms:", "gcpkms:"))


def key_of_reference(reference: str, makers: Mapping[str, tuple[str, str]]) -> Any:  # noqa: ANN401 - what a maker makes
    """What a service's module makes of a key; nothing is asked of it yet.

    Args:
        reference: as above.
        makers: by how a reference begins, the module and the name in it that is called with the rest.

    Raises:
        KmsError: it is no such reference, or what its service needs is not installed.
    """
    for prefix, (module, maker) in makers.items():
        of_key = reference.removeprefix(prefix)
        if of_key and of_key != reference:
            try:
                make = getattr(import_module(module), maker)
            except ImportError as error:
                raise KmsError(
                    f"{reference} cannot be used: {error}; install compliance-pipelines with the extra `kms`"
                ) from error
            return make(of_key)
    raise KmsError(
        f"{reference} is no reference to a key: write {AWS}KEY (an id, an ARN or an alias) or {GCP}projects/PROJECT/"
        "locations/LOCATION/keyRings/RING/cryptoKeys/KEY, with /cryptoKeyVersions/VERSION for a key that signs"
    )
