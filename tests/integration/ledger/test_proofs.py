from __future__ import annotations

import dataclasses
import stat
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import event, text

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.lookup import ArchiveEntryFinder
from compliance_pipelines.archive.parquet import UnreadableParquetError
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.audit_log.entry import COLUMNS
from compliance_pipelines.audit_log.errors import AppendNotPossibleError
from compliance_pipelines.audit_log.reading import read_rows
from compliance_pipelines.ledger import proofs
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.errors import TilesAlteredError
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.ledger.proof_document import verify_proof
from compliance_pipelines.ledger.proofs import (
    AmbiguousEntryError,
    EntryDiffersError,
    EntryNotFoundError,
    EntryNotSealedError,
    prove,
)
from compliance_pipelines.ledger.store_identity import LedgerIdentityError
from compliance_pipelines.ledger.tiles import Tile
from compliance_pipelines.postgres.engine import create_engine
from tests.integration.archive.days import entry, overwrite
from tests.integration.ledger.moves import seal_without_publishing
from tests.support.sealing import seal_all
from tests.unit.ledger import stranger

if TYPE_CHECKING:
    from datetime import date

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days


def proof_of(services: Services, log_entry_id: str, day: date | None = None) -> dict[str, Any]:
    """The proof, which both verifiers accept."""
    document = prove(services, log_entry_id, finder=ArchiveEntryFinder(services), day=day)
    assert verify_proof(document, services.verifier_key).entry["log_entry_id"] == log_entry_id
    stranger.verify_proof(document, stranger.read_public_key(services.verifier_key.to_note_string()))
    return document


def purge(services: Services, days: Days, clock: MovableClock, *purged: date) -> None:
    """Archive days, let the grace pass, and drop their rows."""
    for each in purged:
        archive_day(services, each)
    clock.advance(days=services.settings.audit_log_purge_grace_days + 1)
    for each in purged:
        purge_day(services, each)
        assert days.hot_rows(each) == []


def proofs_on_record(days: Days) -> list[tuple[Any, ...]]:
    return days.execute(
        "SELECT resource_id, result, user_id, metadata FROM audit_logs"
        " WHERE action = 'audit.prove' AND resource_type = 'audit_entry' ORDER BY id"
    )


def test_every_entry_of_a_hot_segment_is_proved(services: Services, days: Days, day: date) -> None:
    entries = days.append(day, 7)
    days.append(day, 2)
    rows = {row[1]: row for row in days.hot_rows(day)}

    for number, each in enumerate(entries):
        document = proof_of(services, each.log_entry_id)
        proven = verify_proof(document, services.verifier_key).entry
        assert tuple(proven[name] for name in COLUMNS) == rows[each.log_entry_id]
        assert document["entry_index"] == number


def test_a_proof_leads_to_the_last_checkpoint_in_the_cold_store(services: Services, days: Days, day: date) -> None:
    (first,) = days.append(day, 1)
    days.append(day, 1)
    days.append(day, 1, sealed=False)
    seal_without_publishing(services)
    assert verify_proof(proof_of(services, first.log_entry_id), services.verifier_key).checkpoint.size == 2


def test_an_entry_is_proved_after_its_hot_rows_are_purged(
    services: Services, days: Days, clock: MovableClock, day: date
) -> None:
    entries = days.append(day, 5) + days.append(day, 4)
    hot = {each.log_entry_id: proof_of(services, each.log_entry_id) for each in entries[::4]}
    seal_all(services)
    purge(services, days, clock, day)

    for log_entry_id, before in hot.items():
        after = proof_of(services, log_entry_id)
        assert [after[name] for name in ("entry", "entry_index", "entry_path", "segment")] == [
            before[name] for name in ("entry", "entry_index", "entry_path", "segment")
        ]


def test_a_late_entry_is_proved_from_the_part_that_holds_it(
    services: Services, days: Days, clock: MovableClock, day: date
) -> None:
    days.append(day, 3)
    archive_day(services, day)
    late = days.append(day, 2)
    seal_all(services)
    purge(services, days, clock, day)

    proof_of(services, late[1].log_entry_id)


def test_that_a_proof_was_made_is_on_record(services: Services, days: Days, day: date) -> None:
    (proved,) = days.append(day, 1)
    proof_of(services, proved.log_entry_id)

    assert proofs_on_record(days) == [
        (
            proved.log_entry_id,
            "success",
            services.settings.audit_log_actor,
            {"day": str(day), "segment": 0, "checkpoint": 1},
        )
    ]


def test_the_record_of_a_proof_is_sealed_and_proved_itself(services: Services, days: Days, day: date) -> None:
    (proved,) = days.append(day, 1)
    proof_of(services, proved.log_entry_id)
    seal_all(services)
    (record,) = days.execute("SELECT log_entry_id FROM audit_logs WHERE action = 'audit.prove'")[0]

    proof_of(services, str(record))


def test_a_proof_that_cannot_be_put_on_record_is_not_handed_out(
    services: Services, days: Days, reader_database_url: str, day: date
) -> None:
    (proved,) = days.append(day, 1)
    days.execute("REVOKE EXECUTE ON FUNCTION audit_record_reading FROM audit_reader")
    reader = create_engine(reader_database_url, pool_size=2)
    reading = dataclasses.replace(services, engine=reader)
    with pytest.raises(AppendNotPossibleError, match=r"must be on record.*permission denied"):
        prove(reading, proved.log_entry_id, finder=ArchiveEntryFinder(reading))
    reader.dispose()


def test_an_entry_that_is_purged_while_its_rows_are_read_is_proved_from_the_archive(
    services: Services, days: Days, clock: MovableClock, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    (proved, *_) = days.append(day, 3)
    archive_day(services, day)
    clock.advance(days=services.settings.audit_log_purge_grace_days + 1)
    purged: list[int] = []

    def purge_first(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - those of read_rows
        purged.append(purge_day(services, day).entry_count)
        return read_rows(*arguments, **options)

    monkeypatch.setattr(proofs, "read_rows", purge_first)
    proof_of(services, proved.log_entry_id)

    assert purged == [3]


def assert_not_proved(
    days: Days, log_entry_id: str, kind: type[Exception], match: str, day: date | None = None
) -> None:
    services = days.services
    with pytest.raises(kind, match=match):
        prove(services, log_entry_id, finder=ArchiveEntryFinder(services), day=day)
    assert proofs_on_record(days) == []


def test_an_unknown_entry_is_not_proved(days: Days, day: date) -> None:
    (known,) = days.append(day, 1)
    assert_not_proved(days, "unknown", EntryNotFoundError, "no entry unknown: neither store holds it$")
    other = day + timedelta(days=1)
    assert_not_proved(days, known.log_entry_id, EntryNotFoundError, f"neither store holds it on {other}", other)


def test_an_entry_that_is_not_sealed_is_not_proved(days: Days, day: date) -> None:
    days.append(day, 1)
    (unsealed,) = days.append(day, 1, sealed=False)
    assert_not_proved(days, unsealed.log_entry_id, EntryNotSealedError, "is not sealed yet: run `compliance seal`")


def test_an_entry_whose_checkpoint_is_not_in_the_cold_store_is_not_proved(days: Days, day: date) -> None:
    days.append(day, 1)
    (waiting,) = days.append(day, 1, sealed=False)
    seal_without_publishing(days.services)
    assert_not_proved(days, waiting.log_entry_id, EntryNotSealedError, "segment 1 is not in the cold store yet")


def test_an_id_that_stands_on_several_days_is_proved_on_the_day_that_is_given(
    services: Services, days: Days, day: date
) -> None:
    other = day + timedelta(days=5)
    for each in (day, other):
        days.append_entries(each, [entry(each, 1, log_entry_id="twice")])

    assert_not_proved(days, "twice", AmbiguousEntryError, f"stands on {day}, {other}: give the day with --day")
    for each in (day, other):
        assert proof_of(services, "twice", each)["segment"]["day"] == str(each)


def test_an_id_that_stands_in_the_archives_of_several_days_is_proved_on_the_day_that_is_given(
    services: Services, days: Days, clock: MovableClock, day: date
) -> None:
    other = day + timedelta(days=5)
    for each in (day, other):
        days.append_entries(each, [entry(each, 1, log_entry_id="twice")])
    purge(services, days, clock, day, other)

    assert_not_proved(days, "twice", AmbiguousEntryError, f"stands on {day}, {other}: give the day with --day")
    for each in (day, other):
        assert proof_of(services, "twice", each)["segment"]["day"] == str(each)


def test_an_id_that_stands_twice_on_one_day_is_not_proved(services: Services, days: Days, day: date) -> None:
    days.append_entries(day, [entry(day, 1, log_entry_id="twice")], sealed=False)
    with services.engine.begin() as connection:
        connection.execute(
            text(
                'INSERT INTO audit_logs (log_entry_id, "timestamp", user_id, action, result)'
                " SELECT log_entry_id, \"timestamp\" + interval '1 second', user_id, action, result FROM audit_logs"
            )
        )
    seal_all(services)

    assert_not_proved(days, "twice", AmbiguousEntryError, f"stands 2 times on {day}")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE audit_logs SET user_id = 'mallory' WHERE log_entry_id = :id",
        "UPDATE audit_logs SET user_id = 'mallory' WHERE log_entry_id <> :id",
        "UPDATE audit_logs SET metadata = '1.0' WHERE log_entry_id = :id",
        "DELETE FROM audit_logs WHERE id = (SELECT max(id) FROM audit_logs WHERE log_entry_id <> :id)",
        "UPDATE ledger_segments SET root = sha256('forged')",
    ],
)
def test_nothing_is_proved_from_entries_that_are_not_those_that_were_sealed(days: Days, day: date, damage: str) -> None:
    entries = days.append(day, 5)
    days.execute(damage, id=entries[2].log_entry_id)
    assert_not_proved(days, entries[2].log_entry_id, EntryDiffersError, f"segment 0 are not those .* verify {day}")


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (
            "UPDATE ledger_segments SET sealed_at = sealed_at + interval '1 hour' WHERE seq = 0",
            "inclusion: the root is",
        ),
        (
            "UPDATE ledger_checkpoints SET note = replace(note, E'\\n2\\n', E'\\n3\\n')",
            "the signature of tests.example/audit.* does not fit",
        ),
    ],
)
def test_nothing_is_proved_from_a_ledger_that_is_not_what_was_signed(
    days: Days, day: date, damage: str, match: str
) -> None:
    (proved,) = days.append(day, 1)
    days.append(day, 2)
    days.execute(damage)
    assert_not_proved(days, proved.log_entry_id, EntryDiffersError, match)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE ledger_segments SET entry_count = entry_count + 1 WHERE seq = 1",
        "DELETE FROM ledger_segments WHERE seq = 1",
    ],
)
def test_a_proof_is_of_the_published_log_whatever_the_database_says_of_other_segments(
    services: Services, days: Days, day: date, damage: str
) -> None:
    (proved,) = days.append(day, 1)
    days.append(day, 2)
    days.execute(damage)
    assert verify_proof(proof_of(services, proved.log_entry_id), services.verifier_key).checkpoint.size == 2


def test_nothing_is_proved_from_tiles_that_are_not_what_was_signed(services: Services, days: Days, day: date) -> None:
    (proved,) = days.append(day, 1)
    days.append(day, 2)
    tile = Tile(0, 0, 2)
    data = services.store.get_bytes(tile.key)
    services.store.delete(tile.key)
    assert_not_proved(days, proved.log_entry_id, TilesAlteredError, "is not there")
    services.store.put_bytes(tile.key, data[:32] + bytes(32))
    assert_not_proved(days, proved.log_entry_id, EntryDiffersError, "inclusion: the root is")


def test_a_proof_takes_one_segment_record_however_long_the_ledger_is(services: Services, days: Days, day: date) -> None:
    (proved, *_) = (days.append(day, 1)[0] for _ in range(3))
    taken: list[int] = []

    def count(_connection: object, cursor: Any, statement: str, *_: object) -> None:  # noqa: ANN401 - the driver's
        if "FROM ledger_segments" in statement:
            taken.append(cursor.rowcount)

    event.listen(services.engine, "after_cursor_execute", count)
    try:
        proof_of(services, proved.log_entry_id)
    finally:
        event.remove(services.engine, "after_cursor_execute", count)
    assert taken == [1]


def test_nothing_is_proved_under_a_key_that_did_not_sign(services: Services, days: Days, day: date) -> None:
    (proved,) = days.append(day, 1)
    changed = dataclasses.replace(services, keys=Keyring.of(SigningKey.generate("tests.example/audit")))
    with pytest.raises(LedgerIdentityError, match=r"the key in use is of ledger .* the database is of ledger"):
        prove(changed, proved.log_entry_id, finder=ArchiveEntryFinder(changed))


def test_nothing_is_proved_from_an_archive_that_was_altered(
    services: Services, days: Days, clock: MovableClock, day: date
) -> None:
    entries = days.append(day, 3)
    purge(services, days, clock, day)
    (path,) = days.objects(day)
    table = pq.read_table(path)
    position = table.schema.get_field_index("user_id")
    forged = table.set_column(position, table.schema.field(position), pa.array(["mallory"] * 3))
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    pq.write_table(forged, path)

    assert_not_proved(days, entries[0].log_entry_id, UnreadableParquetError, "is not the object that was committed")


def test_nothing_is_proved_from_an_archive_that_cannot_be_read(
    services: Services, days: Days, clock: MovableClock, day: date
) -> None:
    entries = days.append(day, 3)
    purge(services, days, clock, day)
    (path,) = days.objects(day)
    overwrite(path, path.read_bytes()[:-100])

    assert_not_proved(days, entries[0].log_entry_id, UnreadableParquetError, path.name)
