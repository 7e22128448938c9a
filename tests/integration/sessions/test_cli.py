"""`compliance sessions`, from the command line to the exit status."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold
from tests.integration.erasure.server_writes import log_in, play
from tests.support.command import Outcome, environment, run_command
from tests.support.redis_commands import execute

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.sessions.conftest import World

    Run = Callable[..., Outcome]

LIFE = 400 * 86_400


@pytest.fixture
def run(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run `compliance` on the test's servers: exit status, standard output, standard error."""
    for name, value in environment(world.services.settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    return partial(run_command, monkeypatch, capsys)


@pytest.fixture
def filled(world: World) -> World:
    log_in(world.sessions, "user:alice", when=world.ago(100), seconds=LIFE)
    log_in(world.sessions, "user:bob", when=world.ago(1), seconds=LIFE)
    play(world.playground, "user:\x1b[31m", when=world.ago(100), seconds=LIFE)
    world.sessions.rpush("session:odd", "x")
    return world


def test_the_plan_lists_what_is_due_and_changes_nothing(run: Run, filled: World) -> None:
    before = filled.names(), filled.names(filled.playground)
    code, out, _ = run("sessions", "plan", "--json")
    planned = json.loads(out)
    assert code == 0
    kinds = sorted(key["kind"] for key in planned["keys"])
    assert kinds == ["login_session", "playground_session", "playground_session"]
    assert planned["seen"] == {"sessions": 5, "memories": 0, "unreadable_keys": 1, "foreign_keys": 0}
    code, out, _ = run("sessions", "plan")
    assert code == 0
    assert "5 keys of sessions" in out
    assert "3 are due" in out
    assert "login_session of user:alice" in out
    assert "1 keys could not be read, and stay" in out
    assert "\x1b" not in out
    assert before == (filled.names(), filled.names(filled.playground))


def test_names_that_are_no_utf8_are_shown_and_removed(run: Run, world: World) -> None:
    world.sessions.hset(b"session:\xff\0", mapping={"user_id": b"\xfe", "last_accessed": world.ago(100).isoformat()})
    code, out, _ = run("sessions", "plan", "--json")
    assert code == 0
    assert [(key["key"], key["user"]) for key in json.loads(out)["keys"]] == [("session:\\xff\0", "\\xfe")]
    assert run("sessions", "plan")[0] == 0
    assert run("sessions", "purge")[0] == 0
    assert world.names() == set()


def test_a_purge_removes_what_the_plan_said_and_status_remembers_it(run: Run, filled: World) -> None:
    add_hold(filled.services, NewHold(HoldScope.USER, "case 7", "counsel", subject="user:alice"))
    code, out, _ = run("sessions", "purge")
    assert code == 0
    assert "2 keys" in out
    assert "1 are due and stay: held" in out
    assert "legal hold 1: case 7" in out
    code, out, _ = run("sessions", "status", "--json")
    status = json.loads(out)
    assert (status["keys_deleted"], status["due"], status["held"], status["unfinished_purges"]) == (2, 0, 1, 0)
    assert status["latest_sets"][0]["key_counts"] == {"playground_session": 2}
    assert all(check["ok"] for check in status["redis"])
    code, out, _ = run("sessions", "status")
    assert "removed so far: 2 keys" in out
    code, out, _ = run("sessions", "purge", "--json")
    assert json.loads(out)["set"]["keys_deleted"] == 0


def test_a_plan_that_is_too_large_exits_with_one_line_and_a_number_to_confirm(
    run: Run, filled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_PURGE_MAX_KEYS", "2")
    code, _, err = run("sessions", "purge")
    assert (code, err.count("\n")) == (1, 1)
    assert "compliance sessions purge --confirm 3" in err
    assert run("sessions", "purge", "--confirm", 3)[0] == 0


def test_a_dry_run_of_the_policy_file_says_so(
    run: Run, filled: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text("global: {dry_run: true}\n")
    monkeypatch.setenv("RETENTION_POLICY_FILE", str(tmp_path / "policy.yaml"))
    assert "nothing is removed (policy.yaml): 3 keys are due" in run("sessions", "purge")[1]
    assert "a purge would remove nothing" in run("sessions", "plan")[1]
    assert len(filled.names(filled.playground)) == 2


def test_without_a_redis_the_setting_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GDPR_SESSION_REDIS_URL", "GDPR_PLAYGROUND_REDIS_URL", "GDPR_STORE_REDIS_URL"):
        monkeypatch.delenv(name)
    code, _, err = run("sessions", "plan")
    assert code == 1
    assert "GDPR_SESSION_REDIS_URL" in err


@pytest.mark.parametrize("command", ["lrem", "memory|usage", "eval", "hincrby", "time"])
def test_a_right_that_retention_lacks_is_said_beforehand(
    run: Run, filled: World, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    url = filled.services.settings.gdpr_session_redis_url
    assert url is not None
    host = url.get_secret_value().rpartition("@")[2]
    acl = ("ACL", "SETUSER", "restricted", "reset", "on", ">secret", "~*", "+@all", f"-{command}")
    execute(filled.sessions, *acl)
    try:
        monkeypatch.setenv("GDPR_SESSION_REDIS_URL", f"redis://restricted:secret@{host}")
        said = f"the login may not call {command.upper().replace('|', ' ')}"
        code, out, _ = run("check")
        assert code == 1
        assert f"FAIL  GDPR_SESSION_REDIS_URL: retention of sessions: {said}" in out
        assert f"FAIL  GDPR_SESSION_REDIS_URL: retention of sessions: {said}" in run("sessions", "status")[1]
    finally:
        execute(filled.sessions, "ACL", "DELUSER", "restricted")


def test_a_policy_that_cannot_be_read_fails_the_check(
    run: Run, filled: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text("retention_periods: {user_sessions: {inactiv: 3}}\n")
    monkeypatch.setenv("RETENTION_POLICY_FILE", str(tmp_path / "policy.yaml"))
    code, out, _ = run("check")
    assert code == 1
    assert "FAIL  retention of sessions: it cannot be told" in out
