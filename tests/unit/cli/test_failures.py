"""Whoever asks for JSON gets JSON, also when it goes wrong; exit status and the line for a person stay the same."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import click
import pytest
import sqlalchemy.exc

from compliance_pipelines import cli
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.interruption import Stopped
from compliance_pipelines.ledger.checkpoint import SigningKey
from tests.support.command import Outcome, run_command
from tests.unit.cli.tree import EVERY, PRINTS_JSON, least

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Outcome]:
    """`compliance`, in a place without settings."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("AUDIT_", "LEDGER_", "COMPLIANCE_", "CHECKPOINT_", "GDPR_", "REDIS_", "AWS_")):
            monkeypatch.delenv(name)

    return partial(run_command, monkeypatch, capsys)


def assert_told(ended: Outcome, status: int) -> str:
    (line,) = ended.out.splitlines()
    document = json.loads(line)
    assert ended.status == status
    assert document.pop("ok") is False
    error = document.pop("error")
    assert isinstance(error, str)
    assert error
    assert document in ({}, {"findings": []})  # what `verify` had found
    return error


def test_there_are_commands_with_json() -> None:
    assert {("status",), ("verify",), ("check",), ("erase", "extend"), ("hold", "list")} <= PRINTS_JSON.keys()


# What these want beyond what click looks at.
_MORE = {"erase correct": ["--subject", "1"], "erase plan": ["1"]}


# What `check` finds wrong is its answer.
@pytest.mark.parametrize("path", sorted(PRINTS_JSON.keys() - {("check",)}), ids=" ".join)
def test_an_error_of_the_domain_is_one_object(run: Callable[..., Outcome], path: tuple[str, ...]) -> None:
    arguments = [*path, *least(PRINTS_JSON[path]), *_MORE.get(" ".join(path), [])]
    plain = run(*arguments)
    assert (plain.status, plain.out) == (1, "")
    asked = run(*arguments, "--json")
    error = assert_told(asked, 1)
    assert asked.err == plain.err == f"compliance: {error}\n"


@pytest.mark.parametrize("path", PRINTS_JSON, ids=" ".join)
def test_wrong_usage_is_one_object(run: Callable[..., Outcome], path: tuple[str, ...]) -> None:
    plain = run(*path, "--no-such-option")
    assert (plain.status, plain.out) == (2, "")
    for arguments in (["--json", "--no-such-option"], ["--no-such-option", "--json"]):
        asked = run(*path, *arguments)
        error = assert_told(asked, 2)
        assert "--no-such-option" in error
        assert asked.err == plain.err
        assert asked.err.endswith(f"Error: {error}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verify", "yesterday"], "'yesterday' does not match the format"),
        (["verify", "--all", "2026-01-01"], "give either DAYs or --all"),
        (["erase", "plan"], "name a request, or a person with --subject"),
        (["erase", "show", "x"], "'x' is not a valid integer"),
        (["erase", "show"], "Missing argument 'REQUEST_ID'"),
        (["erase", "extend", "1", "--by", "b"], "Missing option '--reason'"),
        (["erase", "show", "1", "2"], "unexpected extra argument"),
        (["erase", "nothing"], "No such command 'nothing'"),
        (["nothing"], "No such command 'nothing'"),
        (["ledger", "key"], "No such option '--json'"),
        (["erase", "list", "--open=x"], "does not take a value"),
    ],
)
def test_every_kind_of_wrong_usage_is(run: Callable[..., Outcome], arguments: list[str], said: str) -> None:
    assert said in assert_told(run(*arguments, "--json"), 2)


def test_what_is_no_option_asks_for_nothing(run: Callable[..., Outcome]) -> None:
    ended = run("erase", "show", "--", "--json")
    assert (ended.status, ended.out) == (2, "")


@pytest.mark.parametrize("path", [path for path in EVERY if path not in PRINTS_JSON], ids=" ".join)
def test_others_print_no_json(run: Callable[..., Outcome], path: tuple[str, ...]) -> None:
    ended = run(*path, "--no-such-option")
    assert (ended.status, ended.out) == (2, "")


STOPPED = Stopped(15, "counting")
_REFUSED = sqlalchemy.exc.ProgrammingError("SELECT", None, Exception("permission\ndenied"))
_SILENT = sqlalchemy.exc.OperationalError("SELECT", None, Exception("connection refused"))


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ComplianceError("a\x1b[31mb"), 1, "a\\x1b[31mb"),
        (_SILENT, 1, "the database of AUDIT_LOG_DATABASE_URL did not answer: connection refused"),
        (_REFUSED, 1, "the database refused: permission denied; `compliance check` says what is missing"),
        (click.Abort(), 1, "it was interrupted before it came to its end"),
        (STOPPED, 143, "stopped by SIGTERM while counting; run it again to go on"),
    ],
    ids=["domain", "silent", "refused", "abort", "signal"],
)
def test_every_other_error_is(
    run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, said: str
) -> None:
    def fail(_needs: object) -> None:
        raise error

    monkeypatch.setattr("compliance_pipelines.cli.opening.require", fail)
    plain, asked = run("status"), run("status", "--json")
    assert assert_told(asked, status) == said
    assert (plain.status, plain.out, plain.err) == (status, "", asked.err)


@pytest.mark.parametrize("command", [("verify",), ("status",), ("hold", "list"), ("prove", "x", "-o", "proof.json")])
def test_a_database_that_does_not_answer_is_no_fault_of_the_program(
    run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("AUDIT_LOG_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    monkeypatch.setenv("AUDIT_COLD_STORAGE_PATH", str(tmp_path))
    monkeypatch.setenv("LEDGER_PUBLIC_KEY", SigningKey("example.org/audit", bytes(32)).verifier_key().to_note_string())
    ended = run(*command)
    assert (ended.status, ended.out, len(ended.err.splitlines())) == (1, "", 1)
    said = "the verification had to stop: connection failed"
    if command != ("verify",):
        said = "the database of AUDIT_LOG_DATABASE_URL did not answer: connection failed"
    assert ended.err.startswith(f"compliance: {said}")


def test_a_fault_of_the_program_is_told_and_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_needs: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("compliance_pipelines.cli.opening.require", fail)
    monkeypatch.setattr(sys, "argv", ["compliance", "status", "--json"])
    with pytest.raises(ZeroDivisionError):
        cli.main()
    assert json.loads(capsys.readouterr().out) == {
        "ok": False,
        "error": "a fault of this program: ZeroDivisionError: by zero",
    }
