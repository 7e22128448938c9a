"""What people decide about a request: each is on record, once, and what was deleted before stays there."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.erasure.auditor_record import record_of
from compliance_pipelines.erasure.case import Case, EventKind, State
from compliance_pipelines.erasure.certificate import certificate_of
from compliance_pipelines.erasure.decisions import Correction, correct, extend, refuse, withdraw
from compliance_pipelines.erasure.document_checks import verify_certificate
from compliance_pipelines.erasure.errors import ErasureError, RequestBusyError, RequestEndedError, RequestNotFoundError
from compliance_pipelines.erasure.letter import letter_of
from compliance_pipelines.erasure.pages_html import to_html
from compliance_pipelines.erasure.record import NewRequest, add_event, load, open_cases, record_request
from compliance_pipelines.erasure.replay import plan_replay
from compliance_pipelines.erasure.runner import RunStep, run_due, run_request
from compliance_pipelines.erasure.statements import statement_hash
from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold
from compliance_pipelines.postgres.locks import transaction_lock
from tests.integration.erasure.asking import ALICE, BOB, ask
from tests.integration.erasure.eraser import Eraser, running_eraser
from tests.integration.erasure.flaky import Shelf
from tests.integration.erasure.test_command import Erase
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import sqlalchemy

    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.conftest import MovableClock
    from tests.integration.erasure.application import Application

TYPO = "user:alcie"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
WHO: dict[str, Any] = {"by": "dpo", "reason": "as the person says"}


def entries(services: Services, action: str) -> list[dict[str, Any]]:
    with services.engine.connect() as connection:
        rows = connection.execute(
            text("SELECT log_entry_id, user_id, metadata FROM audit_logs WHERE action = :action ORDER BY id"),
            {"action": action},
        )
        return [{**row.metadata, "log_entry_id": row.log_entry_id, "named": row.user_id} for row in rows]


def statement_of(case: Case) -> dict[str, Any]:
    assert case.closure is not None
    statement: dict[str, Any] = json.loads(case.closure.statement)
    return statement


END = [(withdraw, State.WITHDRAWN, "erasure.withdraw"), (refuse, State.REFUSED, "erasure.refuse")]


@pytest.mark.parametrize(("end", "state", "action"), END)
def test_a_request_that_is_withdrawn_or_refused_is_never_run_and_its_end_is_in_the_audit_log(
    services: Services, end: Callable[..., Case], state: State, action: str
) -> None:
    shelf = Shelf().put("a")
    case = end(services, ask(services).request.id, **WHO)
    assert (case.state, case.is_open, case.due_at) == (state, False, None)
    assert run_due(services, lambda: [shelf]) == []
    assert run_request(services, [shelf], case.request.id).state is state
    assert set(shelf.things) == {"a"}
    with services.engine.connect() as connection:
        assert open_cases(connection) == []
        assert load(connection, case.request.id) == case
    (entry,) = entries(services, action)
    assert case.closure is not None
    assert (entry["user_id"], entry["by"], entry["reason"]) == (ALICE, "dpo", "as the person says")
    assert entry["statement_sha256"] == statement_hash(case.closure.statement)
    assert entry["log_entry_id"] == case.closure.log_entry_id
    assert statement_of(case)["result"] == state.value
    assert entries(services, "account_deletion") == []
    seal_all(services)
    with pytest.raises(ErasureError, match="no erasure on record"):
        record_of(services, case.request.id)
    # The person must be told why, and of the right to complain (Article 12(4)): the certificate is that letter.
    told = certificate_of(services, case.request.id)
    assert (told["statement"]["outcome"], told["statement"]["decision"]["reason"]) == (
        state.value,
        "as the person says",
    )
    assert "dpo" not in json.dumps(told)
    verify_certificate(told, services.verifier_key)
    sender = {"controller": "Example", "contact": "x", "authority": None, "note": None}
    assert "Example" in to_html(letter_of({**told, "sender": sender}), with_fonts=False)
    newer, is_new = record_request(services, NewRequest(ALICE, "asked anew", "support"))
    assert (is_new, newer.state) == (True, State.OPEN)


def test_a_decision_and_its_entry_are_in_one_transaction(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    case = ask(services)
    correction = Correction(subject=BOB)
    with monkeypatch.context() as patched:
        patched.setattr(AuditLog, "append_within", _refuse)
        for decide in (extend, withdraw, refuse):
            with pytest.raises(ConnectionError):
                decide(services, case.request.id, **WHO)
        with pytest.raises(ConnectionError):
            correct(services, case.request.id, correction, **WHO)
    with services.engine.connect() as connection:
        assert load(connection, case.request.id) == case
    assert withdraw(services, case.request.id, **WHO).state is State.WITHDRAWN


def _refuse(*_: object) -> None:
    raise ConnectionError("lost")


@pytest.fixture(scope="module")
def eraser() -> Iterator[Eraser]:
    with running_eraser() as started:
        yield started


def test_a_process_killed_before_the_commit_has_decided_nothing(services: Services, eraser: Eraser) -> None:
    case = ask(services)
    assert eraser.dies(services.settings, case.request.id, step="withdraw")
    with services.engine.connect() as connection:
        assert load(connection, case.request.id) == case
    assert entries(services, "erasure.withdraw") == []
    assert withdraw(services, case.request.id, **WHO).state is State.WITHDRAWN
    assert len(entries(services, "erasure.withdraw")) == 1


def test_what_was_deleted_before_stays_on_record_and_is_not_erased_again_after_a_restore(services: Services) -> None:
    one, two = Shelf("one").put("a", "b"), Shelf("two").put("c")
    two.fails = OSError()
    case = run_request(services, [one, two], ask(services).request.id)
    assert [each.user_id for each in plan_replay(services, LONG_AGO).people] == [ALICE]
    (partial,) = entries(services, "account_deletion")
    withdrawn = withdraw(services, case.request.id, **WHO)
    (entry,) = entries(services, "erasure.withdraw")
    assert (entry["deleted"], entry["deletion_records"]) == ({"things": 2}, [partial["log_entry_id"]])
    assert entry["unaccounted"] == {"two": {"things": 1}}
    assert statement_of(withdrawn)["deletion_count"] == 2
    assert plan_replay(services, LONG_AGO).people == ()


def test_the_audit_log_alone_tells_which_deletions_are_not_carried_out_again(
    services: Services, superuser_engine: sqlalchemy.Engine
) -> None:
    """As after a restore of the tables to an older state than the audit log."""
    for user_id, decide in ((ALICE, withdraw), (BOB, refuse)):
        one, two = Shelf("one").put("a"), Shelf("two").put("b")
        two.fails = OSError()
        case = run_request(services, [one, two], ask(services, user_id).request.id)
        decide(services, case.request.id, **WHO)
    one = Shelf("one").put("a")
    case = run_request(services, [one, two], ask(services, TYPO).request.id)
    correct(services, case.request.id, Correction(subject="user:carol"), **WHO)
    with superuser_engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = 'replica'"))
        for table in ("erasure_closures", "erasure_events", "erasure_requests"):
            connection.execute(text(f"DELETE FROM {table}"))
    assert len(entries(services, "account_deletion")) == 3
    assert plan_replay(services, LONG_AGO).people == ()


def test_what_a_dead_attempt_deleted_gets_its_deletion_record_with_the_decision(
    services: Services, application: Application, eraser: Eraser
) -> None:
    application.meet(ALICE)
    case = ask(services)
    assert eraser.dies(services.settings, case.request.id, step="deleted", target="sessions")
    withdraw(services, case.request.id, **WHO)
    (partial,) = entries(services, "account_deletion")
    assert (partial["named"], partial["deletion_count"]) == (ALICE, 3)
    (entry,) = entries(services, "erasure.withdraw")
    assert entry["deletion_records"] == [partial["log_entry_id"]]


@pytest.mark.usefixtures("impatient")
def test_nothing_is_decided_while_an_attempt_is_under_way_and_no_attempt_begins_meanwhile(services: Services) -> None:
    case, shelf = ask(services), Shelf().put("a")
    tried: list[str] = []

    def decide() -> None:
        for decision in (extend, withdraw, refuse):
            with pytest.raises(RequestBusyError, match="another process"):
                decision(services, case.request.id, **WHO)
            tried.append(decision.__name__)

    shelf.when_found = decide
    assert run_request(services, [shelf], case.request.id).state is State.CLOSED
    assert tried == ["extend", "withdraw", "refuse"]


@pytest.mark.usefixtures("impatient")
def test_no_attempt_begins_while_something_is_decided(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    case, shelf = ask(services), Shelf().put("a")
    append, tried = AuditLog.append_within, []

    def run_meanwhile(*arguments: Any) -> Any:  # noqa: ANN401 - whatever it takes
        with pytest.raises(RequestBusyError, match="another process"):
            run_request(services, [shelf], case.request.id)
        tried.append(True)
        return append(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(AuditLog, "append_within", run_meanwhile)
        withdraw(services, case.request.id, **WHO)
    assert (set(tried), shelf.calls) == ({True}, [])


def test_who_asks_again_while_the_request_closes_is_on_its_record_or_gets_a_new_one(services: Services) -> None:
    case, shelf = ask(services), Shelf().put("a")

    def hook(step: RunStep, _: str | None, /) -> None:
        if step is RunStep.RECORDED:
            with services.engine.begin() as connection, pytest.raises(Exception, match="another process"):
                transaction_lock(connection, "erasure.requests", doing="the test", patience=timedelta(milliseconds=100))

    closed = run_request(services, [shelf], case.request.id, hook=hook)
    assert closed.state is State.CLOSED
    assert record_request(services, NewRequest(ALICE, "asked", "support"))[1]


@pytest.mark.parametrize("decide", [extend, withdraw, refuse])
def test_a_request_that_has_ended_or_does_not_exist_cannot_be_decided_about(
    services: Services, decide: Callable[..., Case]
) -> None:
    closed = run_request(services, [Shelf()], ask(services).request.id)
    with pytest.raises(RequestEndedError, match="has ended \\(closed"):
        decide(services, closed.request.id, **WHO)
    with pytest.raises(RequestNotFoundError, match="no erasure request 77"):
        decide(services, 77, **WHO)
    with pytest.raises(RequestNotFoundError):
        correct(services, 77, Correction(subject=BOB), **WHO)


@pytest.mark.parametrize("who", [{"by": " "}, {"reason": ""}, {"by": "a\0b"}, {"reason": "\ud800"}])
def test_every_decision_says_who_and_why(services: Services, who: dict[str, str]) -> None:
    case = ask(services)
    for decide in (extend, withdraw, refuse):
        with pytest.raises(ErasureError, match=r"missing|cannot store"):
            decide(services, case.request.id, **{**WHO, **who})
    with services.engine.connect() as connection:
        assert load(connection, case.request.id) == case


# Extension


def test_the_deadline_is_extended_once_by_two_further_months(services: Services, clock: MovableClock) -> None:
    case = ask(services, received_at=datetime(2026, 11, 30, 12, tzinfo=UTC) - timedelta(days=365))
    assert case.deadline == date(2025, 12, 30)
    clock.moment = datetime(2025, 12, 30, 23, 59, tzinfo=UTC)
    extended = extend(services, case.request.id, **WHO)
    assert (extended.deadline, extended.first_deadline) == (date(2026, 2, 28), date(2025, 12, 30))
    assert extended.state is State.OPEN
    (entry,) = entries(services, "erasure.extend")
    assert (entry["deadline"], entry["was"], entry["by"]) == ("2026-02-28", "2025-12-30", "dpo")
    with pytest.raises(ErasureError, match="extended before, until 2026-02-28"):
        extend(services, case.request.id, **WHO)
    assert len(entries(services, "erasure.extend")) == 1


def test_the_database_itself_knows_one_extension_of_a_request(services: Services) -> None:
    case = extend(services, ask(services).request.id, **WHO)
    with pytest.raises(IntegrityError, match="erasure_events_extended_once"), services.engine.begin() as connection:
        add_event(connection, case, 0, EventKind.EXTENDED, deadline="2030-01-01")


def test_the_deadline_cannot_be_extended_after_the_month_in_which_the_person_had_to_be_told(
    services: Services, clock: MovableClock
) -> None:
    case = ask(services, received_at=clock() - timedelta(days=40))
    with pytest.raises(ErasureError, match="told within a month of the receipt"):
        extend(services, case.request.id, **WHO)
    assert entries(services, "erasure.extend") == []


def test_extended_requests_come_after_those_that_are_due_sooner(services: Services) -> None:
    first, second = ask(services, ALICE), ask(services, BOB)
    extend(services, first.request.id, **WHO)
    with services.engine.connect() as connection:
        assert [case.request.id for case in open_cases(connection)] == [second.request.id, first.request.id]


def test_who_asked_earlier_than_was_entered_first_has_the_earlier_deadline(
    services: Services, clock: MovableClock
) -> None:
    ask(services)
    again = ask(services, received_at=clock() - timedelta(days=20))
    assert again.received_at == clock() - timedelta(days=20)
    assert again.deadline < again.request.deadline


# Refusal


def test_a_refusal_after_the_month_says_so(services: Services, clock: MovableClock) -> None:
    in_time = refuse(services, ask(services).request.id, **WHO)
    late = refuse(services, ask(services, BOB, received_at=clock() - timedelta(days=40)).request.id, **WHO)
    assert [each["in_time"] for each in entries(services, "erasure.refuse")] == [True, False]
    decisions = [statement_of(case)["decisions"][0] for case in (in_time, late)]
    assert [(each["kind"], each["basis"], each["in_time"]) for each in decisions] == [
        ("refused", "GDPR Article 12(5)(b)", True),
        ("refused", "GDPR Article 12(5)(b)", False),
    ]


# Correction


def test_a_mistyped_subject_is_corrected_and_everybody_asked_anew(services: Services) -> None:
    one, two = Shelf("one").put("typo's"), Shelf("two")
    two.fails_to_look = OSError()
    case = run_request(services, [one, two], ask(services, TYPO).request.id)
    (wrong,) = entries(services, "account_deletion")
    corrected = correct(services, case.request.id, Correction(subject=ALICE), **WHO)
    assert (corrected.user_id, corrected.request.user_id) == (ALICE, TYPO)
    assert (corrected.state, corrected.deleted().total()) == (State.OPEN, 0)
    assert corrected.due_at is not None
    assert corrected.due_at <= corrected.events[-1].recorded_at
    two.fails_to_look = None
    one.put("hers")
    closed = run_request(services, [one, two], case.request.id)
    assert (closed.state, one.things) == (State.CLOSED, {})
    assert closed.deleted() == {"things": 1}
    (entry,) = entries(services, "erasure.correct")
    assert (entry["user_id"], entry["was"]) == (ALICE, TYPO)
    assert (entry["deleted"], entry["deletion_records"]) == ({"things": 1}, [wrong["log_entry_id"]])
    record = entries(services, "account_deletion")[-1]
    assert (record["named"], record["deletion_count"]) == (ALICE, 1)
    assert (wrong["named"], wrong["deletion_count"]) == (TYPO, 1)
    statement = statement_of(closed)
    assert (statement["request"]["user_id"], statement["deletion_count"]) == (ALICE, 1)
    (decision,) = statement["decisions"]
    assert (decision["kind"], decision["deleted"]) == ("corrected", {"things": 1})
    assert TYPO not in json.dumps(statement)
    # The typo's data is brought back by a restore, and stays.
    assert [each.user_id for each in plan_replay(services, LONG_AGO).people] == [ALICE]


def test_a_correction_is_said_with_what_was_deleted_by_mistake_and_what_looks_like_the_new_id(
    services: Services, settings: Settings, application: Application
) -> None:
    application.log_in(BOB)
    application.log_in("User:Alice")
    application.execute("DROP TABLE consent_records")
    erase = Erase(settings)
    erase("request", BOB, "--requested-by", "support")
    erase("run", "1")
    result = erase("correct", "1", "--subject", ALICE, "--by", "dpo", "--reason", "typed wrong")
    assert result.exit_code == 0, result.output
    assert f"erasure request 1 is about {ALICE}\n" in result.output
    assert "deleted before: 1 session_lists, 1 sessions" in result.output
    assert "personal data breach, to be notified within 72 hours (Article 33)" in result.output
    assert "looks like it: 'User:Alice'; it is not erased" in result.output
    shown = erase("show", "1").output
    assert f"no longer meant: {BOB}" in shown
    assert erase.json("show", "1")["user_id"] == ALICE
    assert erase("correct", "1", "--by", "dpo", "--reason", "r").exit_code == 2


def test_the_commands_say_what_is_to_be_done_next(services: Services, settings: Settings) -> None:
    erase = Erase(settings)
    for user_id in (ALICE, BOB):
        erase("request", user_id, "--requested-by", "support", "--received", "2026-11-20", "--no-look")
    extended = erase("extend", "1", "--by", "dpo", "--reason", "many systems")
    assert extended.output == (
        "erasure request 1: the deadline is 2027-02-20; tell the person why by 2026-12-20 (Article 12(3))\n"
    )
    assert erase.json("list")[0]["extended"] is True
    refused = erase("refuse", "2", "--by", "dpo", "--reason", "excessive")
    assert "tell the person by 2026-12-20: the reason, and the right to complain" in refused.output
    withdrawn = erase("withdraw", "1", "--by", "dpo", "--reason", "no more", "--json")
    assert json.loads(withdrawn.output)["state"] == "withdrawn"
    assert "is withdrawn: it is not carried out" in str(erase("run", "1").exception)
    assert erase("list", "--open").output == "no requests\n"
    for command in ("extend", "withdraw", "refuse", "correct"):
        assert erase(command, "1", "--by", "dpo").exit_code == 2


def test_the_next_attempt_is_for_the_corrected_subject_alone(services: Services, application: Application) -> None:
    from compliance_pipelines.erasure.configured import configured_targets  # noqa: PLC0415

    application.meet(ALICE)
    application.meet(BOB)
    case = correct(services, ask(services, BOB).request.id, Correction(subject=ALICE), **WHO)
    closed = run_request(services, configured_targets(services.settings), case.request.id)
    assert closed.state is State.CLOSED
    assert application.has_anything_of(BOB)
    assert not application.has_anything_of(ALICE)


def test_a_hold_on_the_corrected_subject_holds_and_one_on_the_mistyped_does_not(services: Services) -> None:
    add_hold(services, NewHold(HoldScope.USER, "case 7", "counsel", subject=TYPO))
    held = run_request(services, [Shelf()], ask(services, TYPO).request.id)
    assert held.state is State.HELD
    corrected = correct(services, held.request.id, Correction(subject=ALICE), **WHO)
    assert corrected.state is State.OPEN
    assert run_request(services, [Shelf()], held.request.id).state is State.CLOSED


@pytest.mark.parametrize(
    ("correction", "message"),
    [
        (Correction(subject=ALICE), "changes nothing"),
        (Correction(subject=BOB), "is open for one of these ids"),
        (Correction(also=(BOB,)), "is open for one of these ids"),
        (Correction(drop=("nobody",)), "none of the further ids"),
        (Correction(subject=""), "needs a user id"),
        (Correction(subject="a\0b"), "cannot store"),
    ],
)
def test_a_correction_that_cannot_be_is_refused(services: Services, correction: Correction, message: str) -> None:
    case = ask(services)
    ask(services, BOB)
    with pytest.raises(ErasureError, match=message):
        correct(services, case.request.id, correction, **WHO)
    with services.engine.connect() as connection:
        assert load(connection, case.request.id) == case


def test_a_corrected_subject_can_be_asked_for_by_its_new_id_and_its_old_one_is_free(services: Services) -> None:
    case = correct(services, ask(services, TYPO).request.id, Correction(subject=ALICE), **WHO)
    again, is_new = record_request(services, NewRequest(ALICE, "asked", "support"))
    assert (again.request.id, is_new) == (case.request.id, False)
    assert record_request(services, NewRequest(TYPO, "asked", "support"))[1]


def test_with_pseudonyms_no_entry_of_a_decision_names_anybody(pseudonymous: Services) -> None:
    case = ask(pseudonymous, TYPO)
    who = {"by": "dpo", "reason": f"{TYPO} should read {ALICE}"}
    correct(pseudonymous, case.request.id, Correction(subject=ALICE), **who)
    refuse(pseudonymous, case.request.id, by="dpo", reason=f"{ALICE} asks every day")
    with pseudonymous.engine.connect() as connection:
        written = str(connection.execute(text("SELECT metadata FROM audit_logs WHERE action LIKE 'erasure.%'")).all())
    assert "hmac-sha256:" in written
    assert ALICE not in written
    assert TYPO not in written


def test_decisions_are_append_only_and_no_auditor_reads_whom_they_name(
    services: Services, superuser_engine: sqlalchemy.Engine
) -> None:
    withdraw(services, ask(services).request.id, **WHO)
    for statement in ("UPDATE erasure_closures SET result = 'success'", "DELETE FROM erasure_events"):
        with pytest.raises(Exception, match="append-only"), superuser_engine.begin() as connection:
            connection.execute(text(statement))
