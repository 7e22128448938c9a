from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.ledger import clusters
from compliance_pipelines.ledger.clusters import ClusterChangedError, ClusterNotAdoptedError, adopt_cluster
from compliance_pipelines.ledger.sealing import TransactionIdsWentBackError, seal
from tests.integration.archive.days import entry
from tests.integration.ledger.moves import FAR_AHEAD, move_to_another_cluster, set_transaction_ids
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.services import Services
    from tests.integration.archive.days import Days
    from tests.integration.ledger.inspector import Inspector


def tx_ids(days: Days) -> list[int]:
    return [tx_id for (tx_id,) in days.execute("SELECT tx_id FROM audit_logs ORDER BY id")]


def test_nothing_is_sealed_in_a_cluster_that_nobody_adopted(
    services: Services, days: Days, inspector: Inspector, day: date
) -> None:
    days.append(day, 2)
    days.append(day, 2, sealed=False)
    move_to_another_cluster(days)

    with pytest.raises(ClusterChangedError, match="run `compliance ledger adopt-cluster`"):
        seal(services)
    assert inspector.size() == 1


def test_after_the_adoption_transaction_ids_go_on_growing_and_sealing_goes_on(
    services: Services, days: Days, inspector: Inspector, superuser_engine: sqlalchemy.Engine, day: date
) -> None:
    entries = days.append(day, 2)
    entries += days.append(day, 1, sealed=False)
    before = tx_ids(days)
    move_to_another_cluster(days)

    adoption = adopt_cluster(superuser_engine)
    entries += days.append(day, 2)

    assert adoption.entries_in_no_segment == ()
    assert adoption.tx_offset > max(before)
    assert min(tx_ids(days)[3:]) > adoption.tx_offset
    inspector.assert_each_is_sealed_once(each.log_entry_id for each in entries)
    assert days.execute("SELECT number, tx_offset FROM ledger_clusters ORDER BY number") == [
        (1, 0),
        (2, adoption.tx_offset),
    ]


def test_a_second_move_is_adopted_on_top_of_the_first(
    services: Services, days: Days, inspector: Inspector, superuser_engine: sqlalchemy.Engine, day: date
) -> None:
    entries = days.append(day, 1)
    offsets = []
    for _ in range(2):
        move_to_another_cluster(days)
        offsets.append(adopt_cluster(superuser_engine).tx_offset)
        entries += days.append(day, 1)

    assert offsets[0] < offsets[1]
    assert tx_ids(days) == sorted(tx_ids(days))
    inspector.assert_each_is_sealed_once(each.log_entry_id for each in entries)


def test_the_adopted_cluster_is_not_adopted_again(days: Days, superuser_engine: sqlalchemy.Engine, day: date) -> None:
    days.append(day, 1)
    with pytest.raises(ClusterNotAdoptedError, match="nothing to do"):
        adopt_cluster(superuser_engine)
    assert days.execute("SELECT count(*) FROM ledger_clusters") == [(1,)]


def test_a_cluster_whose_counter_was_reset_is_adopted_as_a_new_one_is(
    services: Services, days: Days, inspector: Inspector, superuser_engine: sqlalchemy.Engine, day: date
) -> None:
    set_transaction_ids(days, FAR_AHEAD)
    entries = days.append(day, 1)
    set_transaction_ids(days, 0)
    with pytest.raises(TransactionIdsWentBackError, match="adopt-cluster"):
        seal(services)

    adopt_cluster(superuser_engine)
    entries += days.append(day, 1)

    inspector.assert_each_is_sealed_once(each.log_entry_id for each in entries)


def test_entries_written_before_the_adoption_under_used_transaction_ids_are_named(
    services: Services, days: Days, superuser_engine: sqlalchemy.Engine, day: date
) -> None:
    days.append(day, 3)
    move_to_another_cluster(days)
    in_the_range_of_a_segment = days.append(day, 1, sealed=False)
    on_a_day_without_segment = days.append(day + timedelta(days=1), 1, sealed=False)
    named = [each.log_entry_id for each in in_the_range_of_a_segment + on_a_day_without_segment]
    days.execute("UPDATE audit_logs SET tx_id = 1 WHERE log_entry_id = ANY(:ids)", ids=named)

    assert adopt_cluster(superuser_engine).entries_in_no_segment == tuple(named)


def test_a_writer_that_is_at_work_holds_the_adoption_up(
    services: Services, days: Days, inspector: Inspector, superuser_engine: sqlalchemy.Engine, day: date
) -> None:
    written, adopted = entry(day, 1), threading.Event()
    move_to_another_cluster(days)

    def adopt() -> None:
        adopt_cluster(superuser_engine)
        adopted.set()

    adopting = threading.Thread(target=adopt)
    with services.engine.connect() as writer, writer.begin():
        AuditLog(services.engine).append_within(writer, written)
        adopting.start()
        assert not adopted.wait(0.5)
    adopting.join(timeout=900)
    assert adopted.is_set()
    seal_all(services)
    inspector.assert_each_is_sealed_once([written.log_entry_id])


def test_a_writer_that_does_not_end_makes_the_adoption_give_up(
    services: Services,
    days: Days,
    superuser_engine: sqlalchemy.Engine,
    day: date,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clusters, "_WRITERS_PATIENCE", timedelta(milliseconds=100))
    move_to_another_cluster(days)
    with services.engine.connect() as writer, writer.begin():
        AuditLog(services.engine).append_within(writer, entry(day, 1))
        with pytest.raises(
            ClusterNotAdoptedError,
            match=r"after 0.1 s \(session .*RowExclusiveLock on audit_logs.*\): stop",
        ):
            adopt_cluster(superuser_engine)
    assert days.execute("SELECT count(*) FROM ledger_clusters") == [(1,)]
