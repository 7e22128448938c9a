"""Which of the keys of the settings sign: the chain of the ledger's keys says it, and the settings only have them.

Here: choosing, and the refusal where the key in charge is not among them. Not here: the chain (key_chain.py), the keys
(keys.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.ledger.errors import SigningKeyNotInChargeError
from compliance_pipelines.ledger.log_reading import read_chain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from compliance_pipelines.ledger.checkpoint import Signer, VerifierKey
    from compliance_pipelines.ledger.key_chain import KeyChain
    from compliance_pipelines.services import Services


def signers_of_checkpoint(
    signers: Sequence[Signer], chain: KeyChain, size: int, sealed_at: datetime
) -> tuple[Signer, ...]:
    """Those that sign a checkpoint: the key in charge, and after it the one before while both sign, if it is there.

    Args:
        signers: the keys of the settings.
        chain: of the ledger's keys.
        size: of the checkpoint.
        sealed_at: time of its last record; aware.

    Raises:
        SigningKeyNotInChargeError: the key in charge is not among them.
    """
    key = chain.in_charge(size)
    signing = [_found(signers, key, chain)]
    change = chain.change_to(key)
    if change is not None and not change.revoked and sealed_at <= change.until:
        signing += [each for each in signers if each.verifier_key() == change.old]
    return tuple(signing)


def signer_in_charge(services: Services) -> Signer:
    """The one that signs what bears a time of its own: manifests, and the identity of a store.

    Raises:
        SigningKeyNotInChargeError: the key in charge is not among those of the settings.
        KeyRecordError: the records about keys in the cold store do not make a chain.
        ObjectStoreError: the store failed.
    """
    chain = read_chain(services.store, services.verifier_key)
    return _found(services.keys.signers, chain.current, chain)


def _found(signers: Sequence[Signer], key: VerifierKey, chain: KeyChain) -> Signer:
    for signer in signers:
        if signer.verifier_key() == key:
            return signer
    change = chain.change_to(key)
    since = "" if change is None else f" since record {change.seq}"
    ours = " and ".join(str(signer.verifier_key()) for signer in signers)
    raise SigningKeyNotInChargeError(
        f"the ledger is signed by {key}{since}, and the settings have {ours}: set LEDGER_SIGNING_KEY or "
        f"LEDGER_SIGNING_KEY_FILE to the private half of {key}, or give it as LEDGER_SECOND_SIGNING_KEY_FILE; nothing "
        "was signed"
    )
