from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.ledger import store
from compliance_pipelines.ledger.anchor import DatabaseRolledBackError, LedgerForkError
from compliance_pipelines.ledger.checkpoint import Checkpoint, SigningKey, sign_checkpoint
from compliance_pipelines.ledger.head import LedgerHead
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.ledger.publication import (
    CheckpointMissingError,
    ForeignCheckpointError,
    LedgerError,
    MalformedPublicationError,
    Publication,
    publication_key,
    read_publication,
)
from compliance_pipelines.ledger.sealing import SealStep, seal
from compliance_pipelines.ledger.store_identity import LedgerIdentityError
from compliance_pipelines.object_store.port import ObjectStoreError
from tests.integration.archive.days import overwrite, remove
from tests.integration.ledger.moves import seal_without_publishing
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.services import Services
    from tests.integration.archive.days import Days
    from tests.integration.ledger.inspector import Inspector


def signed(segments: list[Segment], key: SigningKey, *, previous: LedgerHead | None = None) -> Publication:
    """A checkpoint object that is right in itself, over any records."""
    before = previous or LedgerHead()
    head = before.extended(segments)
    note = sign_checkpoint(Checkpoint(key.name, head.size, head.root), key)
    return Publication(note, before.size, tuple(segments))


@pytest.fixture
def sealed(days: Days, day: date) -> Days:
    """Three checkpoints of one segment each, in the database and in the cold store, and entries that wait."""
    for count in (4, 3, 2):
        days.append(day, count)
    days.append(day, 1, sealed=False)
    return days


def assert_refused(services: Services, inspector: Inspector, kind: type[Exception], match: str) -> None:
    """The pass is refused, and neither the database nor the cold store has a new checkpoint."""
    sizes, segments = inspector.sizes(), inspector.segments()
    with pytest.raises(kind, match=match):
        seal(services)
    assert inspector.sizes() == sizes
    assert inspector.segments() == segments


def test_undamaged_the_next_checkpoint_extends_the_last(services: Services, sealed: Days, inspector: Inspector) -> None:
    assert seal_all(services).checkpoint is not None
    assert len(inspector.cold_records()) == 4


def test_a_checkpoint_that_disappeared_from_the_cold_store_stops_sealing(
    services: Services, sealed: Days, inspector: Inspector
) -> None:
    remove(inspector.object_path(3))
    assert_refused(services, inspector, CheckpointMissingError, "checkpoint 3 was published and is no longer at file:")


def test_a_cold_store_that_disappeared_stops_sealing(services: Services, sealed: Days, inspector: Inspector) -> None:
    for size in inspector.sizes():
        remove(inspector.object_path(size))
    assert_refused(services, inspector, CheckpointMissingError, "checkpoint 3 was published")


def altered(document: dict[str, Any], **values: object) -> bytes:
    return (json.dumps({**document, **values}, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], type[Exception], str]] = {
    "a record's count": (
        lambda data: data.replace(b'"entry_count":2', b'"entry_count":5'),
        LedgerForkError,
        "the records in file:.* do not lead to the root",
    ),
    "a record's time": (
        lambda data: data.replace(b'"sealed_at":1', b'"sealed_at":2'),
        LedgerForkError,
        "the records in file:.* do not lead to the root",
    ),
    "the signed size": (
        lambda data: altered(json.loads(data), checkpoint=json.loads(data)["checkpoint"].replace("\n3\n", "\n4\n")),
        ForeignCheckpointError,
        "not validly signed",
    ),
    "no note": (
        lambda data: altered(json.loads(data), checkpoint="x"),
        MalformedPublicationError,
        "holds no checkpoint",
    ),
    "truncated": (lambda data: data[:-20], MalformedPublicationError, "was altered: it is no checkpoint object"),
    "white space": (
        lambda data: data.replace(b":", b": ", 1),
        MalformedPublicationError,
        "was altered: it is not written",
    ),
    "empty": (lambda _: b"", MalformedPublicationError, "was altered"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_was_altered_in_the_cold_store_stops_sealing(
    services: Services, sealed: Days, inspector: Inspector, damage: str
) -> None:
    change, kind, match = DAMAGES[damage]
    path = inspector.object_path(3)
    before = path.read_bytes()
    overwrite(path, change(before))
    assert path.read_bytes() != before
    assert_refused(services, inspector, kind, match)


def test_another_checkpoint_of_ours_in_its_place_stops_sealing(
    services: Services, sealed: Days, inspector: Inspector
) -> None:
    overwrite(inspector.object_path(3), inspector.object_path(2).read_bytes())
    assert_refused(services, inspector, MalformedPublicationError, "it holds the checkpoint of 2 segments")


@pytest.mark.parametrize("name", ["tests.example/audit", "tests.example/another"])
def test_a_checkpoint_signed_by_another_key_stops_sealing(
    services: Services, sealed: Days, inspector: Inspector, name: str
) -> None:
    publication = read_publication(services.store, 3)
    checkpoint = Checkpoint.from_text(publication.note.split("\n\n")[0] + "\n")
    key = SigningKey.generate(name)
    forged = sign_checkpoint(dataclasses.replace(checkpoint, origin=name), key)
    overwrite(inspector.object_path(3), dataclasses.replace(publication, note=forged).to_bytes())

    assert_refused(services, inspector, ForeignCheckpointError, "not signed by tests.example/audit")


def test_a_signing_key_that_was_changed_stops_sealing(services: Services, sealed: Days, inspector: Inspector) -> None:
    changed = dataclasses.replace(services, keys=Keyring.of(SigningKey.generate(services.signing_key.name)))
    assert_refused(changed, inspector, LedgerIdentityError, "the key in use is of ledger .* the database is of ledger")
    assert seal_all(services).entries == 1


def test_a_fork_signed_by_our_own_key_stops_sealing(services: Services, sealed: Days, inspector: Inspector) -> None:
    records = [read_publication(services.store, size).segments[0] for size in (1, 2, 3)]
    other = dataclasses.replace(records[2], entry_count=records[2].entry_count + 1)
    fork = signed([other], services.signing_key, previous=LedgerHead().extended(records[:2]))
    overwrite(inspector.object_path(3), fork.to_bytes())

    assert_refused(services, inspector, LedgerForkError, "checkpoint 3: the database has root")


def test_a_fork_at_the_size_of_what_is_to_be_published_is_never_overwritten(
    services: Services, days: Days, inspector: Inspector, day: date
) -> None:
    days.append(day, 2)
    days.append(day, 2, sealed=False)
    seal_without_publishing(services)
    (first,) = read_publication(services.store, 1).segments
    other = signed([dataclasses.replace(first, seq=1)], services.signing_key, previous=LedgerHead().extended([first]))
    services.store.put_bytes(publication_key(2), other.to_bytes())

    assert_refused(services, inspector, LedgerForkError, "holds another checkpoint of 2 segments")
    assert read_publication(services.store, 2) == other


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

    monkeypatch.setattr(services.store, "open", fail)
    assert_refused(services, inspector, ObjectStoreError, "does not answer")


@pytest.mark.parametrize(
    "lie",
    [
        "UPDATE ledger_checkpoints SET tx_horizon = tx_horizon - 1 WHERE size = 3",
        "UPDATE ledger_checkpoints SET tx_horizon = tx_horizon + 1000 WHERE size = 3",
        "UPDATE ledger_checkpoints SET frontier = sha256('forged') || sha256('forged') WHERE size = 3",
        "UPDATE ledger_checkpoints SET frontier = '' WHERE size = 3",
        "UPDATE ledger_checkpoints SET frontier = sha256('forged') WHERE size = 2",
        "UPDATE ledger_checkpoints SET frontier = 'odd' WHERE size = 2",
        "UPDATE ledger_checkpoints SET root = sha256('forged') WHERE size = 3",
        "DELETE FROM ledger_checkpoints WHERE size = 2",
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
        head = LedgerHead().extended(store.segments_between(connection, 0, 2))
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
        if done == [SealStep.PUBLISHED, SealStep.PUBLICATION_RECORDED]:
            forge_the_second_segment(days)

    assert seal_all(services, step=forge).published == (2, 3)

    # Every checkpoint in the cold store extends the one before, over the records that were published.
    cold, database = inspector.cold_records(), inspector.segments()
    assert len(cold) == 3
    assert cold[1] != database[1]
    assert_refused(services, inspector, LedgerForkError, "do not lead to the root")


def test_records_that_were_altered_before_they_were_published_are_not_published(
    services: Services, days: Days, inspector: Inspector, day: date
) -> None:
    days.append(day, 2)
    days.append(day, 2, sealed=False)
    seal_without_publishing(services)
    forge_the_second_segment(days)

    assert_refused(services, inspector, LedgerForkError, "records were changed before they were published")
    assert inspector.sizes() == [1]


LIES_BEFORE_PUBLICATION: dict[str, tuple[type[LedgerError], str]] = {
    "DELETE FROM ledger_segments WHERE seq = 1": (
        MalformedPublicationError,
        "signed for 2 segments but holds records up to 1",
    ),
    "UPDATE ledger_checkpoints SET tx_horizon = 1 WHERE size = 2": (LedgerForkError, "its root, frontier or horizon"),
    "UPDATE ledger_checkpoints SET note = replace(note, E'\\n2\\n', E'\\n3\\n') WHERE size = 2": (
        ForeignCheckpointError,
        "not validly signed",
    ),
    "UPDATE ledger_checkpoints SET note = (SELECT note FROM ledger_checkpoints WHERE size = 1) WHERE size = 2": (
        MalformedPublicationError,
        "signed for 1 segments",
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
    assert inspector.sizes() == [1]


def test_publications_that_were_forgotten_are_compared_and_recorded_again(
    services: Services, sealed: Days, inspector: Inspector
) -> None:
    sealed.execute("TRUNCATE ledger_publications")
    assert seal_all(services).published == (1, 2, 3, 4)
    assert len(inspector.cold_records()) == 4
