"""The keys of the ledger as a process holds them: each opened when it is needed.

Here: when a key is opened. Not here: where it comes from (keys.py, public_key.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Self

from compliance_pipelines.ledger.keys import load_second_signing_key, load_signing_key
from compliance_pipelines.ledger.public_key import load_verifier_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from compliance_pipelines.ledger.checkpoint import Signer, VerifierKey
    from compliance_pipelines.settings import Settings


@dataclass(frozen=True)
class Keyring:
    """The keys that sign and the key that checks signatures; most processes need one of them at most."""

    open_signing_key: Callable[[], Signer]
    open_verifier_key: Callable[[], VerifierKey]
    open_second_signing_key: Callable[[], Signer | None] = lambda: None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The keys that the settings name."""
        return cls(
            partial(load_signing_key, settings),
            partial(load_verifier_key, settings),
            partial(load_second_signing_key, settings),
        )

    @classmethod
    def of(cls, key: Signer, second: Signer | None = None) -> Self:
        """A key that is open already, and its public half; beside it the key that follows it, or the one before."""
        return cls(lambda: key, key.verifier_key, lambda: second)

    @cached_property
    def signing_key(self) -> Signer:
        """The key that signs checkpoints and manifests.

        Raises:
            ConfigurationError: there is none, or it cannot be used.
        """
        return self.open_signing_key()

    @cached_property
    def signers(self) -> tuple[Signer, ...]:
        """The key that signs, and the second one of the settings where there is one.

        Raises:
            ConfigurationError: there is none, or one of them cannot be used.
        """
        second = self.open_second_signing_key()
        return (self.signing_key,) if second is None else (self.signing_key, second)

    @cached_property
    def verifier_key(self) -> VerifierKey:
        """The key that checks signatures: the public half of the signing key, or LEDGER_PUBLIC_KEY where there is none.

        Raises:
            ConfigurationError: there is neither, one of them cannot be used, or they are not of one key.
        """
        return self.open_verifier_key()
