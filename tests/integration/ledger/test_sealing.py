from __future__ import annotations

import random
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.ledger.sealing import (
    SealedRowsChangedError,
    SealResult,
    SealStep,
    SegmentsInTheWayError,
    TransactionIdsWentBackError,
    seal,
)
from tests.integration.archive.days import entry
from tests.support.sealing import seal_all, settle

if TYPE_CHECKING:
    from datetime import date

    from compliance_pipelines.audit_log.entry import AuditEntry
    from compliance_pipelines.services import Services
    from tests.integration.archive.days import Days
    from tests.integration.ledger.inspector import Inspector


OUR_LOCKS: Final = (
    "SELECT {} FROM pg_locks WHERE locktype = 'advisory'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def ids(entries: list[AuditEntry]) -> list[str]:
    return [each.log_entry_id for each in entries]


def test_there_is_nothing_to_seal_in_an_empty_log(services: Services, inspector: Inspector) -> None:
    assert seal(services) == SealResult()
    assert inspector.size() == 0


def test_a_pass_makes_one_segment_a_day_over_its_entries_in_id_order(
    services: Services, days: Days, inspector: Inspector, day: date
) -> None:
    entries = [entry(day + timedelta(days=number % 3), number) for number in range(30)]
    random.Random(0).shuffle(entries)  # noqa: S311 - reproducible disorder
    AuditLog(services.engine).append_many(entries)

    result = seal_all(services)

    assert [(segment.seq, segment.day, segment.entry_count) for segment in result.segments] == [
        (number, day + timedelta(days=number), 10) for number in range(3)
    ]
    assert result.entries == 30
    assert result.published == (3,)
    assert not result.more
    assert not result.busy
    inspector.assert_each_is_sealed_once(ids(entries))


def test_entries_that_come_later_make_segments_of_their_own(
    services: Services, days: Days, inspector: Inspector, day: date
) -> None:
    first = days.append(day, 5)
    second = days.append(day, 3)

    assert seal(services) == SealResult()
    assert [(segment["day"], segment["entry_count"]) for segment in inspector.segments()] == [
        (str(day), 5),
        (str(day), 3),
    ]
    assert inspector.size() == 2
    inspector.assert_each_is_sealed_once(ids(first + second))


def test_an_entry_outside_its_partition_is_sealed_as_any_other(
    services: Services, days: Days, inspector: Inspector, day: date
) -> None:
    inspector.assert_each_is_sealed_once(ids(days.append(day, 4, partition=False)))


def test_an_open_transaction_that_holds_a_lower_id_and_commits_later_is_not_skipped(
    services: Services, inspector: Inspector, day: date
) -> None:
    log = AuditLog(services.engine)
    before, late, early = (entry(day, number) for number in range(3))
    log.append(before)
    settle(services)
    with services.engine.connect() as slow, slow.begin():
        log.append_within(slow, late)
        log.append(early)
        assert seal(services).entries == 1
        assert seal(services) == SealResult()
    result = seal_all(services)

    assert result.entries == 2
    inspector.assert_each_is_sealed_once(ids([before, late, early]))


def test_an_open_transaction_that_is_rolled_back_leaves_nothing_and_holds_nothing_up(
    services: Services, inspector: Inspector, day: date
) -> None:
    log = AuditLog(services.engine)
    abandoned, kept = entry(day, 0), entry(day, 1)
    with services.engine.connect() as slow:
        slow.begin()
        log.append_within(slow, abandoned)
        log.append(kept)
        assert seal(services) == SealResult()
    seal_all(services)

    inspector.assert_each_is_sealed_once([kept.log_entry_id])


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    moves=st.lists(
        st.tuples(st.sampled_from(["write", "write", "commit", "roll back", "seal"]), st.integers(0, 3)),
        min_size=8,
        max_size=24,
    )
)
def test_however_transactions_interleave_with_passes_each_committed_entry_is_sealed_once(
    services: Services, inspector: Inspector, day: date, moves: list[tuple[str, int]]
) -> None:
    log = AuditLog(services.engine)
    with inspector.superuser.connect() as connection:
        committed = list(connection.execute(text("SELECT log_entry_id FROM audit_logs")).scalars())
    # The pool has five connections: these, and one that seals.
    connections = [services.engine.connect() for _ in range(4)]
    written: list[list[str]] = [[] for _ in connections]
    for number, (move, at) in enumerate(moves):
        if move == "write":
            new = entry(day + timedelta(days=number % 2), number)
            log.append_within(connections[at], new)
            written[at].append(new.log_entry_id)
        elif move == "seal":
            seal(services, max_entries=2)
        else:
            if move == "commit":
                connections[at].commit()
                committed += written[at]
            else:
                connections[at].rollback()
            written[at] = []
    for connection in connections:
        connection.rollback()
        connection.close()
    while seal_all(services, max_entries=2).more:
        pass

    inspector.assert_each_is_sealed_once(committed)


def append_in_transactions(services: Services, day: date, counts: list[int]) -> list[AuditEntry]:
    """Entries of one transaction for each count."""
    entries = [[entry(day, number) for number in range(count)] for count in counts]
    for together in entries:
        AuditLog(services.engine).append_many(together)
    return [each for together in entries for each in together]


@pytest.mark.parametrize(
    ("counts", "most", "passes"),
    [
        ([1] * 7, 3, [3, 3, 1]),
        ([2] * 4, 3, [2, 2, 2, 2]),
        ([3, 3], 3, [3, 3]),
        ([3], 3, [3]),
        ([5, 1], 3, [5, 1]),
        ([1, 5, 1], 3, [1, 5, 1]),
        ([5], 3, [5]),
    ],
)
def test_a_pass_takes_whole_transactions_up_to_its_bound_and_a_larger_one_alone(
    inspector: Inspector, day: date, counts: list[int], most: int, passes: list[int]
) -> None:
    services = inspector.services
    entries = append_in_transactions(services, day, counts)
    results = [seal_all(services, max_entries=most) for _ in passes]

    assert [result.entries for result in results] == passes
    assert [result.more for result in results] == [True] * (len(passes) - 1) + [False]
    assert seal(services, max_entries=most) == SealResult()
    inspector.assert_each_is_sealed_once(ids(entries))


def test_the_bound_is_that_of_the_settings(services: Services, inspector: Inspector, day: date) -> None:
    bounded = services.settings.model_copy(update={"ledger_seal_max_entries": 2})
    append_in_transactions(services, day, [1] * 5)

    settle(services)
    result = seal(type(services)(bounded, services.engine, services.store, services.keys, services.clock))

    assert (result.entries, result.more) == (2, True)


def test_sealers_that_run_at_once_seal_each_entry_once(services: Services, inspector: Inspector, day: date) -> None:
    entries = append_in_transactions(services, day, [1] * 12)
    settle(services)
    barrier, failures = threading.Barrier(3), []

    def sealer() -> None:
        try:
            barrier.wait(timeout=900)
            for _ in range(12):
                seal(services, max_entries=2)
        except BaseException as error:  # noqa: BLE001 - told by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=sealer) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=900)

    assert failures == []
    inspector.assert_each_is_sealed_once(ids(entries))


@pytest.mark.usefixtures("impatient")
def test_a_sealer_that_finds_another_at_work_does_nothing(services: Services, days: Days, day: date) -> None:
    days.append(day, 2, sealed=False)
    results: list[SealResult] = []

    def intrude(step: str) -> None:
        if step == SealStep.HASHED:
            results.append(seal(services))

    assert seal_all(services, step=intrude).entries == 2
    assert results == [SealResult(busy=True)]


def test_the_lock_is_given_back_also_after_a_failure(services: Services, days: Days, day: date) -> None:
    days.append(day, 2, sealed=False)

    def fail(_step: str) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        seal_all(services, step=fail)
    assert days.execute(OUR_LOCKS.format("count(*)")) == [(0,)]
    assert seal(services).entries == 2


def test_a_sealer_that_lost_its_lock_to_another_seals_nothing_twice(
    services: Services, days: Days, inspector: Inspector, day: date
) -> None:
    entries = days.append(day, 2, sealed=False)

    def overtake(step: str) -> None:
        if step == SealStep.HASHED:
            days.execute(OUR_LOCKS.format("pg_terminate_backend(pid)"))
            assert seal(services).entries == 2

    with pytest.raises(OperationalError, match="terminating connection"):
        seal_all(services, step=overtake)
    assert seal(services) == SealResult()
    inspector.assert_each_is_sealed_once(ids(entries))


def test_records_that_somebody_else_wrote_stand_in_the_way(services: Services, days: Days, day: date) -> None:
    days.append(day, 2)
    days.append(day, 2, sealed=False)
    forged = (
        "INSERT INTO ledger_segments SELECT seq + 1, day, tx_from + 1, tx_to, first_id, last_id, entry_count, root,"
        " sealed_at FROM ledger_segments"
    )
    days.execute(forged)

    with pytest.raises(SegmentsInTheWayError, match="segment 1 cannot be recorded"):
        seal_all(services)


def test_rows_that_disappear_while_they_are_sealed_stop_the_pass(
    services: Services, days: Days, inspector: Inspector, day: date
) -> None:
    days.append(day, 2, sealed=False)
    days.append(day + timedelta(days=1), 2, sealed=False)

    def damage(step: str) -> None:
        if step == SealStep.HASHED:
            days.execute('DELETE FROM audit_logs WHERE "timestamp" >= :next', next=day + timedelta(days=1))

    with pytest.raises(SealedRowsChangedError, match=f"{day + timedelta(days=1)}: 2 committed entries .* 0 were read"):
        seal_all(services, step=damage)
    assert inspector.segments() == []
    assert inspector.size() == 0


def test_transaction_ids_that_went_back_stop_the_pass(services: Services, days: Days, day: date) -> None:
    days.append(day, 2)
    (definition,) = days.execute("SELECT pg_get_functiondef('audit_tx_horizon'::regproc)")[0]
    days.execute(str(definition).replace("+ 0", "- 1000000"))

    with pytest.raises(TransactionIdsWentBackError, match="entries were sealed up to"):
        seal(services)


def test_every_step_is_told_in_order(services: Services, days: Days, day: date) -> None:
    days.append(day, 2, sealed=False)
    days.append(day + timedelta(days=1), 2, sealed=False)
    told: list[Any] = []

    seal_all(services, step=told.append)

    assert told == [
        SealStep.HASHED,
        SealStep.HASHED,
        SealStep.INSERTED,
        SealStep.COMMITTED,
        SealStep.TILES_PUT,
        SealStep.PARTIAL_TILES_REMOVED,
        SealStep.CHECKPOINT_PUT,
        SealStep.PUBLISHED,
        SealStep.PUBLICATION_RECORDED,
    ]
