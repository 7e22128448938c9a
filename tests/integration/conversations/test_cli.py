"""`compliance conversations`, from the command line to the exit status."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.conversations.steps import PurgeStep
from tests.integration.conversations.made import Maker, days_before, id_of
from tests.integration.conversations.test_faults import purge_in_a_process_that_dies
from tests.support.command import Outcome, run_command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conversations.conftest import World

    Run = Callable[..., Outcome]


@pytest.fixture
def run(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run `compliance conversations` on the test's servers: exit status, standard output, standard error."""
    settings = world.services.settings
    assert settings.ledger_signing_key is not None
    for name, value in {
        "AUDIT_LOG_DATABASE_URL": settings.require_database_url(),
        "AUDIT_COLD_STORAGE_PROVIDER": "local",
        "AUDIT_COLD_STORAGE_PATH": str(tmp_path / "cold"),
        "LEDGER_SIGNING_KEY": settings.ledger_signing_key.get_secret_value(),
        "CHECKPOINT_REDIS_URL": world.url,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    return partial(run_command, monkeypatch, capsys, "conversations")


@pytest.fixture
def filled(world: World) -> World:
    writer = world.writer("shallow")
    writer.say("old", at=world.ago(100), user_id="user:1")
    writer.say("older", at=world.ago(120), user_id="user:2")
    writer.say("young", at=world.ago(30), user_id="user:1")
    return world


def test_the_plan_lists_what_is_due_under_threads_and_changes_nothing(run: Run, filled: World) -> None:
    before = filled.names()

    code, out, _ = run("plan", "--json")

    plan = json.loads(out)
    assert code == 0
    assert [thread["thread_id"] for thread in plan["threads"]] == ["older", "old"]
    assert plan["threads"][0]["users"] == ["user:2"]
    assert plan["seen"]["threads"] == 3
    assert filled.names() == before


def test_user_and_period_can_be_given(run: Run, filled: World) -> None:
    _, out, _ = run("plan", "--json", "--user", "user:1", "--older-than", 20)
    assert {thread["thread_id"] for thread in json.loads(out)["threads"]} == {"old", "young"}


def test_the_older_name_of_the_checkpoint_url_works(run: Run, filled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHECKPOINT_REDIS_URL")
    monkeypatch.setenv("REDIS_CHECKPOINT_URL", filled.url)
    code, _, _ = run("plan")
    assert code == 0


def test_purge_removes_and_status_tells(run: Run, filled: World) -> None:
    code, out, _ = run("purge")
    assert code == 0
    assert "2 conversations" in out
    _, out, _ = run("status", "--json")
    status = json.loads(out)
    assert (status["threads"], status["due"], status["threads_deleted"], status["sets"]) == (1, 0, 2, 1)
    assert status["seconds_past_cutoff"] == 0.0
    assert status["latest_sets"][0]["threads_deleted"] == 2
    code, out, _ = run("status")
    assert code == 0
    assert "1 conversations: 1 of one user" in out


def test_keys_of_other_savers_are_named(run: Run, filled: World) -> None:
    filled.client.set("checkpoint:{thread}:__empty__:1f0", "of langgraph-checkpoint-aws")
    filled.client.hset("write_keys_zset:a-cache:7", "field", "value")
    _, out, _ = run("status")
    assert "1 under checkpoint:*, such as 'checkpoint:{thread}:__empty__:1f0', as langgraph-checkpoint-aws names" in out
    assert "1 under write_keys_zset:*, such as 'write_keys_zset:a-cache:7'" in out
    _, out, _ = run("status", "--json")
    assert json.loads(out)["unreadable_keys"] == 2


def test_a_plan_is_given_up_with_a_reason(run: Run, filled: World) -> None:
    purge_in_a_process_that_dies(filled, PurgeStep.SET_ASIDE)
    _, out, _ = run("status")
    assert "`compliance conversations abandon 1` gives it up" in out
    code, _, error = run("abandon", 1)
    assert (code, "--reason" in error) == (2, True)
    code, out, _ = run("abandon", 1, "--reason", "the period was wrong")
    assert (code, out) == (0, "plan 1 is given up: 2 conversations stay\n")


def test_what_lies_ahead_of_the_present_is_told(run: Run, filled: World) -> None:
    ahead = id_of(days_before(filled.now, -900))
    Maker(filled.client).checkpoint(
        "ahead", "__empty__", ahead, ts=days_before(filled.now, -900), written=filled.ago(95)
    )
    _, out, _ = run("plan", "--json")
    plan = json.loads(out)
    assert plan["ahead"] == ["ahead"]
    assert "ahead" in {thread["thread_id"] for thread in plan["threads"]}
    _, out, _ = run("status", "--json")
    assert json.loads(out)["ahead"] == 1
    _, out, _ = run("status")
    assert "1 conversations bear a time ahead of the present" in out


def test_a_plan_that_is_too_large_exits_1_and_names_the_way_on(
    run: Run, filled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVERSATION_PURGE_MAX_THREADS", "1")
    before = filled.names()
    code, _, err = run("purge")
    assert code == 1
    assert "--confirm 2" in err
    assert filled.names() == before
    code, out, _ = run("purge", "--confirm", 2, "--json")
    assert code == 0
    assert json.loads(out)["set"]["threads_deleted"] == 2


def test_a_policy_file_with_an_error_exits_1_and_names_line_and_key(
    run: Run, filled: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("retention_periods:\n  conversations:\n    active: soon\n")
    monkeypatch.setenv("RETENTION_POLICY_FILE", str(policy))
    code, _, err = run("plan")
    assert code == 1
    assert "line 3: retention_periods.conversations.active" in err


def test_without_a_redis_the_setting_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHECKPOINT_REDIS_URL")
    code, _, err = run("plan")
    assert code == 1
    assert "CHECKPOINT_REDIS_URL is not set" in err


def test_a_redis_that_does_not_answer_is_one_line_and_exit_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKPOINT_REDIS_URL", "redis://127.0.0.1:1/0")
    code, _, err = run("plan")
    assert code == 1
    assert "Redis did not answer" in err
