"""An auditor sees the state of the conversations, without a key and without whom holds are on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from compliance_pipelines.holds.active import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold
from tests.support.command import Command
from tests.support.logins import login_url

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conversations.conftest import World


@pytest.fixture
def auditor(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """The command with an auditor's database and the Redis, and no key at all."""
    command = Command(monkeypatch, capsys, tmp_path)
    command.set(
        AUDIT_LOG_DATABASE_URL=login_url(world.services.settings.require_database_url(), "test_reader"),
        CHECKPOINT_REDIS_URL=world.url,
    )
    return command


def test_what_is_due_is_seen_and_what_holds_keep_is_left_out(auditor: Command, world: World) -> None:
    writer = world.writer("shallow")
    writer.say("old", at=world.ago(100), user_id="user:1")
    writer.say("young", at=world.ago(30), user_id="user:1")
    add_hold(world.services, NewHold(HoldScope.USER, "case 7", "counsel", subject="user:1"))
    before = world.names()
    done = auditor("conversations", "status")
    assert done.status == 0, done
    assert "2 conversations: 2 of one user" in done.out
    assert "1 are due" in done.out
    assert "left out: which of them holds keep" in done.err
    document = json.loads(auditor("conversations", "status", "--json").out)
    assert (document["due"], document["held"]) == (1, None)
    assert "rights" not in json.dumps([each for each in document["redis"] if not each["ok"]])
    assert world.names() == before
    with world.services.engine.connect() as connection:
        recorded = connection.execute(text("SELECT user_id FROM audit_logs WHERE action = 'conversations.status'"))
        assert recorded.scalars().all() == ["login:test_reader", "login:test_reader"]


def test_a_purge_is_not_for_an_auditor(auditor: Command, world: World) -> None:
    assert world.services.settings.ledger_signing_key is not None
    auditor.set(LEDGER_SIGNING_KEY=world.services.settings.ledger_signing_key.get_secret_value())
    for arguments in (("purge",), ("bind",), ("abandon", 1, "--reason", "r")):
        done = auditor("conversations", *arguments)
        assert (done.status, done.out) == (1, "")
        assert "changes data" in done.err


def test_a_plan_that_names_conversations_says_whose_task_it_is(auditor: Command) -> None:
    done = auditor("conversations", "plan")
    assert (done.status, done.out) == (1, "")
    assert "Whoever operates the pipelines runs this" in done.err
    assert "audit_writer" not in done.err
    assert "audit_archiver" not in done.err
