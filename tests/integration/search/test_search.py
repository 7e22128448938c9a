"""Entries are found wherever they are, each once, and what is missing is said to be."""

from __future__ import annotations

import io
import json
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.search.engine import opened_engine
from compliance_pipelines.search.errors import QueryFailedError
from compliance_pipelines.search.period import Period
from compliance_pipelines.search.searching import searched
from compliance_pipelines.search_filters import Matching, Wanted
from tests.integration.archive.days import overwrite, remove
from tests.integration.search.conftest import found
from tests.support.sealing import seal_all
from tests.support.stops import command as stoppable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy

    from compliance_pipelines.encryption.data_keys import DataKeys
    from compliance_pipelines.search.plan import Plan
    from compliance_pipelines.search_filters import SearchedPart
    from tests.integration.search.conftest import World
    from tests.support.command import Command

_SQL_COUNT = "SELECT count(*) AS n, count(DISTINCT log_entry_id) AS ids FROM audit_log"


def ids(out: str) -> list[str]:
    return [each["log_entry_id"] for each in found(out)]


def test_each_entry_comes_once_wherever_it_is_and_is_found_by_names_and_times(world: World, command: Command) -> None:
    done = command("search", "--json", "--limit", 0, "--from", world.purged, "--to", world.hot)
    assert done.status == 0, done.err
    entries = found(done.out)
    assert len(entries) == 30
    assert {each["log_entry_id"] for each in entries} == set(world.entries)
    assert [each["timestamp"] for each in entries] == sorted((each["timestamp"] for each in entries), reverse=True)
    for each in entries:
        original = world.entries[each["log_entry_id"]]
        assert (each["user_id"], each["action"], each["resource_type"], each["resource_id"], each["metadata"]) == (
            original.user_id,
            original.action,
            original.resource_type,
            original.resource_id,
            original.metadata,
        )
        assert datetime.fromisoformat(each["timestamp"]) == original.timestamp
        assert each["day"] == str(original.timestamp.date())
        assert not each["blinded"]
    cold = [each for each in entries if each["source"] != "hot"]
    assert len(cold) == 10
    assert {each["day"] for each in cold} == {str(world.purged)}
    assert all(each["source"].startswith(world.services.store.uri) for each in cold)
    assert "reads 1 of 1 part in the cold store, " in done.err
    assert ", at no price; 3 days with 20 rows in PostgreSQL" in done.err
    assert done.err.endswith("30 entries\n")
    # Nothing of it stays on this disk.
    assert not list(Path(world.services.settings.archive_staging_path or "/nonexistent").glob("search-*"))

    # Names and times narrow it exactly.
    def search(*arguments: object) -> set[str]:
        done = command("search", "--json", "--limit", 0, *arguments)
        assert done.status == 0, done.err
        return set(ids(done.out))

    def expected(**values: object) -> set[str]:
        return {
            key
            for key, each in world.entries.items()
            if all(getattr(each, name) in wanted for name, wanted in values.items())  # type: ignore[operator]
        }

    assert search("--user", "user-1", "--user", "user-2") == expected(user_id=("user-1", "user-2"))
    assert search("--user", "user-1", "--resource-type", "conversation") == expected(
        user_id=("user-1",), resource_type=("conversation",)
    )
    awkward = next(each for each in world.entries.values() if each.resource_id)
    assert search("--resource", awkward.resource_id) == expected(resource_id=(awkward.resource_id,))
    assert search("--user", "user'); DROP TABLE audit_logs; --") == set()
    assert search("--action", "audit.purge", "--from", world.purged, "--to", world.hot) == set()
    noon = datetime.combine(world.purged, time(), UTC) + timedelta(seconds=4, microseconds=4)
    until = noon + timedelta(days=1)
    between = {key for key, each in world.entries.items() if noon <= each.timestamp < until}
    assert 0 < len(between) < 20
    elsewhere = noon.astimezone(datetime.strptime("+0530", "%z").tzinfo).isoformat()
    assert search("--from", elsewhere, "--to", until.isoformat()) == between
    assert search("--from", world.hot + timedelta(days=1), "--to", world.hot + timedelta(days=2)) == set()
    assert search("--from", "2100-01-01") == set()
    assert command("search", "--from", world.hot, "--to", world.purged).status == 2
    assert command("search", "--from", "2026-01-01T00:00").status == 2
    assert command("search", "--from", "yesterday").status == 2
    assert command("search", "--user", "\udcff").status == 2

    # A table has the newest, and it is said how many there are.
    done = command("search", "--to", world.hot, "--limit", 3)
    assert done.status == 0
    header, *rows = done.out.splitlines()
    assert header.split() == [
        "timestamp",
        "user_id",
        "action",
        "resource_type",
        "resource_id",
        "result",
        "source",
        "log_entry_id",
    ]
    newest = sorted(world.entries.values(), key=lambda each: each.timestamp, reverse=True)[:3]
    assert [row.split()[-1] for row in rows] == [each.log_entry_id for each in newest]
    assert "30 entries, of which 3 are shown (--limit)" in done.err
    oldest = command("search", "--to", world.hot, "--limit", 1, "--oldest-first", "--json")
    assert ids(oldest.out) == [min(world.entries.values(), key=lambda each: each.timestamp).log_entry_id]


def test_sql_sees_one_table_in_every_form(
    world: World, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds = ("--from", world.purged, "--to", world.hot)
    assert found(command("query", _SQL_COUNT, "--format", "json", *bounds).out) == [{"n": 30, "ids": 30}]
    sql = (
        "SELECT day, source = 'hot' AS hot, count(*) AS n, sum((metadata->>'n')::int) AS total "
        "FROM audit_log WHERE user_id = 'user-1' GROUP BY ALL ORDER BY ALL"
    )
    table = command("query", sql, *bounds)
    assert table.out.splitlines()[0].split() == ["day", "hot", "n", "total"]
    assert [line.split() for line in table.out.splitlines()[1:]] == [
        [str(world.purged), "False", "2", "7"],
        [str(world.purged), "True", "1", "11"],
        [str(world.archived), "True", "2", "7"],
        [str(world.hot), "True", "2", "7"],
    ]
    csv = command("query", sql, "--format", "csv", *bounds)
    assert csv.out.splitlines()[:2] == ["day,hot,n,total", f"{world.purged},False,2,7"]
    narrowed = command("query", _SQL_COUNT, "--format", "json", "--user", "user-1", *bounds)
    assert found(narrowed.out) == [{"n": 7, "ids": 7}]
    many = command("query", "SELECT r FROM audit_log, range(400) AS t(r)", *bounds)
    assert len(many.out.splitlines()) == 1_001
    assert "there are more, which --format csv and json show" in many.err
    target = tmp_path / "result.parquet"
    assert command("query", "FROM audit_log", "--format", "parquet", "-o", target, *bounds).status == 0
    assert {row["log_entry_id"] for row in pq.read_table(target).to_pylist()} == set(world.entries)
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR
    before = target.read_bytes()
    again = command("query", "FROM audit_log", "--format", "parquet", "-o", target, *bounds)
    assert (again.status, target.read_bytes()) == (1, before)
    assert "is there already, and is left as it is" in again.err
    # Bytes are for a pipe, and nothing for a terminal.
    piped = subprocess.run(
        [sys.executable, "-m", "compliance_pipelines", "query", sql, "--format", "parquet", *map(str, bounds)],
        capture_output=True,
        check=True,
    )
    assert [row["n"] for row in pq.read_table(io.BytesIO(piped.stdout)).to_pylist()] == [2, 1, 2, 2]
    for form in ("parquet", "csv"):
        left = subprocess.Popen(
            [sys.executable, "-m", "compliance_pipelines", "query", "FROM range(3000000)", "--format", form],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert left.stdout is not None
        assert left.stderr is not None
        left.stdout.read(4)
        left.stdout.close()
        assert b"the query failed" not in left.stderr.read()
        assert left.wait() == 1
        left.stderr.close()
    with monkeypatch.context() as patch:
        patch.setattr(sys.stdout, "isatty", lambda: True)
        assert command("query", sql, "--format", "parquet").status == 2
    # What is large streams, and is on record when it ends, however it does.
    large = command("query", "SELECT r FROM range(25000) AS t(r)", "--format", "csv")
    assert large.out.splitlines() == ["r", *map(str, range(25_000))]
    late = "SELECT CASE WHEN r = 1500000 THEN error('now')::INT ELSE r END AS r FROM range(2000000) AS t(r)"
    broken = command("query", late, "--format", "csv")
    assert (broken.status, broken.err.count("the query failed: ")) == (1, 1)
    streamed, interrupted = world.recorded()[-3::2]
    assert streamed["metadata"]["rows"] == 25_000
    assert interrupted["metadata"]["interrupted"] is True
    assert interrupted["metadata"]["rows"] >= len(broken.out.splitlines()) - 1
    target = tmp_path / "result.csv"
    assert command("query", sql, "--format", "csv", "-o", target, *bounds).status == 0
    assert target.read_text() == csv.out
    twice = command("query", "SELECT 1 AS a, 2 AS a", "--format", "json")
    assert (twice.status, twice.out) == (1, "")
    assert [path.name for path in tmp_path.glob("*.parquet*")] == ["result.parquet"]


def test_what_was_asked_and_found_is_on_record(world: World, command: Command) -> None:
    command.set(GDPR_SUBJECT_PSEUDONYMS="hmac", GDPR_PSEUDONYM_KEY="k" * 32)
    command("search", "--user", "user-1", "--from", world.purged, "--to", world.hot)
    sql = "SELECT * FROM audit_log WHERE user_id = 'user-1'"
    command("query", sql, "--user", "user-1", "--format", "csv", "--from", world.purged, "--to", world.hot)
    command("search", "--dry-run")
    assert command("query", "SELECT broken").status == 1  # refused before anything was asked
    began, ended, queried, gave, looked = world.recorded()
    assert (began["action"], began["result"]) == ("audit.search", "started")
    assert (ended["action"], ended["result"]) == ("audit.searched", "success")
    assert began["resource_type"] == ended["resource_type"] == "audit_search"
    assert began["resource_id"] == ended["resource_id"] != queried["resource_id"] == gave["resource_id"]
    assert began["metadata"]["login"] == "test_pipeline"
    assert began["metadata"]["from"] == f"{world.purged}T00:00:00+00:00"
    (name,) = began["metadata"]["users"]
    assert name.startswith("hmac-sha256:")
    assert queried["metadata"]["sql"] == sql.replace("user-1", name)
    assert "user-1" not in json.dumps([each["metadata"] for each in world.recorded()])
    size = world.days.objects(world.purged)[0].stat().st_size
    assert ended["metadata"] == {
        "rows": 7,
        "matching": 7,
        "parts": 1,
        "bytes": size,
        "hot_rows": 5,
        "partial": False,
        "login": "test_pipeline",
    }
    assert (gave["action"], gave["metadata"]["rows"]) == ("audit.queried", 7)
    assert (looked["action"], looked["metadata"]["dry_run"]) == ("audit.search", True)
    # A person is found under every name that entries may call them.
    world.days.execute("UPDATE audit_logs SET user_id = :name WHERE action = 'audit.queried'", name=name)
    told = found(command("search", "--user", "user-1", "--action", "audit.queried", "--json").out)
    assert [each["user_id"] for each in told] == [name]


def test_what_is_neither_here_nor_there_is_named(world: World, command: Command) -> None:
    world.days.execute("DELETE FROM audit_logs WHERE log_entry_id = :id", id=min(world.of(world.archived)))
    tx_id = world.days.execute("SELECT max(tx_to) - 1 FROM ledger_segments WHERE seq = 0")[0][0]
    world.days.execute(
        'INSERT INTO audit_logs (log_entry_id, "timestamp", user_id, action, result, tx_id) '
        "VALUES ('forged', :at, 'user-1', 'x', 'success', :tx_id)",
        at=datetime.combine(world.purged, time(12), UTC),
        tx_id=tx_id,
    )
    done = command("search", "--json", "--limit", 0, "--from", world.purged, "--to", world.hot)
    assert done.status == 1
    assert len(ids(done.out)) == 29
    assert "forged" not in ids(done.out)
    assert f"missing: {world.archived}: 1 entry of 10 that were sealed are neither in PostgreSQL" in done.err
    assert f"missing: {world.purged}: in PostgreSQL, 1 row in segments whose entries were purged" in done.err
    assert "the result is partial: 2 gaps, named above" in done.err
    assert world.recorded()[-1]["metadata"]["partial"] is True
    # Days that have nothing to do with it are whole.
    assert command("search", "--from", world.hot, "--to", world.hot).status == 0
    # What breaks a rule is put aside when it is sealed, and never shown.
    world.days.execute("ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_log_entry_id_is_given")
    world.days.execute(
        "INSERT INTO audit_logs (log_entry_id, \"timestamp\", user_id, action, result) VALUES ('', :at, 'u', 'a', 'r')",
        at=datetime.combine(world.hot, time(12), UTC),
    )
    seal_all(world.services)
    aside = command("search", "--json", "--limit", 0, "--from", world.hot, "--to", world.hot)
    assert (aside.status, set(ids(aside.out))) == (1, world.of(world.hot))
    assert f"missing: {world.hot}: 1 entry in quarantine, for breaking a rule of the table, and not shown" in aside.err
    assert "1 gap, named above" in aside.err


def test_a_part_that_cannot_be_believed_ends_it_or_is_left_out_by_consent(world: World, command: Command) -> None:
    (path,) = world.days.objects(world.purged)
    (manifest,) = world.days.manifests(world.purged)
    (record,) = (path.parents[3] / "audit-keys").rglob(f"*{world.purged}*.json")
    whole = {each: each.read_bytes() for each in (path, manifest, record)}
    altered = bytearray(whole[path])
    altered[-20] ^= 1
    bounds = ("--from", world.purged, "--to", world.hot)

    def look(said: str) -> None:
        before = len(world.recorded())
        done = command("search", "--json", *bounds)
        assert done.status == 1
        assert found(done.out)[0]["ok"] is False
        assert f"nothing was shown: part 1 of {world.purged} cannot be read: " in done.err
        assert said in done.err
        assert [each["action"] for each in world.recorded()[before:]] == ["audit.search"]
        partial = command("search", "--json", "--limit", 0, "--partial", *bounds)
        assert partial.status == 1
        assert len(ids(partial.out)) == 20
        assert f"missing: part 1 of {world.purged} cannot be read: " in partial.err
        assert command("search", "--from", world.archived, "--to", world.hot).status == 0

    overwrite(path, bytes(altered))
    look("is not the object that was committed")
    remove(path)
    look("not")
    path.write_bytes(whole[path])
    overwrite(manifest, whole[manifest].replace(b'"entry_count":10', b'"entry_count":11'))
    look("was altered")
    overwrite(manifest, whole[manifest])
    assert command("search", *bounds).status == 0
    kept = world.days.execute("SELECT manifest_sha256 FROM archived_audit_logs WHERE day = :day", day=world.purged)
    change = "UPDATE archived_audit_logs SET manifest_sha256 = :sha256 WHERE day = :day"
    world.days.execute(change, sha256="0" * 64, day=world.purged)
    look("it is not the manifest that was committed")
    world.days.execute(change, sha256=kept[0][0], day=world.purged)
    world.days.execute("DELETE FROM object_keys")
    remove(record)
    look("is on no record")


def test_the_plan_alone_reads_nothing(world: World, command: Command) -> None:
    (path,) = world.days.objects(world.purged)
    size = path.stat().st_size
    remove(path)
    command.set(AUDIT_SEARCH_REQUEST_PRICE="1000", AUDIT_SEARCH_TRANSFER_PRICE="0")
    done = command("search", "--dry-run", "--from", world.purged, "--to", world.hot)
    assert (done.status, done.out) == (0, "")
    assert f"reads 1 of 1 part in the cold store, {size / 1024:.1f} KiB" in done.err
    assert "in about 3 requests, $3.00 for the requests; 3 days with 20 rows" in done.err
    planned = command(
        "query", "FROM audit_log", "--dry-run", "--format", "json", "--from", world.purged, "--to", world.hot
    )
    (plan,) = found(planned.out)
    assert (plan["parts"], plan["bytes"], plan["price_usd"], plan["hot_rows"]) == (1, size, 3.0, 20)
    # What expired is named, and no longer asked for.
    world.days.execute("UPDATE archived_audit_logs SET expired_at = now() WHERE day = :day", day=world.purged)
    expired = command("search", "--json", "--limit", 0, "--from", world.purged, "--to", world.hot)
    assert (expired.status, len(ids(expired.out))) == (0, 20)
    assert f"note: {world.purged}: part 1 with 10 entries expired at " in expired.err
    assert "reads 0 of 0 parts in the cold store" in expired.err


def test_only_parts_and_row_groups_that_can_have_it_are_read(world: World, command: Command) -> None:
    (path,) = world.days.objects(world.purged)
    size = path.stat().st_size
    there = command("search", "--json", "--user", "user-1", "--from", world.purged, "--to", world.purged)
    assert len(ids(there.out)) == 3
    assert "reads 1 of 1 part in the cold store" in there.err
    absent = command("search", "--json", "--user", "user-7", "--from", world.purged, "--to", world.purged)
    assert (absent.status, absent.out) == (0, "")
    assert "reads 0 of 1 part in the cold store; 1 day with 3 rows in PostgreSQL" in absent.err
    assert [each["metadata"]["bytes"] for each in world.recorded() if each["result"] == "success"] == [size, 0]
    # One that is altered hides nothing, and is named.
    world.days.execute("UPDATE archive_search_filters SET bits = bits || bits")
    altered = command("search", "--user", "user-7", "--from", world.purged, "--to", world.purged)
    assert "reads 1 of 1 part in the cold store" in altered.err
    assert "note: read whole, because their filters are not what was made of them: audit-archives/" in altered.err
    world.days.execute("DELETE FROM archive_search_filters")
    without = command("search", "--user", "user-7", "--from", world.purged, "--to", world.purged)
    assert "note: read whole, because they have no filters" in without.err
    # Only row groups that can have it are decoded.
    period = Period.of(world.purged, world.purged)
    with searched(world.services, period, Wanted(), filters=only_group_7, on_plan=bool) as result:
        assert result is not None
        with opened_engine(result.entries, 64) as engine, pytest.raises(QueryFailedError):
            engine.count()


def only_group_7(
    connection: sqlalchemy.Connection, parts: Sequence[SearchedPart], wanted: Wanted, data_keys: DataKeys
) -> Matching:
    """Say that what is wanted is in a row group that no part of the tests has."""
    del connection, wanted, data_keys
    return Matching({part.object_key: (7,) for part in parts})


def test_nothing_is_purged_between_the_plan_and_the_rows(world: World) -> None:
    """What the plan calls hot is in PostgreSQL until it is read."""
    table = f"audit_logs_{world.archived:%Y_%m_%d}"

    def drop_meanwhile(plan: Plan) -> bool:
        with world.days.superuser.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '50ms'"))
            with pytest.raises(DBAPIError, match="lock timeout"):
                connection.execute(text(f"DROP TABLE {table}"))
        return bool(plan.hot_days)

    period = Period.of(world.purged, world.hot)
    with searched(world.services, period, Wanted(), on_plan=drop_meanwhile) as result:
        assert result is not None
        # Once they are read nobody is kept waiting.
        with world.days.superuser.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '50ms'"))
            connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        with opened_engine(result.entries, 64) as engine:
            assert engine.count() == 30


def test_a_copy_of_the_bucket_is_searched_without_a_database(
    world: World, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keyring = world.services.settings.audit_archive_keyring_file
    assert keyring is not None
    key = world.services.verifier_key.to_note_string()
    # A part that was repaired has two revisions there, of which the newest counts.
    (path,) = world.days.objects(world.archived)
    overwrite(path, path.read_bytes()[:-20])
    repaired = command("repair", world.archived)
    assert repaired.status == 0, repaired.err
    assert len(world.days.manifests(world.archived)) == 2
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "cold", copy)
    for name in ("AUDIT_LOG_DATABASE_URL", "AUDIT_COLD_STORAGE_PATH", "LEDGER_SIGNING_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.delenv("AUDIT_ARCHIVE_KEYRING_FILE")
    offline = ("--copy", copy, "--public-key", key)
    done = command("search", "--json", "--limit", 0, *offline, "--keyring", keyring)
    assert done.status == 0, done.err
    late = {key for key in world.of(world.purged) if world.entries[key].timestamp.second >= 10}
    assert len(ids(done.out)) == 20
    assert set(ids(done.out)) <= world.of(world.purged, world.archived) - late
    assert "a copy is searched: nothing is put on record" in done.err
    counted = command("query", _SQL_COUNT, "--format", "json", *offline, "--keyring", keyring, "--to", world.purged)
    assert found(counted.out) == [{"n": 10, "ids": 10}]
    assert "cannot be read" in command("search", *offline).err
    assert command("search", "--copy", copy).status == 2
    assert command("search", "--public-key", key).status == 2
    elsewhere = command("search", "--copy", tmp_path, "--public-key", key)
    assert "is no copy of a bucket with archives" in elsewhere.err
    manifest = max((copy / "audit-archives").rglob(f"*{world.archived}*.manifest.json"))
    overwrite(manifest, manifest.read_bytes().replace(b'"entry_count":10', b'"entry_count":11'))
    assert command("search", *offline, "--keyring", keyring).status == 1
    partial = command("search", "--json", *offline, "--keyring", keyring, "--partial")
    assert (partial.status, len(ids(partial.out))) == (1, 10)


def test_late_entries_that_are_purged_are_in_a_part_of_their_own(world: World, command: Command) -> None:
    archive_day(world.services, world.purged)
    later = replace(world.services, clock=lambda: datetime.now(UTC) + timedelta(days=30))
    purge_day(later, world.purged)
    done = command("search", "--json", "--from", world.purged, "--to", world.purged)
    assert set(ids(done.out)) == world.of(world.purged)
    assert len(ids(done.out)) == 13
    assert len({each["source"] for each in found(done.out)}) == 2


def test_a_query_that_is_stopped_leaves_nothing_on_the_disk(world: World, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    keyring = str(world.services.settings.audit_archive_keyring_file)
    endless = "SELECT count(*) FROM range(100000000000) AS a(r), audit_log WHERE hash(r) = id"
    with stoppable(
        tmp_path,
        world.services.settings,
        "query",
        endless,
        "--to",
        str(world.purged),
        ARCHIVE_STAGING_PATH=str(staging),
        AUDIT_ARCHIVE_KEYRING_FILE=keyring,
    ) as child:
        child.until("both stores are staged", lambda: len(list(staging.glob("search-*/*.parquet"))) == 2)
        assert not any(b"message.send" in path.read_bytes() for path in staging.glob("search-*/*.parquet"))
        child.send(signal.SIGTERM)
        assert child.end() == 143, child.err
    assert list(staging.iterdir()) == []
    assert [each["action"] for each in world.recorded()] == ["audit.query"]
