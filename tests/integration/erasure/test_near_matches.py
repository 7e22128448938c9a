"""Ids that are suspicious are refused, and what looks like the person's id is told and never deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.erasure.case import EventKind, State
from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.decisions import Correction, correct
from compliance_pipelines.erasure.errors import ErasureError, SuspiciousIdError
from compliance_pipelines.erasure.near_matches import near_matches
from compliance_pipelines.erasure.record import NewRequest, load, record_request
from compliance_pipelines.erasure.runner import run_request
from tests.integration.erasure.application import Application, table_target
from tests.integration.erasure.flaky import Shelf
from tests.integration.erasure.test_command import Erase
from tests.integration.erasure.test_decisions import WHO
from tests.integration.erasure.test_identifiers import OfEach

if TYPE_CHECKING:
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings

ALICE, BOB = "user:alice", "user:bob"
ALIKE = ["User:Alice", "user:alice ", "user:alic\u0435", "user:al\u200bice", "user:a1ice"]
SUSPICIOUS = ["user:alice ", "\tuser:alice", "user:al\u200bice", "user:alic\u0435", "\u202euser:alice", "Jose\u0301"]


@pytest.fixture
def erase(services: Services, settings: Settings) -> Erase:
    return Erase(settings)


@pytest.mark.parametrize("user_id", SUSPICIOUS)
def test_a_suspicious_id_is_refused_unless_somebody_says_that_it_is_meant(services: Services, user_id: str) -> None:
    with pytest.raises(SuspiciousIdError, match="may not be the one that is meant"):
        NewRequest(user_id, "asked", "support")
    with pytest.raises(SuspiciousIdError):
        NewRequest(ALICE, "asked", "support", aliases=(user_id,))
    case, _ = record_request(services, NewRequest(user_id, "asked", "support", as_it_is=True))
    assert case.user_id == user_id
    with pytest.raises(SuspiciousIdError):
        correct(services, case.request.id, Correction(subject=f"{user_id}\u200b"), **WHO)
    corrected = correct(services, case.request.id, Correction(subject=f"{user_id}\u200b", as_it_is=True), **WHO)
    assert corrected.user_id == f"{user_id}\u200b"


@pytest.mark.parametrize("user_id", [" ", "\t\n", "\u00a0\u3000", "\u200b", "\u3164", "\u2800", ""])
def test_an_id_with_nothing_to_see_is_refused_in_any_case(user_id: str) -> None:
    for as_it_is in (False, True):
        with pytest.raises(ErasureError):
            NewRequest(user_id, "asked", "support", as_it_is=as_it_is)


def test_every_target_tells_what_looks_like_the_id(services: Services, application: Application) -> None:
    for user_id in (ALICE, BOB, *ALIKE):
        application.log_in(user_id)
        application.remember(("memories", user_id), "tea")
        application.converse(f"of {user_id}", user_id)
        application.execute("INSERT INTO user_profiles (user_id, username, email) VALUES (:u, :u, 'a')", u=user_id)
        application.execute("INSERT INTO user_preferences (user_id) VALUES (:u)", u=user_id)
    near = near_matches(services, configured_targets(services.settings), [ALICE])
    expected = sorted(ALIKE)
    assert near.found == dict.fromkeys(
        ("sessions", "conversations", "memories", "user_preferences", "user_profiles"), expected
    )
    assert near.unseen == {}


def test_what_looks_like_the_id_is_on_record_and_never_deleted(services: Services, application: Application) -> None:
    for user_id in (ALICE, *ALIKE):
        application.log_in(user_id)
    case, _ = record_request(services, NewRequest(ALICE, "asked", "support"))
    closed = run_request(services, configured_targets(services.settings), case.request.id)
    assert (closed.state, closed.deleted()["sessions"]) == (State.CLOSED, 1)
    assert len(application.keys("session:*")) == len(ALIKE)


def test_a_target_that_lists_no_ids_is_asked_for_some_that_look_alike(services: Services) -> None:
    shelf = OfEach().put("USER:ALICE/1", "user:alice/1")
    assert near_matches(services, [shelf], [ALICE]).found == {"shelf": ["USER:ALICE"]}


def test_a_target_that_cannot_be_looked_at_is_named(services: Services) -> None:
    near = near_matches(services, [Shelf(fails_to_look=ConnectionError("gone"))], [ALICE])
    assert near.unseen == {"shelf": "ConnectionError: gone"}
    assert near.lines() == ["not searched for ids that look like it: shelf: ConnectionError: gone"]


@pytest.mark.parametrize("kind", ["TEXT", "CHAR(20)", "VARCHAR(20)"])
def test_a_table_lists_the_ids_of_its_rows(application: Application, kind: str) -> None:
    application.execute(f"CREATE TABLE people (user_id {kind})")
    application.execute("INSERT INTO people VALUES ('a'), ('a'), ('b'), (NULL)")
    assert sorted(table_target(application).user_ids()) == ["a", "b"]


def test_an_id_of_another_of_the_persons_is_no_near_match(services: Services) -> None:
    shelf = OfEach().put("USER:ALICE/1")
    assert near_matches(services, [shelf], [ALICE, "USER:ALICE"]).found == {}


def test_the_command_tells_them_with_the_request_and_with_the_plan(
    erase: Erase, services: Services, application: Application
) -> None:
    application.log_in("User:Alice")
    application.log_in("user:alic\u0435")
    refused = erase("request", "user:alice ", "--requested-by", "support")
    assert isinstance(refused.exception, SuspiciousIdError)
    assert "begins or ends with white space" in str(refused.exception)
    assert "sessions has data of an id that looks like it: 'User:Alice'" in str(refused.exception)
    assert erase("list").output == "no requests\n"
    asked = erase("request", ALICE, "--requested-by", "support")
    assert asked.exit_code == 0, asked.output
    assert "looks like it: 'User:Alice'; it is not erased" in asked.output
    assert "'user:alic\u0435' (U+0435); it is not erased" in asked.output
    with services.engine.connect() as connection:
        (noted,) = load(connection, 1).events
    assert noted.kind is EventKind.NOTED
    assert noted.detail["near"]["found"] == {"sessions": ["User:Alice", "user:alic\u0435"]}
    assert "looks like it: 'User:Alice'" in erase("show", "1").output
    assert "looks like it: 'User:Alice'" in erase("plan", "1").output
    plan = erase.json("plan", "--subject", "user:alice ")
    assert isinstance(plan, dict)
    assert plan["near"]["found"] == {"sessions": ["User:Alice", "user:alic\u0435"]}
    assert "white space" in plan["suspicions"][0]
    again = erase("request", BOB, "--requested-by", "support", "--no-look", "--also", "bob ", "--as-it-is")
    assert again.output.startswith("erasure request 2 is recorded")


def test_a_request_is_recorded_also_where_nothing_can_be_looked_at(erase: Erase, application: Application) -> None:
    application.execute("DROP TABLE user_preferences CASCADE")
    asked = erase("request", ALICE, "--requested-by", "support")
    assert asked.exit_code == 0, asked.output
    assert asked.output.startswith("erasure request 1 is recorded")
    assert "not searched for ids that look like it: user_preferences: TargetError" in asked.output
