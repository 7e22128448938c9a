from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.ledger import store
from compliance_pipelines.ledger.checkpoint import Checkpoint, Signer, SigningKey, open_checkpoint, sign_checkpoint
from compliance_pipelines.ledger.errors import (
    CheckpointMissingError,
    CheckpointReplacedError,
    ColdStoreRolledBackError,
    DatabaseRolledBackError,
    ForeignCheckpointError,
    FormerFormatError,
    LedgerError,
    LedgerForkError,
    MalformedCheckpointError,
    TilesAlteredError,
)
from compliance_pipelines.ledger.head import LedgerHead
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.ledger.log_reading import read_head
from compliance_pipelines.ledger.sealing import SealStep, seal
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.ledger.store_identity import IDENTITY_KEY, LedgerIdentityError
from compliance_pipelines.object_store.port import ObjectStoreError
from tests.integration.archive.days import overwrite, remove
from tests.integration.ledger.moves import seal_without_publishing
from tests.support.sealing import seal_all
from tests.unit.ledger.logs import extend

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from compliance_pipelines.services import Services
    from tests.integration.archive.days import Days
    from tests.integration.ledger.inspector import Inspector


def note_over(segments: list[Segment], key: Signer, size: int | None = None) -> bytes:
    """A checkpoint that is right in itself, over any records."""
    head = LedgerHead().extended(segments)
    return sign_checkpoint(Checkpoint(key.name, head.size if size is None else size, head.root), key).encode()


def cold_segments(inspector: Inspector) -> list[Segment]:
    """The records in the cold store."""
    return [Segment.from_json(record) for record in inspector.cold_records()]


@pytest.fixture
def sealed(days: Days, day: date) -> Days:
    """Three passes of one segment each, in the database and in the cold store, and entries that wait."""
    for count in (4, 3, 2):
        days.append(day, count)
    days.append(day, 1, sealed=False)
    return days


def assert_refused(services: Services, inspector: Inspector, kind: type[Exception], match: str) -> None:
    """The pass is refused, and neither the database nor the cold store has a new checkpoint."""
    objects, segments = inspector.objects(), inspector.segments()
    with pytest.raises(kind, match=match):
        seal(services)
    assert inspector.objects() == objects
    assert inspector.segments() == segments


def test_undamaged_the_next_checkpoint_extends_the_last(services: Services, sealed: Days, inspector: Inspector) -> None:
    assert seal_all(services).checkpoint is not None
    assert len(inspector.cold_records()) == 4


def test_a_checkpoint_that_disappeared_from_the_cold_store_stops_sealing(
    services: Services, sealed: Days, inspector: Inspector
) -> None:
    remove(inspector.checkpoint_path)
    assert_refused(
        services, inspector, CheckpointMissingError, "checkpoint 3 was published and file:.* no longer there"
    )


def test_a_ledger_that_disappeared_from_the_cold_store_stops_sealing(
    services: Services, sealed: Days, inspector: Inspector
) -> None:
    for key in inspector.objects():
        services.store.delete(key)
    assert_refused(services, inspector, CheckpointMissingError, "checkpoint 3 was published")


def test_a_cold_store_that_was_put_back_stops_sealing(services: Services, sealed: Days, inspector: Inspector) -> None:
    overwrite(inspector.checkpoint_path, note_over(cold_segments(inspector)[:2], services.signing_key))
    assert_refused(services, inspector, ColdStoreRolledBackError, "of 2 records, and that of 3 was published")


def test_a_store_of_format_1_stops_sealing(services: Services, sealed: Days, inspector: Inspector) -> None:
    identity = services.store.get_bytes(IDENTITY_KEY).replace(b"audit-store-identity/2", b"audit-store-identity/1")
    services.store.delete(IDENTITY_KEY)
    services.store.put_bytes(IDENTITY_KEY, identity)
    assert_refused(services, inspector, FormerFormatError, "is of format 1, which this version does not read")


NOTES: dict[str, tuple[Callable[[bytes], bytes], type[Exception], str]] = {
    "the signed size": (
        lambda note: note.replace(b"\n3\n", b"\n4\n"),
        ForeignCheckpointError,
        "not validly signed",
    ),
    "truncated": (lambda note: note[:-20], MalformedCheckpointError, "was altered, it holds no checkpoint"),
    "empty": (lambda _: b"", MalformedCheckpointError, "was altered"),
    "giant": (lambda note: note * 1_000, MalformedCheckpointError, "was altered"),
}


@pytest.mark.parametrize("damage", NOTES)
def test_a_checkpoint_that_was_altered_in_the_cold_store_stops_sealing(
    services: Services, sealed: Days, inspector: Inspector, damage: str
) -> None:
    change, kind, match = NOTES[damage]
    overwrite(inspector.checkpoint_path, change(inspector.checkpoint_path.read_bytes()))
    assert_refused(services, inspector, kind, match)


@pytest.mark.parametrize("level", ["entries", 0])
@pytest.mark.parametrize(
    "change", [lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: data[:-1], lambda data: data + b"\0", None]
)
def test_a_tile_or_bundle_that_was_altered_in_the_cold_store_stops_sealing(
    services: Services,
    sealed: Days,
    inspector: Inspector,
    level: int | str,
    change: Callable[[bytes], bytes] | None,
) -> None:
    path = inspector.tile_path(level, 0, 3)
    if change is None:
        remove(path)
    else:
        overwrite(path, change(path.read_bytes()))
    assert_refused(services, inspector, TilesAlteredError, "altered|is not there: restore the object")


@pytest.mark.parametrize("name", ["tests.example/audit", "tests.example/another"])
def test_a_checkpoint_signed_by_another_key_stops_sealing(
    services: Services, sealed: Days, inspector: Inspector, name: str
) -> None:
    overwrite(inspector.checkpoint_path, note_over(cold_segments(inspector), SigningKey.generate(name)))
    assert_refused(services, inspector, ForeignCheckpointError, "not signed by tests.example/audit")


def test_a_signing_key_that_was_changed_stops_sealing(services: Services, sealed: Days, inspector: Inspector) -> None:
    changed = dataclasses.replace(services, keys=Keyring.of(SigningKey.generate(services.signing_key.name)))
    assert_refused(changed, inspector, LedgerIdentityError, "the key in use is of ledger .* the database is of ledger")
    assert seal_all(services).entries == 1


def test_a_fork_signed_by_our_own_key_stops_sealing(services: Services, sealed: Days, inspector: Inspector) -> None:
    records = cold_segments(inspector)
    other = dataclasses.replace(records[2], entry_count=records[2].entry_count + 1)
    for key in inspector.objects():
        services.store.delete(key)
    log = read_head(services.store, services.verifier_key)
    extend(services.store, log, [*records[:2], other], key=services.signing_key)

    assert_refused(services, inspector, LedgerForkError, "checkpoint 3: the database has root")


def test_a_checkpoint_over_other_records_than_the_tiles_stops_sealing(
    services: Services, sealed: Days, inspector: Inspector
) -> None:
    records = cold_segments(inspector)
    other = dataclasses.replace(records[2], entry_count=records[2].entry_count + 1)
    overwrite(inspector.checkpoint_path, note_over([*records[:2], other], services.signing_key))
    assert_refused(services, inspector, TilesAlteredError, "do not lead to the root")


def test_what_is_to_be_published_overwrites_nothing(
    services: Services, days: Days, inspector: Inspector, day: date
) -> None:
    days.append(day, 2)
    days.append(day, 2, sealed=False)
    seal_without_publishing(services)
    path = inspector.tile_path("entries", 0, 2)
    path.write_bytes(b"another one")
    path.chmod(0o444)

    with pytest.raises(LedgerForkError, match="holds something else than what is to be published there"):
        seal(services)
    assert path.read_bytes() == b"another one"
    assert inspector.size() == 1


def test_of_two_databases_that_seal_into_one_store_the_second_is_refused(
    services: Services, days: Days, inspector: Inspector, day: date
) -> None:
    """The other one replaces the checkpoint between this pass's reading of it and its own replacing."""
    days.append(day, 2)
    (first,) = cold_segments(inspector)
    log = read_head(services.store, services.verifier_key)
    others = [dataclasses.replace(first, seq=seq, entry_count=7) for seq in (1, 2)]

    def seal_elsewhere(step: str) -> None:
        if step == SealStep.TILES_PUT:
            extend(services.store, log, others, key=services.signing_key)

    days.append(day, 2, sealed=False)
    with pytest.raises(CheckpointReplacedError, match="two databases seal into this store"):
        seal_all(services, step=seal_elsewhere)
    note = inspector.checkpoint_path.read_text(encoding="utf-8")
    assert open_checkpoint(note, services.verifier_key).size == 3
    with pytest.raises(DatabaseRolledBackError, match="another database seals into this store"):
        seal(services)


def test_a_database_that_was_rolled_back_is_refused(services: Services, sealed: Days, inspector: Inspector) -> None:
    sealed.execute("DELETE FROM ledger_publications WHERE size = 3")
    sealed.execute("DELETE FROM ledger_checkpoints WHERE size = 3")
    sealed.execute("DELETE FROM ledger_segments WHERE seq = 2")

    assert_refused(services, inspector, DatabaseRolledBackError, "holds checkpoint 3 .* the database ends at 2")


def test_a_new_database_is_refused_by_a_cold_store_that_another_has_sealed_into(
    services: Services, sealed: Days, inspector: Inspector
) -> None:
    sealed.execute("TRUNCATE ledger_publications, ledger_checkpoints, archived_segments, ledger_segments")

    assert_refused(services, inspector, DatabaseRolledBackError, "the database ends at 0")


def test_a_cold_store_that_does_not_answer_stops_sealing(
    services: Services, sealed: Days, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> bytes:
        raise ObjectStoreError("the store does not answer")

    monkeypatch.setattr(services.store, "read_versioned", fail)
    assert_refused(services, inspector, ObjectStoreError, "does not answer")


@pytest.mark.parametrize(
    "lie",
    [
        "UPDATE ledger_checkpoints SET tx_horizon = tx_horizon - 1 WHERE size = 3",
        "UPDATE ledger_checkpoints SET tx_horizon = tx_horizon + 1000 WHERE size = 3",
        "UPDATE ledger_checkpoints SET frontier = sha256('forged') || sha256('forged') WHERE size = 3",
        "UPDATE ledger_checkpoints SET frontier = '' WHERE size = 3",
        "UPDATE ledger_checkpoints SET frontier = 'odd' WHERE size = 3",
        "UPDATE ledger_checkpoints SET root = sha256('forged') WHERE size = 3",
    ],
)
def test_a_checkpoint_that_was_altered_in_the_database_stops_sealing(
    services: Services, sealed: Days, inspector: Inspector, lie: str
) -> None:
    sealed.execute(lie)
    assert_refused(services, inspector, LedgerForkError, "checkpoint")


def forge_the_second_segment(days: Days) -> None:
    """Make the database tell another story of two segments, consistent in itself but for the signature."""
    days.execute("UPDATE ledger_segments SET root = sha256('forged') WHERE seq = 1")
    with days.superuser.connect() as connection:
        head = LedgerHead().extended(store.records_between(connection, 0, 2))
    days.execute(
        "UPDATE ledger_checkpoints SET root = :root, frontier = :frontier WHERE size = 2",
        root=head.root,
        frontier=head.frontier,
    )


def test_whatever_a_superuser_writes_between_check_and_signature_the_checkpoint_extends_the_cold_one(
    services: Services, days: Days, inspector: Inspector, day: date
) -> None:
    days.append(day, 2)
    days.append(day, 2, sealed=False)
    seal_without_publishing(services)
    days.append(day, 2, sealed=False)
    done: list[str] = []

    def forge(step: str) -> None:
        # The first publication recorded is the interrupted pass's: the anchor was checked, nothing is signed yet.
        done.append(step)
        if done.count(SealStep.PUBLICATION_RECORDED) == 1:
            forge_the_second_segment(days)

    assert seal_all(services, step=forge).published == (2, 3)

    # The checkpoint in the cold store extends the one before, over the records that were published.
    cold, database = inspector.cold_records(), inspector.segments()
    assert len(cold) == 3
    assert cold[1] != database[1]
    days.append(day, 2)
    assert inspector.cold_records()[:3] == cold


def test_records_that_were_altered_before_they_were_published_are_not_published(
    services: Services, days: Days, inspector: Inspector, day: date
) -> None:
    days.append(day, 2)
    days.append(day, 2, sealed=False)
    seal_without_publishing(services)
    forge_the_second_segment(days)

    assert_refused(services, inspector, LedgerForkError, "records were changed before they were published")
    assert inspector.size() == 1


LIES_BEFORE_PUBLICATION: dict[str, tuple[type[LedgerError], str]] = {
    "DELETE FROM ledger_segments WHERE seq = 1": (
        MalformedCheckpointError,
        "signed for 2 records, and the database holds 0 records after 1",
    ),
    "UPDATE ledger_checkpoints SET tx_horizon = 1 WHERE size = 2": (LedgerForkError, "its root, frontier or horizon"),
    "UPDATE ledger_checkpoints SET note = replace(note, E'\\n2\\n', E'\\n3\\n') WHERE size = 2": (
        ForeignCheckpointError,
        "not validly signed",
    ),
    "UPDATE ledger_checkpoints SET note = (SELECT note FROM ledger_checkpoints WHERE size = 1) WHERE size = 2": (
        MalformedCheckpointError,
        "signed for 1 records",
    ),
}


@pytest.mark.parametrize("lie", LIES_BEFORE_PUBLICATION)
def test_a_checkpoint_that_was_altered_before_it_was_published_is_not_published(
    services: Services, days: Days, inspector: Inspector, day: date, lie: str
) -> None:
    kind, match = LIES_BEFORE_PUBLICATION[lie]
    days.append(day, 2)
    days.append(day, 2, sealed=False)
    seal_without_publishing(services)
    days.execute(lie)

    assert_refused(services, inspector, kind, match)
    assert inspector.size() == 1


def test_publications_that_were_forgotten_are_compared_and_recorded_again(
    services: Services, sealed: Days, inspector: Inspector
) -> None:
    sealed.execute("TRUNCATE ledger_publications")
    assert seal_all(services).published == (1, 2, 3, 4)
    assert len(inspector.cold_records()) == 4
