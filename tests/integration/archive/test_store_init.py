"""`compliance store init`: a store is made once, by an explicit act, and never over something that is there."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive.catalogue import due
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.store_init import StoreInitRefusedError, init_store
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.errors import LedgerError
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.ledger.store_identity import IDENTITY_KEY, LedgerIdentityError, StoreIdentityError
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.services import Services
from tests.integration.archive.days import remove
from tests.integration.archive.test_cli import command, run
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.settings import Settings
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days
    from tests.integration.archive.test_cli import Run

__all__ = ["command", "run"]


@pytest.fixture
def unbound(
    settings: Settings, engine: sqlalchemy.Engine, tmp_path: Path, signing_key: SigningKey, clock: MovableClock
) -> Services:
    """A database without a store; the store's directory is not there."""
    return Services(settings, engine, LocalObjectStore(tmp_path / "new" / "cold"), Keyring.of(signing_key), clock)


def forget_identity(days: Days, cold: Path) -> None:
    """As an installation was that is older than identities."""
    remove(cold / IDENTITY_KEY)
    days.execute("TRUNCATE audit_store, audit_environment")
    days.execute("UPDATE archived_audit_logs SET verified_store = NULL")


def test_a_store_is_made_with_its_directory_and_bound(unbound: Services, tmp_path: Path) -> None:
    made = init_store(unbound)
    assert (made.new, made.adopted, made.identity.ledger) == (True, False, unbound.verifier_key.name)
    assert (tmp_path / "new" / "cold" / IDENTITY_KEY).read_text().splitlines()[:3] == [
        "audit-store-identity/2",
        unbound.verifier_key.name,
        str(made.identity.store_id),
    ]


def test_a_second_call_says_so_and_changes_nothing(unbound: Services, tmp_path: Path) -> None:
    made = init_store(unbound)
    before = (tmp_path / "new" / "cold" / IDENTITY_KEY).read_bytes()
    for adopt_existing in (False, True):
        again = init_store(unbound, adopt_existing=adopt_existing)
        assert (again.new, again.identity) == (False, made.identity)
    assert (tmp_path / "new" / "cold" / IDENTITY_KEY).read_bytes() == before


def test_a_bound_database_makes_no_second_store(unbound: Services, tmp_path: Path) -> None:
    init_store(unbound)
    elsewhere = replace(unbound, store=LocalObjectStore(tmp_path / "typo"))
    with pytest.raises(Exception, match="is not there: AUDIT_COLD_STORAGE_PATH"):
        init_store(elsewhere)
    assert not (tmp_path / "typo").exists()
    (tmp_path / "typo").mkdir()
    with pytest.raises(StoreIdentityError, match="has no identity"):
        init_store(elsewhere)
    assert list((tmp_path / "typo").iterdir()) == []


def test_a_directory_that_holds_something_is_not_taken(unbound: Services, tmp_path: Path) -> None:
    (tmp_path / "new" / "cold").mkdir(parents=True)
    (tmp_path / "new" / "cold" / "letter.txt").write_text("mine")
    for adopt_existing in (False, True):
        with pytest.raises(StoreInitRefusedError, match=r"holds objects \(letter.txt, for one\)"):
            init_store(unbound, adopt_existing=adopt_existing)
    assert [path.name for path in (tmp_path / "new" / "cold").iterdir()] == ["letter.txt"]


def test_a_file_systems_own_directory_is_in_nobodys_way(unbound: Services, tmp_path: Path) -> None:
    (tmp_path / "new" / "cold" / "lost+found").mkdir(parents=True)
    assert init_store(unbound).new


def test_an_empty_store_that_another_database_made_with_the_same_key_is_not_taken(
    services: Services, unbound: Services, days: Days
) -> None:
    days.execute("TRUNCATE audit_store, audit_environment")
    for adopt_existing in (False, True):
        with pytest.raises(StoreInitRefusedError, match="which another database made"):
            init_store(services, adopt_existing=adopt_existing)


def test_an_init_that_was_killed_before_the_database_knew_is_finished(services: Services, days: Days) -> None:
    made = init_store(services).identity
    days.execute("TRUNCATE audit_store")
    again = init_store(services)
    assert (again.new, again.adopted, again.identity) == (True, False, made)


def test_a_key_of_another_ledger_binds_nothing(services: Services) -> None:
    stranger = replace(services, keys=Keyring.of(SigningKey.generate("staging.example/audit")))
    with pytest.raises(LedgerIdentityError, match=r"the key in use is of ledger staging\.example/audit"):
        init_store(stranger)


def test_an_installation_from_before_identities_adopts_its_own_store(
    services: Services, days: Days, day: date, clock: MovableClock, tmp_path: Path
) -> None:
    days.append(day, 5)
    archive_day(services, day)
    clock.advance(days=8)
    forget_identity(days, tmp_path / "cold")
    for use in (seal_all, lambda services: archive_day(services, day), lambda services: purge_day(services, day)):
        with pytest.raises(StoreIdentityError, match="`compliance store init --adopt-existing`"):
            use(services)
    with pytest.raises(StoreInitRefusedError, match="this database has published 1 records"):
        init_store(services)
    adopted = init_store(services, adopt_existing=True)
    assert (adopted.new, adopted.adopted) == (True, True)
    # What was verified when nobody could tell which store was read is verified once more, with its grace.
    assert due(services).archive == (day,)
    archive_day(services, day)
    clock.moment = datetime.now(UTC) + timedelta(days=6)
    assert due(services).purge == ()
    clock.advance(days=2)
    assert purge_day(services, day).entry_count == 5


@pytest.mark.parametrize(
    "lost", ["audit-ledger/checkpoint", "tile/0/000.p/1", "*.parquet", "*.manifest.json", "everything"]
)
def test_a_store_that_does_not_hold_what_the_database_published_and_archived_is_not_adopted(
    services: Services, days: Days, day: date, tmp_path: Path, lost: str
) -> None:
    days.append(day, 5)
    archive_day(services, day)
    cold = tmp_path / "cold"
    forget_identity(days, cold)
    if lost == "everything":
        shutil.rmtree(cold)
        cold.mkdir()
    else:
        remove(max(cold.rglob(lost)))
    with pytest.raises((StoreInitRefusedError, LedgerError)):
        init_store(services, adopt_existing=True)
    assert not (cold / IDENTITY_KEY).exists()


def test_the_command_makes_shows_and_repeats(
    run: Run, services: Services, days: Days, day: date, tmp_path: Path
) -> None:
    status, out, _ = run("store", "init")
    assert (status, "was bound to this database before" in out) == (0, True)
    status, out, _ = run("store", "show")
    assert (status, out.startswith(f"{(tmp_path / 'cold').as_uri()}: store ")) == (0, True)
    remove(tmp_path / "cold" / IDENTITY_KEY)
    status, out, err = run("store", "show")
    assert (status, out, "has no identity" in err, len(err.splitlines())) == (1, "", True, 1)
    status, _, err = run("archive", day)
    assert (status, "has no identity" in err) == (1, True)
