from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.lookup import ArchiveEntryFinder
from compliance_pipelines.archive.manifest import parse_manifest
from compliance_pipelines.ledger import sql, store
from compliance_pipelines.ledger.checkpoint import Checkpoint, Signer, SigningKey, parsed_note, sign_checkpoint
from compliance_pipelines.ledger.errors import KeyRecordError, SigningKeyNotInChargeError
from compliance_pipelines.ledger.key_objects import key_object_key
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, read_head
from compliance_pipelines.ledger.proof_document import InvalidProofError, verify_proof
from compliance_pipelines.ledger.proofs import prove
from compliance_pipelines.ledger.publication import publish
from compliance_pipelines.ledger.rotation import KeyRotationRefusedError, rotate_key
from compliance_pipelines.ledger.store_identity import LedgerIdentityError, StoreIdentityError
from compliance_pipelines.postgres.errors import LockBusyError
from compliance_pipelines.postgres.locks import SEALING_LOCK, process_lock
from compliance_pipelines.services import open_services
from compliance_pipelines.verification.offline import verify_copy
from compliance_pipelines.verification.online import verify
from tests.integration.archive.days import overwrite
from tests.support.killed import dying_at, is_killed
from tests.support.sealing import seal_all, settle
from tests.unit.ledger import stranger
from tests.unit.ledger.key_ledgers import forgeries

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.ledger.checkpoint import VerifierKey
    from compliance_pipelines.ledger.records import Statement
    from compliance_pipelines.services import Services
    from tests.integration.archive.days import Days

NEW: Final = SigningKey("tests.example/audit", b"n" * 32)
FORGERIES: Final = forgeries()
LATER: Final = SigningKey("tests.example/audit", b"l" * 32)


def with_keys(services: Services, key: Signer, second: Signer | None = None, **settings: Any) -> Services:  # noqa: ANN401 - settings of any type
    """The services of a process with other keys in its settings."""
    changed = services.settings.model_copy(update={"ledger_signing_key": None, **settings})
    return replace(services, keys=Keyring.of(key, second), settings=changed)


def signers(services: Services) -> list[bytes]:
    """The key hashes of the signature lines of the checkpoint in the cold store, in order."""
    note = services.store.get_bytes(CHECKPOINT_KEY).decode()
    return [each.key_hash for each in parsed_note(note)[1]]


def hashes(*keys: SigningKey) -> list[bytes]:
    return [key.verifier_key().key_hash for key in keys]


def auditors_key(key: VerifierKey) -> VerifierKey:
    return key


def assert_clean(services: Services, *trusted: VerifierKey) -> None:
    """Verify online and from a copy, from each of these keys."""
    directory = services.settings.audit_cold_storage_path
    assert directory is not None
    for key in trusted:
        auditor = replace(services, keys=Keyring(services.keys.open_signing_key, partial(auditors_key, key)))
        for report in (verify(auditor), verify_copy(directory, key)):
            assert report.ok, report


def test_the_new_key_signs_from_its_record_on_and_the_old_one_beside_it(
    services: Services, days: Days, day: date, signing_key: SigningKey
) -> None:
    days.append(day, 2)

    rotation = rotate_key(services, NEW)

    assert (rotation.made, rotation.change.seq, rotation.change.old) == (True, 1, signing_key.verifier_key())
    assert signers(services) == hashes(NEW, signing_key)
    both = with_keys(services, signing_key, NEW)
    days.append(day, 2, sealed=False)
    assert seal_all(both).checkpoint is not None
    assert signers(services) == hashes(NEW, signing_key)
    days.append(day, 2, sealed=False)
    assert seal_all(with_keys(services, NEW)).checkpoint is not None
    assert signers(services) == hashes(NEW)
    assert_clean(services, signing_key.verifier_key(), NEW.verifier_key())


def test_keys_follow_one_another_and_verification_starts_at_any_of_them(
    services: Services, days: Days, day: date, signing_key: SigningKey
) -> None:
    days.append(day, 2)
    rotate_key(with_keys(services, signing_key, ledger_key_overlap_days=0), NEW)
    days.append(day, 1, sealed=False)
    seal_all(with_keys(services, signing_key, NEW))
    assert signers(services) == hashes(NEW)
    rotate_key(with_keys(services, NEW), LATER)
    assert signers(services) == hashes(LATER, NEW)
    days.append(day, 1, sealed=False)
    seal_all(with_keys(services, LATER))

    assert_clean(services, *(key.verifier_key() for key in (signing_key, NEW, LATER)))


def test_the_rotation_is_on_record(services: Services, days: Days, signing_key: SigningKey) -> None:
    rotate_key(services, NEW)

    rows = days.execute("SELECT resource_id, result, metadata FROM audit_logs WHERE action = 'ledger.rotate_key'")
    ((resource, result, metadata),) = rows
    assert (resource, result) == (str(NEW.verifier_key()), "success")
    assert isinstance(metadata, dict)
    assert (metadata["record"], metadata["compromised"]) == (0, False)
    assert (metadata["old"], metadata["new"]) == (
        signing_key.verifier_key().to_note_string(),
        NEW.verifier_key().to_note_string(),
    )


def test_a_key_that_is_known_to_others_signs_nothing_beside_the_new_one(
    services: Services, days: Days, day: date, signing_key: SigningKey
) -> None:
    days.append(day, 2)

    change = rotate_key(services, NEW, compromised=True).change

    assert change.revoked
    assert signers(services) == hashes(NEW)
    days.append(day, 1, sealed=False)
    seal_all(with_keys(services, signing_key, NEW))
    assert signers(services) == hashes(NEW)
    assert_clean(services, signing_key.verifier_key(), NEW.verifier_key())


def test_a_sealer_that_has_the_old_key_alone_signs_nothing_and_says_what_to_set(
    services: Services, days: Days, day: date
) -> None:
    rotate_key(services, NEW)
    days.append(day, 2, sealed=False)
    settle(services)

    with pytest.raises(
        SigningKeyNotInChargeError, match=r"signed by .* since record 0.*LEDGER_SECOND_SIGNING_KEY_FILE"
    ):
        seal_all(services)

    assert read_head(services.store, services.verifier_key).head.size == 1
    assert seal_all(with_keys(services, NEW)).entries == 3


def rotate_and_be_killed(services: Services, moment: str) -> None:
    """Rotate in a process of its own that kills itself."""
    settle(services)

    def work() -> None:
        with open_services(services.settings) as own:
            rotate_key(own, NEW, step=dying_at(moment))

    assert is_killed(work)


@pytest.mark.parametrize("finished_by", ["sealing", "the command"])
@pytest.mark.parametrize(
    "interrupted",
    [
        ("signed", False),
        ("inserted", False),
        ("committed", True),
        ("tiles put", True),
        ("key record put", True),
        ("partial tiles removed", True),
        ("checkpoint put", True),
        ("published", True),
        ("publication recorded", True),
    ],
)
def test_a_rotation_killed_at_any_step_is_finished_by_the_next_pass_or_call(
    services: Services, days: Days, day: date, interrupted: tuple[str, bool], finished_by: str
) -> None:
    moment, committed = interrupted
    days.append(day, 2)
    rotate_and_be_killed(services, moment)
    trusted = services.verifier_key

    if finished_by == "the command":
        assert rotate_key(services, NEW).made is not committed
        committed = True
    elif committed:
        # The entry that puts it on record waits for the new key; what was committed needs none.
        with pytest.raises(SigningKeyNotInChargeError):
            seal_all(services)
    days.append(day, 1, sealed=False)
    seal_all(with_keys(services, services.signing_key, NEW) if committed else services)

    log = read_head(services.store, trusted)
    assert [record.seq for record in log.keys] == ([1] if committed else [])
    assert log.chain(trusted).current == (NEW.verifier_key() if committed else trusted)
    assert_clean(services, trusted, *([NEW.verifier_key()] if committed else []))


def test_what_a_rotation_left_behind_that_the_database_forgot_gives_way(
    services: Services, days: Days, day: date, tmp_path: Path
) -> None:
    days.append(day, 2)
    rotate_and_be_killed(services, "key record put")
    assert services.store.stat(key_object_key(1)) is not None
    # As after a restore to the moment before; its tiles have another width than those of the next pass.
    days.execute("DELETE FROM ledger_statements")
    days.execute("DELETE FROM ledger_checkpoints WHERE size = 2")
    days.append(day, 1, sealed=False)
    for path in (tmp_path / "cold/audit-ledger/tile").rglob("*.p/2"):
        path.parent.chmod(0o755)
        path.unlink()

    seal_all(services)

    assert services.store.stat(key_object_key(1)) is None
    assert_clean(services, services.verifier_key)


def append_record(services: Services, record: Statement, *signers: Signer) -> None:
    """Put a record into the ledger of both stores that no pass would put there, as somebody with the key can."""
    log = read_head(services.store, services.verifier_key)
    head = log.head.extended([record])
    note = sign_checkpoint(Checkpoint(NEW.name, head.size, head.root), *signers)
    stored = store.StoredCheckpoint(head.size, head.root, head.tx_horizon, head.frontier, note, record.sealed_at)
    with services.engine.begin() as connection:
        store.insert(connection, [record], stored)
        connection.execute(sql.INSERT_PUBLICATION, {"size": head.size, "object_key": CHECKPOINT_KEY})
    publish(services.store, log, [record], note, list[str]().append)


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_record_that_is_no_change_of_the_key_is_named_online_and_from_a_copy(
    services: Services, days: Days, day: date, signing_key: SigningKey, forgery: str
) -> None:
    days.append(day, 1)
    rotate_key(services, NEW)
    log = read_head(services.store, services.verifier_key)
    assert log.last is not None
    record = FORGERIES[forgery](log.head, [signing_key, NEW], log.last.sealed_at)
    append_record(services, record, NEW, signing_key)

    directory = services.settings.audit_cold_storage_path
    assert directory is not None
    for trusted in (signing_key, NEW):
        auditor = replace(services, keys=Keyring.of(trusted))
        for report in (verify(auditor), verify_copy(directory, trusted.verifier_key())):
            found = [(finding.kind, finding.segment) for finding in report.findings]
            assert found == [("key_record_invalid", 2)], report
    with pytest.raises(KeyRecordError):
        seal_all(with_keys(services, signing_key, NEW))


def test_manifests_stay_valid_and_one_by_a_retired_key_is_found(
    services: Services, days: Days, day: date, signing_key: SigningKey
) -> None:
    days.append(day, 3)
    archive_day(services, day)
    change = rotate_key(services, NEW, compromised=True).change
    days.append(day, 2, sealed=False)
    both = with_keys(services, signing_key, NEW)
    seal_all(both)
    archive_day(both, day)
    assert_clean(services, signing_key.verifier_key(), NEW.verifier_key())

    (first, second) = days.manifests(day)
    of_new = parse_manifest(second.read_bytes(), NEW.verifier_key(), name="")
    assert of_new.part == 2
    manifest = parse_manifest(first.read_bytes(), signing_key.verifier_key(), name="")
    late = replace(manifest, created_at=change.until + timedelta(seconds=1))
    overwrite(first, late.to_bytes(signing_key))

    directory = services.settings.audit_cold_storage_path
    assert directory is not None
    for trusted in (signing_key, NEW):
        auditor = replace(services, keys=Keyring.of(trusted))
        for report in (verify(auditor), verify_copy(directory, trusted.verifier_key())):
            assert [finding.kind for finding in report.findings] == ["signature_by_retired_key"], report


def test_proofs_lead_from_any_key_to_the_one_that_signed(
    services: Services, days: Days, day: date, signing_key: SigningKey
) -> None:
    (proved,) = days.append(day, 1)
    before = prove(services, proved.log_entry_id, finder=ArchiveEntryFinder(services))
    rotation = rotate_key(services, NEW, compromised=True)
    after = prove(services, proved.log_entry_id, finder=ArchiveEntryFinder(services))

    for key in (signing_key.verifier_key(), NEW.verifier_key()):
        assert verify_proof(after, key).checkpoint.size == 2
        stranger.verify_proof(after, stranger.read_public_key(key.to_note_string()))
    assert verify_proof(before, signing_key.verifier_key()).checkpoint.size == 1
    with pytest.raises(InvalidProofError, match="not signed by"):
        verify_proof(before, NEW.verifier_key())
    assert rotation.change.revoked
    with pytest.raises(InvalidProofError, match="became known to others"):
        verify_proof({**before, "keys": after["keys"]}, NEW.verifier_key())
    for keys in ([*after["keys"], *after["keys"]], [after["keys"][0][:-2]], [after["keys"][0].upper()], ["00"]):
        with pytest.raises(InvalidProofError):
            verify_proof({**after, "keys": keys}, NEW.verifier_key())


def test_keys_that_cannot_follow_are_refused(
    services: Services, days: Days, day: date, signing_key: SigningKey
) -> None:
    days.append(day, 1)
    with pytest.raises(KeyRotationRefusedError, match="signs for the ledger already"):
        rotate_key(services, signing_key)
    with pytest.raises(KeyRotationRefusedError, match="a ledger keeps its name"):
        rotate_key(services, SigningKey.generate("other.example/audit"))
    rotate_key(services, NEW)
    rotate_key(with_keys(services, NEW), LATER)
    for former in (signing_key, NEW):
        with pytest.raises(KeyRotationRefusedError, match="a key never comes back"):
            rotate_key(with_keys(services, LATER), former)
    with pytest.raises(SigningKeyNotInChargeError):
        rotate_key(with_keys(services, NEW), SigningKey.generate(NEW.name))
    with pytest.raises(LedgerIdentityError):
        rotate_key(with_keys(services, SigningKey.generate(NEW.name)), SigningKey.generate(NEW.name))
    assert [record.seq for record in read_head(services.store, signing_key.verifier_key()).keys] == [1, 2]


def test_nothing_is_rotated_while_another_process_seals(services: Services) -> None:
    with (
        services.engine.connect() as connection,
        process_lock(connection, SEALING_LOCK, doing="sealing"),
        pytest.raises(LockBusyError),
    ):
        rotate_key(services, NEW)


def test_a_copy_of_a_record_that_is_not_the_ledgers_stops_everything(
    services: Services, days: Days, day: date, signing_key: SigningKey, tmp_path: Path
) -> None:
    days.append(day, 1)
    rotate_key(services, NEW)
    path = tmp_path / "cold" / key_object_key(1)
    path.chmod(0o644)
    data = path.read_bytes()
    path.write_bytes(data[:-5] + b"AAAA\n")
    with pytest.raises(KeyRecordError):
        seal_all(services)
    path.unlink()
    for keys in ((signing_key,), (NEW,), (signing_key, NEW)):
        with pytest.raises((KeyRecordError, StoreIdentityError)):
            seal_all(with_keys(services, *keys))
    path.write_bytes(data)
    days.execute("DELETE FROM ledger_statements WHERE seq = 1")
    for keys in ((signing_key,), (NEW,), (signing_key, NEW)):
        with pytest.raises((KeyRecordError, LedgerIdentityError)):
            seal_all(with_keys(services, *keys))
    record = data.hex()
    days.execute(f"INSERT INTO ledger_statements VALUES (1, decode('{record}', 'hex'))")
    assert seal_all(with_keys(services, NEW)).entries == 1
