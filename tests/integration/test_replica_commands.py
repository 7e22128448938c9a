"""The command line on a streaming replica: what reads works and says how old it is, what writes is refused first."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click
import psycopg
import pytest
from dagster import build_init_resource_context
from sqlalchemy.exc import DBAPIError, OperationalError

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.restore import restore_day
from compliance_pipelines.cli import compliance, main
from compliance_pipelines.cli.needs import declared_needs
from compliance_pipelines.cli.replicas import _ONLY_READ, _READ_AND_RECORD, _WITHOUT_DATABASE
from compliance_pipelines.erasure.record import NewRequest, record_request
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.ledger.tiles import PREFIX
from compliance_pipelines.orchestration.resources import ServicesResource
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.postgres.replica import ReadOnlyReplicaError
from tests.integration.verification.replicated import filled, pair
from tests.integration.verification.world import ARCHIVED, HOT, KEY, PURGED
from tests.support.logins import PASSWORD, login_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from compliance_pipelines.local_stack.redis import EmbeddedRedis
    from compliance_pipelines.services import Services
    from tests.integration.verification.replicated import Pair


def _archive(services: Services) -> object:
    return archive_day(services, HOT)


def _purge(services: Services) -> object:
    return purge_day(replace(services, clock=lambda: datetime.now(UTC) + timedelta(days=8)), ARCHIVED)


def _restore(services: Services) -> object:
    return restore_day(services, ARCHIVED)


__all__ = ["filled", "pair"]  # fixtures

WRITING: Final[dict[str, list[str]]] = {
    "archive": [str(HOT)],
    "conversations abandon": ["1"],
    "conversations bind": [],
    "conversations purge": [],
    "db downgrade": ["base", "--destroy-audit-trail"],
    "db migrate": [],
    "db rebuild": ["--reason", "a test", "--author", "tester", "--yes"],
    "db repair": [],
    "drop-restored": [],
    "erase correct": ["1"],
    "erase extend": ["1"],
    "erase refuse": ["1"],
    "erase replay": ["--since", "2026-01-01"],
    "erase request": ["somebody", "--requested-by", "support"],
    "erase run": [],
    "erase withdraw": ["1"],
    "expire": ["--all-due"],
    "hold add": [],
    "hold release": ["1"],
    "hold sync": [],
    "keys destroy": [str(ARCHIVED), "--reason", "a test", "--confirm", str(ARCHIVED)],
    "keys remove": ["keyring:a"],
    "keys rotate": [],
    "keys verify": [],
    "import": [],
    "ledger adopt-cluster": ["--yes"],
    "ledger recover": ["--reason", "a test", "--author", "tester", "--yes"],
    "ledger rotate-key": [],
    "ledger witness": [],
    "purge": [str(ARCHIVED)],
    "repair": [str(ARCHIVED)],
    "restore": [str(ARCHIVED)],
    "run": [],
    "scrub": [],
    "search-index rebuild": [],
    "seal": [],
    "sessions purge": [],
    "store init": [],
    "store republish": ["--reason", "a test", "--author", "tester", "--yes"],
}
"""Every command that writes, with arguments that lead it to its work."""


def _leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _leaves(below, f"{path} {name}".strip())
    else:
        yield path, command


LEAVES: Final = dict(_leaves(compliance, ""))


class Command:
    """`compliance` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *arguments: object) -> tuple[int, str, str]:
        """Exit status, stdout, stderr."""
        self.monkeypatch.setattr(sys, "argv", ["compliance", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self._capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    def json(self, *arguments: object) -> tuple[int, Any]:
        """Exit status, and the document on stdout."""
        status, out, _ = self.run(*arguments, "--json")
        return status, json.loads(out)


@pytest.fixture
def on_replica(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """The command with the pipelines' settings, but for the database, which is the replica."""
    monkeypatch.chdir(tmp_path)
    url = pair.replica.url(pair.database)
    for name, value in {
        "AUDIT_LOG_DATABASE_URL": login_url(url, "test_pipeline"),
        "AUDIT_LOG_MIGRATION_DATABASE_URL": url,
        "AUDIT_COLD_STORAGE_PROVIDER": "local",
        "AUDIT_COLD_STORAGE_PATH": str(pair.primary.cold),
        "LEDGER_SIGNING_KEY": KEY.to_note_string(),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "400")
    return Command(monkeypatch, capsys)


def _entry_of(pair: Pair, day: object) -> str:
    ((entry_id,),) = pair.primary.execute(
        "SELECT log_entry_id FROM audit_logs WHERE (\"timestamp\" AT TIME ZONE 'UTC')::date = :day ORDER BY id LIMIT 1",
        day=day,
    )
    return str(entry_id)


def test_every_command_is_one_that_reads_or_is_refused() -> None:
    assert sorted(LEAVES) == sorted({*WRITING, *_ONLY_READ, *_READ_AND_RECORD, *_WITHOUT_DATABASE})


def _arguments(path: str, tmp_path: Path) -> list[str]:
    """What leads a command to its work: whatever it requires, with values of the right kind."""
    command, given = LEAVES[path], list(WRITING[path])
    named = {option for parameter in command.params for option in parameter.opts if option in given}
    positional = not any(not each.startswith("-") for each in given)
    for parameter in command.params:
        if not parameter.required or named & set(parameter.opts):
            continue
        value = _value(parameter, tmp_path)
        if isinstance(parameter, click.Option):
            given += [parameter.opts[0], value]
        elif positional:
            given.append(value)
    return given


def _value(parameter: click.Parameter, tmp_path: Path) -> str:
    if isinstance(parameter.type, click.Path):
        (tmp_path / "file.jsonl").write_text("")
        return str(tmp_path / "file.jsonl")
    if isinstance(parameter.type, click.Choice):
        return str(next(iter(parameter.type.choices)))
    return "text"


@pytest.mark.parametrize("path", sorted(WRITING))
def test_what_writes_is_refused_in_one_line_before_anything_is_done(
    on_replica: Command, pair: Pair, tmp_path: Path, path: str
) -> None:
    pair.replica.pause()
    # A checkpoint that the replica takes for unpublished must not be put by it either.
    before = sorted(each.key for each in pair.primary.services.store.list(""))
    status, out, err = on_replica.run(*path.split(), *_arguments(path, tmp_path))
    assert (status, out) == (1, "")
    assert err == (
        f"compliance: `compliance {path}` writes, and the database is a read-only replica: connect to the primary; "
        "nothing was done\n"
    )
    assert sorted(each.key for each in pair.primary.services.store.list("")) == before
    assert any(key.startswith(PREFIX) for key in before)


class _Unanswered:
    """The question of the guard alone gets no answer, as when its connection breaks; what comes after it does."""

    def __call__(self, _connection: object) -> object:
        raise OperationalError("SELECT", None, psycopg.OperationalError("the connection broke"))


@pytest.mark.parametrize("path", sorted(WRITING))
def test_what_writes_is_refused_too_where_nobody_can_say_whether_it_is_a_replica(
    on_replica: Command, pair: Pair, tmp_path: Path, path: str
) -> None:
    pair.replica.pause()
    on_replica.monkeypatch.setattr("compliance_pipelines.cli.replica_state.replica_state", _Unanswered())
    before = sorted(each.key for each in pair.primary.services.store.list(""))
    status, out, err = on_replica.run(*path.split(), *_arguments(path, tmp_path))
    assert (status, out) == (1, "")
    assert err == "compliance: the database of AUDIT_LOG_DATABASE_URL did not answer: the connection broke\n"
    assert sorted(each.key for each in pair.primary.services.store.list("")) == before


def test_what_reads_says_that_it_is_not_known(on_replica: Command, pair: Pair) -> None:
    pair.replica.catch_up()
    on_replica.monkeypatch.setattr("compliance_pipelines.cli.replica_state.replica_state", _Unanswered())
    status, out, err = on_replica.run("hold", "list")
    assert (status, bool(out)) == (0, True)
    assert err == (
        "whether the database is a read-only replica, which may be behind, could not be asked: the connection broke\n"
    )


def test_status_says_that_it_is_a_replica_and_how_far_behind(on_replica: Command, pair: Pair) -> None:
    status, out, _ = on_replica.run("status")
    assert status == 0
    assert "a read-only replica: everything that was received is replayed" in " ".join(out.split())
    pair.replica.pause()
    pair.primary.days.append(HOT, 3)
    pair.replica.receive_all()
    status, document = on_replica.json("status")
    assert status == 0
    lag = document["replica"]
    assert lag["received_not_replayed_bytes"] > 0
    assert (lag["replay_paused"], lag["connected_to_primary"]) == (True, True)
    on_replica.monkeypatch.setenv(
        "AUDIT_LOG_DATABASE_URL", login_url(pair.replica.primary.url(pair.database), "test_pipeline")
    )
    assert on_replica.json("status")[1]["replica"] is None


def test_verify_says_how_far_behind_it_is_and_is_not_ok(on_replica: Command, pair: Pair) -> None:
    status, out, err = on_replica.run("verify")
    assert (status, err.strip()) == (0, "")
    assert "note: the database is a read-only replica: everything that was received is replayed" in out
    assert "nothing is wrong" in out
    pair.replica.pause()
    pair.primary.days.append(HOT, 3)
    for arguments in (("--all",), (str(HOT),)):
        status, out, _ = on_replica.run("verify", *arguments)
        assert status == 1
        assert "cannot tell: the replica is 1 record behind the newest checkpoint of the cold store" in out
        assert "0 findings, 1 thing could not be looked at" in out
    status, report = on_replica.json("verify")
    assert (status, report["ok"], report["findings"]) == (1, False, [])
    assert (report["replica"]["segments_behind"], report["replica"]["entries_behind"]) == (1, 3)
    status, out, err = on_replica.run("verify", "--offline", pair.primary.cold, "--public-key", _public_key())
    assert status == 0, (out, err)


def _public_key() -> str:
    return KEY.verifier_key().to_note_string()


def test_a_proof_is_made_on_a_replica_and_that_nothing_was_recorded_is_said(
    on_replica: Command, pair: Pair, tmp_path: Path
) -> None:
    on_replica.monkeypatch.setenv("AUDIT_LOG_DATABASE_URL", login_url(pair.replica.url(pair.database), "test_reader"))
    proof = tmp_path / "proof.json"
    status, out, err = on_replica.run("prove", _entry_of(pair, HOT), "-o", proof)
    assert status == 0, err
    assert "segment" in out
    assert "the database is a read-only replica: everything that was received is replayed" in err
    assert "nothing could be recorded here: the database is a read-only replica" in err
    assert on_replica.run("verify-proof", proof, "--public-key", _public_key())[0] == 0
    assert pair.primary.execute("SELECT count(*) FROM audit_logs WHERE action = 'audit.prove'") == [(0,)]
    # So is a search, over both stores.
    status, out, err = on_replica.run("query", "SELECT count(*) AS n FROM audit_log", "--to", HOT, "--format", "json")
    ((entries,),) = pair.primary.execute(
        """SELECT (SELECT count(*) FROM audit_logs WHERE "timestamp"::date <= :day)
                + (SELECT sum(entry_count)::int FROM archived_audit_logs WHERE purged_at IS NOT NULL)""",
        day=HOT,
    )
    assert (status, json.loads(out)["n"]) == (0, entries), err
    assert "nothing could be recorded here: the database is a read-only replica" in err


def test_a_dry_run_of_a_restore_reads_everything_and_loads_nothing(on_replica: Command, pair: Pair) -> None:
    status, out, err = on_replica.run("restore", PURGED, "--dry-run")
    assert (status, "the database is a read-only replica" in err) == (0, True)
    assert f"{PURGED}: a restore would load 25 entries from 2 parts" in out
    status, _, err = on_replica.run("restore", HOT, "--dry-run")
    assert status == 1
    assert "that is what a replica knows, and its primary may know more" in err
    pair.replica.pause()
    pair.primary.days.append(PURGED, 1)
    archive_day(pair.primary.services, PURGED)
    status, out, err = on_replica.run("restore", PURGED, "--dry-run")
    assert (status, "25 entries from 2 parts" in out) == (1, True)
    assert "the cold store also holds part 3, which the catalogue does not know and which was not read" in err
    pair.primary.alter_object(PURGED)
    status, _, err = on_replica.run("restore", PURGED, "--dry-run")
    assert status == 1
    assert "is damaged in the cold store" in err


def test_whatever_only_reads_works_on_a_replica(on_replica: Command, pair: Pair, empty_redis: EmbeddedRedis) -> None:
    on_primary = login_url(pair.replica.primary.url(pair.database), "test_pipeline")
    here = login_url(pair.replica.url(pair.database), "test_pipeline")
    for setting in ("CHECKPOINT_REDIS_URL", "GDPR_SESSION_REDIS_URL"):
        on_replica.monkeypatch.setenv(setting, empty_redis.url(0))
    on_replica.monkeypatch.setenv("AUDIT_LOG_DATABASE_URL", on_primary)
    for arguments in (
        ("conversations", "bind"),
        ("hold", "add", "--user", "alice", "--reason", "dispute", "--author", "legal"),
        ("erase", "request", "bob", "--requested-by", "support", "--no-look"),
    ):
        status, out, err = on_replica.run(*arguments)
        assert status == 0, (arguments, out, err)
    pair.replica.catch_up()
    on_replica.monkeypatch.setenv("AUDIT_LOG_DATABASE_URL", here)
    told = "the database is a read-only replica: everything that was received is replayed"
    for path, expected in {
        "conversations plan": 0,
        "conversations status": 0,
        "check": 1,
        "erase list": 0,
        "erase records bob": 0,
        "erase show 1": 0,
        "erase plan 1": 0,
        "erase targets": 0,
        "hold list": 0,
        "keys list": 0,
        "ledger checkpoint": 0,
        "sessions plan": 0,
        "sessions status": 0,
        "store show": 0,
    }.items():
        status, out, err = on_replica.run(*path.split())
        assert told in err, (path, err)
        assert status == expected, (path, out, err)
        assert "recovery" not in out + err, (path, out, err)


def test_documents_of_an_erasure_are_made_on_a_replica_and_that_nothing_was_recorded_is_said(
    on_replica: Command, pair: Pair, empty_redis: EmbeddedRedis, tmp_path: Path
) -> None:
    on_replica.monkeypatch.setenv("CHECKPOINT_REDIS_URL", empty_redis.url(0))
    here = login_url(pair.replica.url(pair.database), "test_pipeline")
    on_primary = login_url(pair.replica.primary.url(pair.database), "test_pipeline")
    on_replica.monkeypatch.setenv("AUDIT_LOG_DATABASE_URL", on_primary)
    for command in ("conversations bind", "erase request bob --requested-by support --no-look", "erase run 1", "seal"):
        status, out, err = on_replica.run(*command.split())
        assert status == 0, (command, out, err)
    pair.replica.catch_up()
    on_replica.monkeypatch.setenv("AUDIT_LOG_DATABASE_URL", here)
    for document in ("certificate", "record"):
        file = tmp_path / f"{document}.json"
        status, out, err = on_replica.run("erase", document, "1", "-o", file)
        assert status == 0, (document, out, err)
        assert "nothing could be recorded here: the database is a read-only replica" in err
        assert on_replica.run("verify-proof", file, "--public-key", _public_key())[0] == 0


@pytest.mark.parametrize("work", [seal, _archive, _purge, _restore], ids=["seal", "archive", "purge", "restore"])
def test_what_is_called_from_python_is_refused_too(pair: Pair, work: Callable[[Services], object]) -> None:
    pair.replica.pause()
    pair.primary.days.append(HOT, 3)
    before = sorted(each.key for each in pair.primary.services.store.list(""))
    services = replace(pair.seen.services, engine=create_engine(pair.pipelines_on_replica, pool_size=3))
    try:
        # A lag is not said to be a rollback, as a primary in this state would be told.
        with pytest.raises(ReadOnlyReplicaError, match="connect to the primary"):
            work(services)
    finally:
        services.engine.dispose()
    assert sorted(each.key for each in pair.primary.services.store.list("")) == before


@pytest.mark.usefixtures("on_replica")
def test_dagster_opens_no_replica() -> None:
    with (
        build_init_resource_context() as context,
        pytest.raises(ReadOnlyReplicaError, match="connect to the primary"),
        ServicesResource().yield_for_execution(context),
    ):
        pytest.fail("the services of a replica were opened")


@pytest.mark.usefixtures("on_replica")
def test_dagster_works_on_no_replica_that_it_could_not_ask_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compliance_pipelines.orchestration.resources._find_out", lambda _engine: None)
    with build_init_resource_context() as context, ServicesResource().yield_for_execution(context) as services:
        for _ in range(2):
            with pytest.raises(ReadOnlyReplicaError, match="connect to the primary"):
                services.engine.connect()


def test_a_lag_is_said_where_nothing_is_found(on_replica: Command, pair: Pair, tmp_path: Path) -> None:
    pair.replica.pause()
    entry = pair.primary.days.append(HOT, 1)[0]
    pair.replica.receive_all()
    status, _, err = on_replica.run("prove", entry.log_entry_id, "-o", tmp_path / "proof.json")
    assert status == 1
    assert "bytes are received and not replayed; replay is paused" in err
    assert "neither store holds it, as far as this replica has replayed" in err


ON_RECORD: Final = sorted(
    path for path, command in LEAVES.items() if (declared := declared_needs(command)) is not None and declared.on_record
)
"""Every command whose reading is put on record on a primary, where the login may not append by itself."""
READS_OTHERWISE: Final = "test_reads_otherwise"


def _logins_of_readers(pair: Pair) -> dict[str, str]:
    """An auditor's, and one that reads by another right, too."""
    with suppress(DBAPIError):  # there since the test before
        pair.primary.execute(f"CREATE ROLE {READS_OTHERWISE} LOGIN PASSWORD '{PASSWORD}'")
    pair.primary.execute(f"GRANT pg_read_all_data, audit_reader TO {READS_OTHERWISE}")
    url = pair.replica.url(pair.database)
    return {name: login_url(url, name) for name in ("test_reader", READS_OTHERWISE)}


@pytest.mark.parametrize("login", ["test_reader", READS_OTHERWISE])
@pytest.mark.parametrize("path", ON_RECORD)
def test_what_an_auditor_reads_works_and_is_said_to_be_on_no_record(
    on_replica: Command, pair: Pair, empty_redis: EmbeddedRedis, tmp_path: Path, *, path: str, login: str
) -> None:
    case, _ = record_request(pair.primary.services, NewRequest("bob", "asked", "support"))
    on_replica.monkeypatch.setenv("AUDIT_LOG_DATABASE_URL", _logins_of_readers(pair)[login])
    on_replica.monkeypatch.delenv("LEDGER_SIGNING_KEY")
    on_replica.monkeypatch.setenv("LEDGER_PUBLIC_KEY", KEY.verifier_key().to_note_string())
    on_replica.monkeypatch.setenv("CHECKPOINT_REDIS_URL", empty_redis.url(0))
    pair.replica.catch_up()
    given: dict[str, list[object]] = {
        "prove": [_entry_of(pair, HOT), "-o", tmp_path / "proof.json"],
        "erase show": [case.request.id],
        "query": ["SELECT count(*) FROM audit_log"],
    }
    # The request is an entry that is not sealed yet, and no finding.
    status, _, err = on_replica.run(*path.split(), *given.get(path, []))
    assert status == 0, err
    assert err.count("nothing could be recorded here") == 1


@pytest.mark.parametrize("command", [["check"], ["ledger", "checkpoint"], ["store", "show"]], ids=" ".join)
def test_what_is_on_no_record_anywhere_does_not_say_so_here(
    on_replica: Command, pair: Pair, command: list[str]
) -> None:
    on_replica.monkeypatch.setenv("AUDIT_LOG_DATABASE_URL", login_url(pair.replica.url(pair.database), "test_reader"))
    pair.replica.catch_up()
    assert "nothing could be recorded here" not in on_replica.run(*command)[2]


def test_who_reads_by_another_right_alone_is_told_what_to_grant_as_on_the_primary(
    on_replica: Command, pair: Pair
) -> None:
    on_replica.monkeypatch.setenv("AUDIT_LOG_DATABASE_URL", _logins_of_readers(pair)[READS_OTHERWISE])
    pair.primary.execute(f"REVOKE audit_reader FROM {READS_OTHERWISE}")
    pair.replica.catch_up()
    status, out, err = on_replica.run("hold", "list")
    assert (status, out) == (1, "")
    assert f"GRANT audit_reader TO {READS_OTHERWISE}" in err
