"""A person of several ids: all of them are looked for, and what they share is the person's alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from compliance_pipelines.erasure.alias_tables import alias_tables
from compliance_pipelines.erasure.case import Case, EventKind, State
from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.decisions import Correction, correct
from compliance_pipelines.erasure.errors import ErasureError, TargetError
from compliance_pipelines.erasure.health import check_places
from compliance_pipelines.erasure.record import NewRequest, all_cases, record_request
from compliance_pipelines.erasure.replay import plan_replay, request_replays
from compliance_pipelines.erasure.runner import RunStep, run_request
from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold
from tests.integration.erasure.application import EVERYTHING, Application
from tests.integration.erasure.flaky import Shelf
from tests.integration.erasure.test_decisions import LONG_AGO, WHO, entries, statement_of
from tests.support.logins import url_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from compliance_pipelines.erasure.targets import Findings, Item
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings

ALICE, OLD, MAIL, BOB = "user:alice", "alice-2019", "alice@example.com", "user:bob"


def ask(services: Services, *aliases: str, user_id: str = ALICE) -> Case:
    return record_request(services, NewRequest(user_id, "asked", "support", aliases=aliases))[0]


def run(services: Services, case: Case) -> Case:
    return run_request(services, configured_targets(services.settings), case.request.id)


class OfEach(Shelf):
    """A target in memory that knows what is whose."""

    def find(self, user_id: str) -> Findings:
        found = super().find(user_id)
        return replace(found, items=tuple(item for item in found.items if item.reference.startswith(user_id)))

    def rescan(self, user_id: str) -> Findings:
        return self.find(user_id)

    def delete(self, user_id: str, items: Sequence[Item]) -> Mapping[str, int]:
        assert all(item.reference.startswith(user_id) for item in items)
        return super().delete(user_id, items)


def test_everything_under_every_id_goes(services: Services, application: Application) -> None:
    for user_id in (ALICE, OLD, BOB):
        application.meet(user_id)
    for thread, owners in (("of both her ids", (ALICE, OLD)), ("with bob", (OLD, BOB))):
        for user_id in owners:
            application.converse(thread, user_id)
    closed = run(services, ask(services, OLD))
    assert closed.state is State.CLOSED
    expected = {data_type: count * 2 for data_type, count in EVERYTHING.items()}
    assert closed.deleted() == {**expected, "conversations": 3}
    assert application.has_anything_of(BOB)
    assert not any(application.rows(f"SELECT 1 FROM user_profiles WHERE user_id = '{each}'") for each in (ALICE, OLD))
    (record,) = entries(services, "account_deletion")
    assert (record["named"], record["errors"]) == (ALICE, ["conversations: 1 kept: several people share it"])
    assert statement_of(closed)["request"]["identifiers"] == [ALICE, OLD]
    (entry,) = entries(services, "erasure.request")
    assert entry["aliases"] == [OLD]


def test_a_target_that_knows_one_id_at_a_time_is_asked_for_each_and_deletes_what_it_found_for_it(
    services: Services,
) -> None:
    shelf = OfEach().put(f"{ALICE} 1", f"{MAIL} 1", f"{MAIL} 2", f"{BOB} 1")
    closed = run_request(services, [shelf], ask(services, MAIL).request.id)
    assert (closed.state, closed.deleted(), set(shelf.things)) == (State.CLOSED, {"things": 3}, {f"{BOB} 1"})


def test_what_a_target_finds_under_each_id_is_one_thing(services: Services) -> None:
    shelf = Shelf().put("a", "b")
    closed = run_request(services, [shelf], ask(services, MAIL).request.id)
    assert (closed.state, closed.deleted()) == (State.CLOSED, {"things": 2})


@pytest.mark.parametrize("held", [ALICE, MAIL])
def test_a_hold_on_any_of_the_ids_holds(services: Services, held: str) -> None:
    add_hold(services, NewHold(HoldScope.USER, "case 7", "counsel", subject=held))
    shelf = Shelf().put("a")
    assert run_request(services, [shelf], ask(services, MAIL).request.id).state is State.HELD
    assert shelf.calls == []


def test_asking_by_any_of_the_ids_is_asking_again(services: Services) -> None:
    case = ask(services, MAIL)
    for again in ([MAIL], [ALICE, MAIL], [MAIL, ALICE]):
        known = ask(services, *again[1:], user_id=again[0])
        assert known.request.id == case.request.id
    with services.engine.connect() as connection:
        assert len(all_cases(connection)) == 1
        assert [each.request.id for each in all_cases(connection, user_id=MAIL)] == [case.request.id]


def test_ids_that_belong_to_an_open_request_in_part_are_refused(services: Services) -> None:
    ask(services, MAIL)
    with pytest.raises(ErasureError, match=r"not all of them to one.*erase correct 1 --also"):
        ask(services, "alice2", user_id=MAIL)
    ask(services, user_id=BOB)
    with pytest.raises(ErasureError, match=r"open erasure request 1, 2"):
        ask(services, BOB)


def test_an_id_that_is_added_later_is_looked_for_in_targets_that_were_done(services: Services) -> None:
    shelf, other = OfEach().put(f"{ALICE} 1", f"{MAIL} 1"), Shelf("other", fails_to_look=OSError())
    case = run_request(services, [shelf, other], ask(services).request.id)
    assert set(shelf.things) == {f"{MAIL} 1"}
    correct(services, case.request.id, Correction(also=(MAIL,)), **WHO)
    other.fails_to_look = None
    closed = run_request(services, [shelf, other], case.request.id)
    assert (closed.state, shelf.things, closed.deleted()) == (State.CLOSED, {}, {"things": 2})


def test_an_id_that_is_dropped_is_not_looked_for_and_what_was_deleted_under_it_is_not_counted(
    services: Services,
) -> None:
    shelf, other = OfEach().put(f"{BOB} 1"), Shelf("other", fails_to_look=OSError())
    case = run_request(services, [shelf, other], ask(services, BOB).request.id)
    assert shelf.things == {}
    dropped = correct(services, case.request.id, Correction(drop=(BOB,)), **WHO)
    assert dropped.identifiers.all == (ALICE,)
    shelf.put(f"{BOB} 2")
    other.fails_to_look = None
    closed = run_request(services, [shelf, other], case.request.id)
    assert (closed.state, set(shelf.things), closed.deleted()) == (State.CLOSED, {f"{BOB} 2"}, {})
    assert statement_of(closed)["decisions"][0]["deleted"] == {"things": 1}


def test_after_a_restore_every_id_is_erased_again(services: Services) -> None:
    closed = run_request(services, [Shelf()], ask(services, MAIL).request.id)
    plan = plan_replay(services, LONG_AGO)
    assert [(each.user_id, each.aliases) for each in plan.people] == [(ALICE, (MAIL,))]
    (again,) = request_replays(services, plan, requested_by="restore")
    assert again.identifiers.all == (ALICE, MAIL)
    assert again.request.replay_of == closed.request.id


def test_erasures_under_ids_that_belong_together_are_one_persons(services: Services) -> None:
    run_request(services, [Shelf()], ask(services, user_id=MAIL).request.id)
    run_request(services, [Shelf()], ask(services, OLD).request.id)
    last = run_request(services, [Shelf()], ask(services, MAIL).request.id)
    run_request(services, [Shelf()], ask(services, user_id=BOB).request.id)
    plan = plan_replay(services, LONG_AGO)
    assert [(each.user_id, each.aliases) for each in plan.people] == [(ALICE, (OLD, MAIL)), (BOB, ())]
    assert plan.people[0].request_id == last.request.id


def test_an_open_request_gets_the_ids_that_a_replay_knows_and_it_lacks(services: Services) -> None:
    run_request(services, [Shelf()], ask(services, MAIL).request.id)
    known = ask(services)
    (case,) = request_replays(services, plan_replay(services, LONG_AGO), requested_by="restore")
    assert (case.request.id, case.identifiers.all) == (known.request.id, (ALICE, MAIL))
    assert request_replays(services, plan_replay(services, LONG_AGO), requested_by="restore") == [case]


def test_with_pseudonyms_no_id_stands_in_an_entry(pseudonymous: Services) -> None:
    new = NewRequest(ALICE, f"{MAIL} is {ALICE}", "support", aliases=(MAIL,))
    case, _ = record_request(pseudonymous, new)
    shelf = Shelf("shelf").put("a")
    shelf.fails = OSError(f"nothing for {MAIL}")
    run_request(pseudonymous, [shelf], case.request.id)
    shelf.fails = None
    assert run_request(pseudonymous, [shelf], case.request.id).state is State.CLOSED
    with pseudonymous.engine.connect() as connection:
        written = str(connection.execute(text("SELECT user_id, resource_id, metadata FROM audit_logs")).all())
    assert MAIL not in written
    assert ALICE not in written


# From a table


@pytest.fixture
def accounts(application: Application) -> Application:
    application.execute("CREATE TABLE accounts (id TEXT, email TEXT, number INTEGER)")
    for row in ((ALICE, MAIL, 7), (BOB, "bob@example.com", None)):
        application.execute("INSERT INTO accounts VALUES (:id, :mail, :number)", id=row[0], mail=row[1], number=row[2])
    return application


def with_table(services: Services, application: Application, **rule: object) -> Services:
    url = url_of(application.engine)
    values = {"table": "accounts", "user_column": "id", "alias_columns": ["email", "number"], **rule}
    update = {"gdpr_aliases_sql": SecretStr(json.dumps([{"database_url": url, **values}]))}
    return replace(services, settings=services.settings.model_copy(update=update))


def test_a_table_says_under_which_further_ids_the_data_stands(services: Services, accounts: Application) -> None:
    services = with_table(services, accounts)
    shelf = OfEach().put(f"{ALICE} 1", f"{MAIL} 1", "7 1", f"{BOB} 1")
    closed = run_request(services, [shelf], ask(services).request.id)
    assert [check.ok for check in check_places(services, []) if "ALIASES" in check.name] == [True]
    assert (closed.state, set(shelf.things)) == (State.CLOSED, {f"{BOB} 1"})
    assert closed.identifiers.all == (ALICE, "7", MAIL)
    assert all(source.endswith(", accounts") for source in closed.identifiers.aliases.values())


def test_an_id_that_was_read_stays_known_when_its_row_is_gone(services: Services, accounts: Application) -> None:
    services = with_table(services, accounts)
    shelf = OfEach().put(f"{MAIL} 1")
    case = ask(services)

    def hook(step: RunStep, _: str | None, /) -> None:
        if step is RunStep.IDENTIFIED:
            accounts.execute("DELETE FROM accounts")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        run_request(services, [shelf], case.request.id, hook=hook)
    assert run_request(services, [shelf], case.request.id).deleted() == {"things": 1}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"table": "nothing"}, "there is no table nothing"),
        ({"user_column": "nobody"}, "has no column nobody"),
        ({"alias_columns": ["nobody"]}, "has no column nobody"),
    ],
)
def test_a_table_that_cannot_be_read_leaves_the_request_open_and_everything_in_place(
    services: Services, accounts: Application, rule: dict[str, object], message: str
) -> None:
    shelf = Shelf().put("a")
    case = run_request(with_table(services, accounts, **rule), [shelf], ask(services).request.id)
    assert (case.state, shelf.calls) == (State.PARTIAL, [])
    (failed,) = [event for event in case.events if event.kind is EventKind.FAILED]
    assert message in failed.detail["error"]
    (check,) = [check for check in check_places(with_table(services, accounts, **rule), []) if "ALIASES" in check.name]
    assert check.fails
    assert message in check.message
    closed = run_request(services, [shelf], case.request.id)
    assert closed.closure is not None
    assert closed.closure.result == "success"


def test_a_column_that_names_no_one_person_is_not_taken_for_one(services: Services, accounts: Application) -> None:
    accounts.execute("INSERT INTO accounts SELECT :id, 'mail ' || n FROM generate_series(1, 1000) AS n", id=ALICE)
    case = run_request(with_table(services, accounts), [Shelf()], ask(services).request.id)
    assert "more than 1,000 rows are this person's" in case.events[-2].detail["error"]


def test_an_id_that_other_people_have_too_waits_for_a_human(services: Services, accounts: Application) -> None:
    services = with_table(services, accounts)
    accounts.execute("UPDATE accounts SET email = :mail", mail=MAIL)
    shelf = OfEach().put(f"{MAIL} of both", f"{ALICE} 1")
    case = run_request(services, [shelf], ask(services).request.id)
    assert (case.state, len(shelf.things)) == (State.PARTIAL, 2)
    assert "stands in rows of other people, too" in case.events[-2].detail["error"]
    correct(services, case.request.id, Correction(also=(MAIL,)), **WHO)
    correct(services, case.request.id, Correction(drop=(MAIL,)), **WHO)
    closed = run_request(services, [shelf], case.request.id)
    assert (closed.state, set(shelf.things)) == (State.CLOSED, {f"{MAIL} of both"})


def test_an_alias_that_is_the_id_of_somebody_else_waits_for_a_human(services: Services, accounts: Application) -> None:
    accounts.execute("UPDATE accounts SET email = :bob WHERE id = :alice", bob=BOB, alice=ALICE)
    shelf = OfEach().put(f"{BOB} 1")
    case = run_request(with_table(services, accounts), [shelf], ask(services).request.id)
    assert "stands in rows of other people, too" in case.events[-2].detail["error"]
    assert set(shelf.things) == {f"{BOB} 1"}


def test_ids_that_a_table_gave_for_a_mistyped_subject_go_with_it(services: Services, accounts: Application) -> None:
    services = with_table(services, accounts)
    shelf = Shelf(fails_to_look=OSError())
    case = run_request(services, [shelf], ask(services, "given", user_id=BOB).request.id)
    assert case.identifiers.all == (BOB, "bob@example.com", "given")
    corrected = correct(services, case.request.id, Correction(subject=ALICE), **WHO)
    assert corrected.identifiers.all == (ALICE, "given")


def test_an_id_of_another_open_request_is_not_taken_from_it(services: Services, accounts: Application) -> None:
    ask(services, user_id=MAIL)
    case = run_request(with_table(services, accounts), [Shelf()], ask(services).request.id)
    assert "erasure request 1 is open for an id" in case.events[-2].detail["error"]


@pytest.mark.parametrize(
    "rules",
    ["{", {}, [{"table": "t"}], [{"alias_columns": [], "table": "t"}], [{"database_url": "mysql://u:hunter2@h/x"}]],
)
def test_a_setting_that_cannot_be_used_is_named_and_no_password_shown(settings: Settings, rules: object) -> None:
    value = rules if isinstance(rules, str) else json.dumps(rules)
    with pytest.raises(TargetError, match="GDPR_ALIASES_SQL") as raised:
        alias_tables(settings.model_copy(update={"gdpr_aliases_sql": SecretStr(value)}))
    assert "hunter2" not in str(raised.value)
