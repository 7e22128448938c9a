"""Whatever is wrong with a connection string or at its other end, no command prints a piece of the password."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import pytest

from compliance_pipelines.postgres.conninfo import parse
from tests.support.command import Command

if TYPE_CHECKING:
    from collections.abc import Callable

    from compliance_pipelines.settings import Settings

CHECKOUT: Final = Path(__file__).resolve().parents[3]
# Two words that stand in no message of anybody's, with all between them that a notation gives a meaning.
PIECES: Final = ("Xylo", "Quoll")
PASSWORD: Final = f"{PIECES[0]} w@x%y'z\"q\\r/s:t#u?v={PIECES[1]}"
QUOTED: Final = quote(PASSWORD, safe="")
IN_QUOTES: Final = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")


@pytest.fixture
def command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """`compliance`, on the settings of a test, in an empty directory."""
    (tmp_path / "here").mkdir()
    command = Command(monkeypatch, capsys, tmp_path / "here")
    command.use(settings)
    command.set(PGSERVICEFILE=str(tmp_path / "services.conf"))
    # Nobody is at port 1.
    command.set(CHECKPOINT_REDIS_URL="redis://127.0.0.1:1/0", GDPR_SESSION_REDIS_URL="redis://127.0.0.1:1/0")
    (tmp_path / "here" / "entries.jsonl").write_text("{}\n")
    (tmp_path / "services.conf").write_text(f"[broken]\npassword={PASSWORD}\nsslmod={PASSWORD}\n")
    return command


# {port}: of the server; {database}: the test's.
STRINGS: Final = {
    "wrong password": f"postgresql://test_pipeline:{QUOTED}@127.0.0.1:{{port}}/{{database}}",
    "wrong password of keywords": "host=127.0.0.1 port={port} dbname={database} user=test_pipeline "
    f"password='{IN_QUOTES}'",
    "no such database": f"postgresql://test_pipeline:{QUOTED}@127.0.0.1:{{port}}/nowhere",
    "nobody there": f"postgresql://u:{QUOTED}@127.0.0.1:1,localhost:1/d",
    "no such host": f"postgresql://u:{QUOTED}@nowhere.invalid/d",
    "no such socket": f"postgresql://u:{QUOTED}@/d?host=/nowhere",
    "unencrypted": f"postgresql://u:{QUOTED}@db.example/d?sslmode=disable",
    "unquoted": f"postgresql://u:{PASSWORD}@127.0.0.1:{{port}}/d",
    "a space": "postgresql://u:" + QUOTED.replace("%20", " ") + "@127.0.0.1:{port}/d",
    "an at": "postgresql://u:" + QUOTED.replace("%40", "@") + "@127.0.0.1:{port}/d",
    "a slash": "postgresql://u:" + QUOTED.replace("%2F", "/") + "@127.0.0.1:{port}/d",
    "a percent sign": "postgresql://u:" + QUOTED.replace("%25", "%") + "@127.0.0.1:{port}/d",
    "quotes left out": f"host=127.0.0.1 password={IN_QUOTES}",
    "an unknown keyword": f"postgresql://u:{QUOTED}@127.0.0.1:{{port}}/d?sslmod={QUOTED}",
    "another database": f"mysql://u:{QUOTED}@127.0.0.1/d",
    "no such service": "service=nothing",
    "a broken service": "service=broken",
}

COMMANDS: Final = [
    ("archive", "2025-10-01"),
    ("check",),
    ("check", "--json"),
    ("conversations", "plan", "--json"),
    ("conversations", "status"),
    ("db", "downgrade", "base"),
    ("db", "migrate"),
    ("db", "repair"),
    ("drop-restored",),
    ("erase", "list", "--json"),
    ("erase", "plan", "--subject", "alice"),
    ("erase", "run"),
    ("hold", "list"),
    ("import", "entries.jsonl"),
    ("ledger", "adopt-cluster", "--yes"),
    ("ledger", "checkpoint"),
    ("ledger", "recover", "--dry-run"),
    ("ledger", "recover", "--reason", "a test", "--author", "tester", "--yes"),
    ("prove", "an-entry", "-o", "proof.json"),
    ("purge", "2025-10-01"),
    ("restore", "2025-10-01"),
    ("seal",),
    ("sessions", "status"),
    ("status",),
    ("status", "--json"),
    ("store", "show"),
    ("verify",),
    ("verify", "--all", "--json"),
]


def filled(text: str, settings: Settings) -> str:
    """A connection string, with the place of the test's database in it."""
    place = parse(settings.require_database_url()).parameters
    return text.replace("{port}", place["port"]).replace("{database}", place["dbname"])


def require_hidden(*said: str) -> None:
    for each in said:
        assert not [piece for piece in PIECES if piece in each], each


# Commands open the database in a few ways that they share: each string meets a third of them, each command six strings.
_TURNS: Final = 3


@pytest.mark.parametrize("what", STRINGS)
def test_no_command_that_cannot_connect_prints_the_password(command: Command, settings: Settings, what: str) -> None:
    command.set(AUDIT_LOG_DATABASE_URL=filled(STRINGS[what], settings))
    turn = list(STRINGS).index(what)
    for number, arguments in enumerate(COMMANDS):
        if (number + turn) % _TURNS:
            continue
        ended = command(*arguments)
        require_hidden(ended.out, ended.err)
        assert ended.status in {1, 2}, (arguments, ended)
        assert "Usage:" not in ended.err, (arguments, ended)
        assert "Traceback" not in ended.err


@pytest.mark.parametrize("what", STRINGS)
def test_tables_of_others_that_cannot_be_reached_show_none(command: Command, settings: Settings, what: str) -> None:
    rule = {"database_url": filled(STRINGS[what], settings), "table": "people", "user_column": "user_id"}
    as_json: Callable[[object], str] = json.dumps
    asked = command("erase", "request", "alice", "--requested-by", "clerk")
    assert asked.status == 0
    for setting, entry in (
        ("GDPR_SQL_TARGETS", {**rule, "action": "delete"}),
        ("GDPR_ALIASES_SQL", {**rule, "alias_columns": ["mail"]}),
    ):
        command.set(GDPR_SQL_TARGETS="[]", GDPR_ALIASES_SQL="[]")
        command.set(**{setting: as_json([entry])})
        for arguments in (
            ("check",),
            ("check", "--json"),
            ("erase", "targets"),
            ("erase", "plan", "1", "--json"),
            ("erase", "run", "1"),
            ("erase", "show", "1", "--json"),
        ):
            ended = command(*arguments)
            require_hidden(ended.out, ended.err)
            assert "Usage:" not in ended.err, (arguments, ended)
            assert "Traceback" not in ended.err


@pytest.mark.parametrize("what", ["wrong password", "a space", "an unknown keyword"])
def test_alembics_own_command_shows_none(settings: Settings, what: str) -> None:
    ended = subprocess.run(
        [Path(sys.executable).with_name("alembic"), "upgrade", "head"],
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], "AUDIT_LOG_MIGRATION_DATABASE_URL": filled(STRINGS[what], settings)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ended.returncode != 0
    require_hidden(ended.stdout, ended.stderr)
