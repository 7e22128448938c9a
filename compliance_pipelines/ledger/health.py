"""Whether the ledger's key and the cold store are those of the database, and can be used.

Here: the questions. Not here: the answers' form (base/health.py), and what makes a store the right one
(store_identity.py).

A question that cannot be answered is a failed check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import SQLAlchemyError

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.health import HealthCheck
from compliance_pipelines.ledger.errors import SigningKeyNotInChargeError
from compliance_pipelines.ledger.keys import load_signing_keys
from compliance_pipelines.ledger.log_reading import read_chain
from compliance_pipelines.ledger.public_key import load_verifier_key
from compliance_pipelines.ledger.signing import signer_in_charge
from compliance_pipelines.ledger.store_identity import (
    LedgerIdentityError,
    StoreIdentityError,
    check_identity,
    check_key,
    read_binding,
)
from compliance_pipelines.ledger.timestamping import authority_url, load_authority
from compliance_pipelines.ledger.witnesses import load_policy
from compliance_pipelines.object_store.promises import try_writing
from compliance_pipelines.postgres.errors import reason_of

if TYPE_CHECKING:
    import sqlalchemy

    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings

_KEYS: Final = (
    "set LEDGER_SIGNING_KEY_FILE where checkpoints and archives are signed, and LEDGER_PUBLIC_KEY everywhere else"
)
_LET_READ: Final = "mount its volume, or let this user read it (rights of a bucket: docs/cold-storage.md)"
_DATABASE: Final = "see what the checks of the database say"


def check_keys(settings: Settings, engine: sqlalchemy.Engine) -> list[HealthCheck]:
    """Look at the key of the settings; it raises nothing.

    Args:
        settings: name it.
        engine: of the database whose ledger's it must be.

    Returns:
        `key`, and where there is one `ledger`.
    """
    try:
        key = load_verifier_key(settings)
        signs = settings.ledger_signing_key is not None or settings.ledger_signing_key_file is not None
        if signs:
            load_signing_keys(settings)
    except ComplianceError as error:
        return [HealthCheck("key", str(error), _KEYS)]
    what = "a signing key" if signs else "the public key alone, which checks and does not sign"
    return [HealthCheck("key", f"{what}: {key}"), *_check_ledger(settings, engine)]


def _check_ledger(settings: Settings, engine: sqlalchemy.Engine) -> list[HealthCheck]:
    try:
        with engine.connect() as connection:
            binding = read_binding(connection)
            if binding is not None:
                check_key(connection, binding, load_verifier_key(settings))
        if binding is None:
            return [HealthCheck("ledger", "the database has no store and no ledger yet", "run `compliance store init`")]
    except LedgerIdentityError as error:
        return [HealthCheck("ledger", str(error), "set the key of this database's ledger")]
    except (ComplianceError, SQLAlchemyError) as error:
        return [HealthCheck("ledger", f"it cannot be told: {reason_of(error)}", _DATABASE)]
    return [HealthCheck("ledger", f"the key is that of the database's ledger, {binding.ledger}")]


def check_outside(services: Services) -> list[HealthCheck]:
    """Look at the settings of witnesses and time stamps; nobody is asked, and it raises nothing.

    Returns:
        `witnesses` and `time stamps`, each where it is configured.
    """
    settings, checks = services.settings, list[HealthCheck]()
    if settings.ledger_witnesses is not None:
        try:
            policy = load_policy(settings)
            if policy is not None:
                policy.require_log(services.verifier_key)
                checks.append(HealthCheck("witnesses", f"{policy.needed} must have cosigned"))
        except ComplianceError as error:
            checks.append(HealthCheck("witnesses", str(error), "correct LEDGER_WITNESSES"))
    if settings.ledger_tsa_url is not None or settings.ledger_tsa_certificates is not None:
        try:
            url = authority_url(settings)
            load_authority(settings)
            checks.append(HealthCheck("time stamps", f"by {url}" if url else "are checked, and none is asked for"))
        except ComplianceError as error:
            remedy = "correct LEDGER_TSA_URL and LEDGER_TSA_CERTIFICATES"
            checks.append(HealthCheck("time stamps", str(error), remedy))
    return checks


def check_store(services: Services, *, writes: bool) -> list[HealthCheck]:
    """Look at the cold store; it raises nothing.

    Args:
        services: with the store, which is opened at its first use.
        writes: whether it must take objects, too; trying that leaves nothing there.

    Returns:
        `place`, and where it can be opened `identity`, `signing` where the ledger's key was changed and the settings
        have one, `reading`, and with `writes` `writing`.
    """
    store = services.store
    try:
        uri = store.uri
        checks = [HealthCheck("place", uri)]
    except ComplianceError as error:
        return [HealthCheck("place", str(error), "set AUDIT_COLD_STORAGE_PATH to the directory of the cold store")]
    checks += [_identity(services), *_signing(services)]
    try:
        first = next(iter(store.list("")), None)
        checks.append(HealthCheck("reading", "it is empty" if first is None else "its objects can be listed"))
    except ComplianceError as error:
        checks.append(HealthCheck("reading", str(error), _LET_READ))
    if writes:
        try:
            try_writing(store)
            checks.append(HealthCheck("writing", "it takes objects"))
        except ComplianceError as error:
            remedy = "mount its volume, or let this user write to it (rights of a bucket: docs/cold-storage.md)"
            checks.append(HealthCheck("writing", str(error), remedy))
    return checks


def _signing(services: Services) -> list[HealthCheck]:
    """Whether the settings have the key in charge, asked where it is not the first one."""
    settings = services.settings
    if settings.ledger_signing_key is None and settings.ledger_signing_key_file is None:
        return []
    try:
        change = next(iter(read_chain(services.store, services.verifier_key).changes[-1:]), None)
        if change is None:
            return []
        signer_in_charge(services)
    except SigningKeyNotInChargeError as error:
        return [HealthCheck("signing", str(error), "set the key that the message names, and start again")]
    except ComplianceError:
        return []  # the check of the identity asks the same, and says why
    return [HealthCheck("signing", f"the settings have the key in charge: {change.new}, since record {change.seq}")]


def _identity(services: Services) -> HealthCheck:
    try:
        with services.engine.connect() as connection:
            identity = check_identity(services, connection)
    except StoreIdentityError as error:
        return HealthCheck("identity", str(error), "name the store of this database, or run `compliance store init`")
    except (ComplianceError, SQLAlchemyError) as error:
        return HealthCheck(
            "identity", f"it cannot be told: {reason_of(error)}", "see what the checks of database and key say"
        )
    return HealthCheck("identity", f"it is this database's: {identity}")
