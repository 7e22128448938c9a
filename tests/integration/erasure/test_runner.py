"""A request is carried out target by target, looked at again, and closed with the deletion record that it needs."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.errors import RequestBusyError, RequestNotFoundError, TargetError
from compliance_pipelines.erasure.record import (
    EventKind,
    State,
    load,
    open_cases,
)
from compliance_pipelines.erasure.runner import RunStep, run_due, run_request
from compliance_pipelines.erasure.targets import Reported
from compliance_pipelines.postgres.locks import process_lock
from tests.integration.erasure.application import EVERYTHING, Application, table_target
from tests.integration.erasure.asking import ALICE, BOB, ask, deletion_records, erase, happened
from tests.integration.erasure.flaky import SHARED, Shelf

if TYPE_CHECKING:
    from compliance_pipelines.services import Services


def test_everything_of_the_person_goes_and_nothing_of_anybody_else(
    services: Services, application: Application
) -> None:
    application.meet(ALICE)
    application.meet(BOB)
    case = erase(services, ask(services))
    assert case.state is State.CLOSED
    assert case.deleted() == EVERYTHING
    assert not application.has_anything_of(ALICE)
    assert len(application.keys("session:*")) == 2
    assert application.redis.llen(f"user_sessions:{BOB}") == 2
    assert len(application.keys("store:*")) == len(application.keys("store_vectors:*")) == 2
    assert application.rows("SELECT user_id FROM user_profiles") == [(BOB,)]
    assert application.rows("SELECT user_id, ip_address FROM consent_records ORDER BY 1") == [
        (ALICE, None),
        (ALICE, None),
        (BOB, "192.0.2.1"),
        (BOB, "192.0.2.1"),
    ]


def test_the_deletion_record_is_the_requirements(services: Services, application: Application) -> None:
    application.meet(ALICE)
    case = erase(services, ask(services))
    (record,) = deletion_records(services)
    assert (record["user_id"], record["resource_type"], record["resource_id"]) == (ALICE, "user_account", ALICE)
    assert record["result"] == "success"
    assert record["log_entry_id"].startswith("gdpr_deletion_")
    assert case.closure is not None
    assert record["metadata"] == {
        "deleted_data_types": sorted(EVERYTHING),
        "deletion_count": sum(EVERYTHING.values()),
        "errors": [],
        "reason": "gdpr_article_17_user_request",
        "request_id": case.request.id,
        "statement_sha256": hashlib.sha256(case.closure.statement.encode()).hexdigest(),
    }
    assert (case.closure.log_entry_id, case.closure.result) == (record["log_entry_id"], "success")


def test_the_deletion_record_and_the_closure_are_in_one_transaction(services: Services) -> None:
    erase(services, ask(services), Shelf())
    with services.engine.connect() as connection:
        entry, closure = connection.execute(
            text(
                "SELECT entry.xmin::text, closure.xmin::text FROM audit_logs AS entry, erasure_closures AS closure"
                " WHERE entry.action = 'account_deletion'"
            )
        ).one()
    assert entry == closure


def test_a_deletion_record_that_cannot_be_written_leaves_the_request_open_and_the_next_run_closes_it(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, shelf = ask(services), Shelf().put("a", "b")
    with monkeypatch.context() as patched:
        patched.setattr(AuditLog, "append_within", _refuse)
        with pytest.raises(ConnectionError):
            erase(services, case, shelf)
    with services.engine.connect() as connection:
        assert load(connection, case.request.id).state is State.PARTIAL
    closed = erase(services, case, shelf)
    assert closed.deleted() == {"things": 2}
    assert shelf.calls.count("delete") == 1


def _refuse(*_: object) -> None:
    raise ConnectionError("lost")


def test_the_request_is_durable_before_anything_is_deleted(services: Services) -> None:
    shelf = Shelf().put("a")
    seen: list[int] = []

    def look() -> None:
        with services.engine.connect() as connection:
            seen.extend(case.request.id for case in open_cases(connection))

    shelf.when_found = look
    case = ask(services)
    erase(services, case, shelf)
    assert seen == [case.request.id]


def test_every_target_is_looked_at_again_after_all_were_erased(services: Services) -> None:
    one, two = Shelf("one").put("a"), Shelf("two").put("b")
    case = erase(services, ask(services), one, two)
    assert happened(case) == [
        (1, "started", None),
        (1, "found", "one"),
        (1, "deleted", "one"),
        (1, "found", "two"),
        (1, "deleted", "two"),
        (1, "verified", "one"),
        (1, "verified", "two"),
    ]


def test_a_failed_target_leaves_the_request_partial_and_the_others_are_not_erased_again(services: Services) -> None:
    good, bad = Shelf("good").put("a", "b"), Shelf("bad").put("c", "d", "e")
    bad.fails, bad.fails_after = OSError("disk on fire\0"), 2
    case = erase(services, ask(services), bad, good)
    assert case.state is State.PARTIAL
    assert good.things == {}
    assert case.closure is None
    (record,) = deletion_records(services)
    assert record["result"] == "partial"
    assert record["metadata"]["errors"] == ["bad: OSError: disk on fire\\0"]
    assert record["metadata"]["deletion_count"] == 2
    bad.fails = None
    closed = erase(services, case, bad, good)
    assert closed.state is State.CLOSED
    assert good.calls == ["find", "delete", "rescan"]
    assert bad.calls == ["find", "delete", "find", "delete", "rescan"]


def test_what_went_in_a_deletion_that_failed_is_told_apart_from_what_is_known_to_be_deleted(services: Services) -> None:
    shelf = Shelf().put("a", "b", "c")
    shelf.fails, shelf.fails_after = OSError(), 2
    case = erase(services, ask(services), shelf)
    assert len(shelf.things) == 1
    shelf.fails_after = 0
    case = erase(services, case, shelf)
    shelf.fails = None
    case = erase(services, case, shelf)
    assert (case.deleted(), case.gone()) == ({"things": 1}, {"things": 2})
    metadata = deletion_records(services)[-1]["metadata"]
    assert (metadata["deletion_count"], metadata["gone"]) == (1, {"things": 2})
    assert case.closure is not None
    (gone,) = json.loads(case.closure.statement)["gone"]
    assert (gone["target"], gone["data_type"], gone["count"]) == ("shelf", "things", 2)


@pytest.mark.usefixtures("impatient")
def test_what_expires_between_two_attempts_is_not_counted_as_deleted(services: Services) -> None:
    shelf = Shelf().put("a", "b", "c")
    case = ask(services)
    # A hold that is being added lets no deletion begin.
    with services.engine.connect() as guard, process_lock(guard, "holds", doing="the test"):
        case = erase(services, case, shelf)
    assert [event.kind for event in case.events[-2:]] == [EventKind.FAILED, EventKind.ENDED]
    assert shelf.calls == ["find"]
    shelf.things.clear()
    closed = erase(services, case, shelf)
    assert (closed.state, closed.deleted(), closed.gone()) == (State.CLOSED, {}, {})
    assert deletion_records(services)[-1]["metadata"]["deletion_count"] == 0


def test_what_another_session_deletes_before_the_erasure_does_is_not_counted(
    services: Services, application: Application
) -> None:
    application.meet(ALICE)

    def hook(step: RunStep, target: str | None, /) -> None:
        if (step, target) == (RunStep.FOUND, "sessions"):
            application.redis.delete(next(iter(application.keys("session:*"))))
        if (step, target) == (RunStep.FOUND, "consent_records"):
            application.execute("DELETE FROM consent_records WHERE consent_type = 'marketing'")

    case = run_request(services, configured_targets(services.settings), ask(services).request.id, hook=hook)
    assert case.state is State.CLOSED
    assert (case.deleted()["sessions"], case.deleted()["consent_records"]) == (1, 1)
    assert case.gone() == {}


def test_an_attempt_that_deletes_nothing_appends_no_deletion_record(services: Services) -> None:
    shelf = Shelf().put("a")
    shelf.fails = OSError()
    assert erase(services, ask(services), shelf).state is State.PARTIAL
    assert deletion_records(services) == []


def test_what_comes_back_is_found_reported_and_deleted_next_time(services: Services) -> None:
    one, two = Shelf("one").put("a"), Shelf("two").put("b")
    two.when_found = lambda: one.put("late")
    case = erase(services, ask(services), one, two)
    assert case.state is State.PARTIAL
    assert "1 things came back" in case.events[-3].detail["error"]
    two.when_found = lambda: None
    closed = erase(services, case, one, two)
    assert closed.state is State.CLOSED
    assert closed.deleted() == {"things": 3}
    assert two.calls == ["find", "delete", "rescan", "rescan"]


def test_a_look_that_fails_is_repeated_without_deleting_again(services: Services) -> None:
    shelf = Shelf().put("a")
    shelf.when_found = lambda: setattr(shelf, "fails_to_look", ConnectionError("gone"))
    case = erase(services, ask(services), shelf)
    assert case.state is State.PARTIAL
    shelf.fails_to_look = None
    assert erase(services, case, shelf).state is State.CLOSED
    assert shelf.calls == ["find", "delete", "rescan", "rescan"]


def test_a_closed_request_is_left_as_it_is(services: Services) -> None:
    shelf = Shelf().put("a")
    closed = erase(services, ask(services), shelf)
    shelf.put("b")
    assert erase(services, closed, shelf) == closed
    assert set(shelf.things) == {"b"}
    assert len(deletion_records(services)) == 1


def test_what_is_not_the_persons_alone_is_kept_reported_and_makes_the_result_partial(services: Services) -> None:
    shelf = Shelf(reported=(SHARED, SHARED, Reported("threads", "t9", "nobody knows whose it is", is_theirs=False)))
    case = erase(services, ask(services), shelf)
    assert case.state is State.CLOSED
    (record,) = deletion_records(services)
    assert record["result"] == "partial"
    assert record["metadata"]["errors"] == [
        "threads: 2 kept: several people share it",
        "threads: 1 kept: nobody knows whose it is",
    ]


def test_a_target_that_failed_and_was_taken_out_of_the_settings_is_not_forgotten(services: Services) -> None:
    one, two = Shelf("one").put("a"), Shelf("two").put("b")
    two.fails = OSError()
    case = erase(services, ask(services), one, two)
    closed = erase(services, case, one)
    assert closed.state is State.CLOSED
    assert closed.closure is not None
    assert closed.closure.result == "partial"
    assert deletion_records(services)[-1]["metadata"]["errors"] == [
        "two: 1 kept: an earlier attempt could not finish this target, and it is not configured any more"
    ]


def test_a_target_under_a_new_name_stands_for_the_old_one(services: Services) -> None:
    one, old = Shelf("one").put("a"), Shelf("old", location="database, table").put("b")
    old.fails = OSError()
    case = erase(services, ask(services), one, old)
    closed = erase(services, case, one, Shelf("new", location="database, table", things=old.things))
    assert closed.closure is not None
    assert closed.closure.result == "success"
    assert old.things == {}


def test_what_may_be_theirs_makes_the_result_partial(services: Services) -> None:
    shelf = Shelf(reported=(Reported("threads", "t9", "nobody knows whose it is", is_theirs=False),))
    case = erase(services, ask(services), shelf)
    assert case.closure is not None
    assert case.closure.result == "partial"
    assert "t9" in case.closure.statement


def test_without_a_target_nothing_is_called_erased(services: Services) -> None:
    with pytest.raises(TargetError, match="no erasure target is configured"):
        run_request(services, [], ask(services).request.id)


def test_two_targets_of_one_name_are_refused(services: Services) -> None:
    with pytest.raises(TargetError, match="two erasure targets are called shelf"):
        erase(services, ask(services), Shelf(), Shelf())


@pytest.mark.usefixtures("impatient")
def test_only_one_process_carries_out_a_request(services: Services) -> None:
    case, shelf = ask(services), Shelf().put("a")
    caught: list[BaseException] = []

    def second() -> None:
        with pytest.raises(RequestBusyError, match="another process"):
            erase(services, case, Shelf())
        assert run_due(services, lambda: [Shelf()]) == []
        caught.append(RequestBusyError())

    shelf.when_found = second
    assert erase(services, case, shelf).state is State.CLOSED
    assert caught


def test_an_unknown_request_is_named(services: Services) -> None:
    with pytest.raises(RequestNotFoundError, match="no erasure request 77"):
        run_request(services, [Shelf()], 77)


def test_a_unique_column_is_set_with_the_number_of_the_request_once_for_each_person(
    services: Services, application: Application
) -> None:
    application.execute("CREATE TABLE accounts (user_id TEXT, email TEXT UNIQUE)")
    for user_id in (ALICE, BOB):
        application.execute("INSERT INTO accounts VALUES (:user, :user)", user=user_id)
    table = table_target(application, table="accounts", action="set", set={"email": "erased-{request}"})
    shelf = Shelf().put("a")
    shelf.fails = OSError()
    first = run_request(services, [table, shelf], ask(services).request.id)
    shelf.fails = None
    closed = run_request(services, [table, shelf], first.request.id)
    assert (closed.state, closed.deleted()) == (State.CLOSED, {"accounts": 1, "things": 1})
    assert run_request(services, [table], ask(services, BOB).request.id).deleted() == {"accounts": 1}
    again = run_request(services, [table], ask(services).request.id)
    assert (again.state, again.deleted()) == (State.CLOSED, {})
    assert application.rows("SELECT email FROM accounts ORDER BY 1") == [("erased-1",), ("erased-2",)]
