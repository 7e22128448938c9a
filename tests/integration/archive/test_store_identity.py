"""A place that is not the database's own cold store is refused by name by whatever archives, verifies or purges."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.lookup import ArchiveEntryFinder
from compliance_pipelines.archive.purge import PurgeStep, purge_day
from compliance_pipelines.archive.restore import restore_day
from compliance_pipelines.archive.store_init import init_store
from compliance_pipelines.erasure.replay import plan_replay
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.ledger.proofs import prove
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.ledger.store_identity import (
    IDENTITY_KEY,
    LedgerIdentityError,
    StoreIdentity,
    StoreIdentityAlteredError,
    StoreIdentityError,
    check_identity,
)
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.object_store.port import StoreMissingError
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.services import Services
from compliance_pipelines.verification.online import verify
from tests.integration.archive.days import overwrite, remove
from tests.support.servers import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.settings import Settings
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days

EVERYTHING_THAT_USES_A_STORE: Final[dict[str, Callable[[Services, date], object]]] = {
    "seal": lambda services, _: seal(services),
    "archive": archive_day,
    "purge": purge_day,
    "restore": restore_day,
    "verify everything": lambda services, _: verify(services),
    "verify a day": lambda services, day: verify(services, [day]),
    "prove": lambda services, _: prove(services, "proved", finder=ArchiveEntryFinder(services)),
    "replay": lambda services, _: plan_replay(services, services.clock()),
}
USES: Final = pytest.mark.parametrize("use", EVERYTHING_THAT_USES_A_STORE.values(), ids=EVERYTHING_THAT_USES_A_STORE)


@pytest.fixture
def archived(services: Services, days: Days, day: date, clock: MovableClock) -> Path:
    """The directory of the store that holds the day, which is out of its grace."""
    days.append(day, 5)
    archive_day(services, day)
    clock.advance(days=8)
    assert services.settings.audit_cold_storage_path is not None
    return services.settings.audit_cold_storage_path


@pytest.fixture
def second(
    empty_database_url: str, tmp_path: Path, settings: Settings, clock: MovableClock, signing_key: SigningKey
) -> Iterator[Callable[[], Services]]:
    """Makes the services of another environment: a database of its own, a store of its own, by default the same key."""
    migrate(empty_database_url)
    engine = create_engine(empty_database_url, pool_size=3)

    def made(key: SigningKey = signing_key) -> Services:
        store = LocalObjectStore(tmp_path / "second")
        services = Services(settings, engine, store, Keyring.of(key), clock)
        init_store(services)
        return services

    yield made
    engine.dispose()


def refused(use: Callable[[Services, date], object], services: Services, days: Days, day: date) -> str:
    """Why; nothing was written, dropped or recorded."""
    before = everything(days, day)
    with pytest.raises((StoreIdentityError, StoreMissingError, LedgerIdentityError)) as caught:
        use(services, day)
    assert everything(days, day) == before
    return str(caught.value)


def everything(days: Days, day: date) -> tuple[object, ...]:
    """What an archive or a purge changes in the database."""
    tables = ("archived_audit_logs", "audit_logs", "ledger_segments", "audit_purges")
    return (days.hot_rows(day), *(days.execute(f"SELECT * FROM {table} ORDER BY 1") for table in tables))


@USES
def test_a_mistyped_path_is_refused_and_not_made(
    services: Services, days: Days, day: date, archived: Path, use: Callable[[Services, date], object]
) -> None:
    typo = archived.with_name("clod")
    message = refused(use, replace(services, store=LocalObjectStore(typo)), days, day)
    assert f"{typo}, is not there: AUDIT_COLD_STORAGE_PATH is mistyped" in message
    assert not typo.exists()


@USES
def test_an_empty_directory_as_an_unmounted_volume_leaves_it_is_refused(
    services: Services, days: Days, day: date, archived: Path, use: Callable[[Services, date], object]
) -> None:
    identity = check(services)
    archived.rename(archived.with_name("elsewhere"))
    archived.mkdir()
    message = refused(use, services, days, day)
    assert f"the cold store at {archived.as_uri()} has no identity" in message
    assert f"this database archives into store {identity.store_id} of ledger {identity.ledger}" in message
    assert list(archived.iterdir()) == []


def check(services: Services) -> StoreIdentity:
    with services.engine.connect() as connection:
        return check_identity(services, connection)


@USES
def test_the_store_of_another_environment_with_the_same_key_is_refused_by_both_names(  # noqa: PLR0917 - fixtures
    services: Services,
    days: Days,
    day: date,
    archived: Path,
    second: Callable[[], Services],
    use: Callable[[Services, date], object],
) -> None:
    other = second()
    before = sorted(path for path in archived.with_name("second").rglob("*") if path.is_file())
    message = refused(use, replace(services, store=other.store), days, day)
    assert f"is the store {check(other).store_id} of ledger" in message
    assert f"this database archives into store {check(services).store_id} of ledger" in message
    assert sorted(path for path in archived.with_name("second").rglob("*") if path.is_file()) == before


@USES
def test_the_database_of_another_environment_is_refused(  # noqa: PLR0917 - fixtures
    services: Services,
    days: Days,
    day: date,
    archived: Path,
    second: Callable[[], Services],
    use: Callable[[Services, date], object],
) -> None:
    other = second()
    message = refused(use, replace(other, store=services.store), days, day)
    assert f"is the store {check(services).store_id} of ledger" in message


@USES
def test_a_key_of_another_ledger_is_refused_once_by_both_names(
    services: Services, days: Days, day: date, archived: Path, use: Callable[[Services, date], object]
) -> None:
    key = SigningKey.generate("staging.example/audit")
    message = refused(use, replace(services, keys=Keyring.of(key)), days, day)
    ours = services.verifier_key
    assert message.startswith(f"the key in use is of ledger {key.verifier_key()}, and the database is of ledger {ours}")


@USES
def test_a_store_of_another_ledger_is_refused_by_both_names(  # noqa: PLR0917 - fixtures
    services: Services,
    days: Days,
    day: date,
    archived: Path,
    second: Callable[[SigningKey], Services],
    use: Callable[[Services, date], object],
) -> None:
    key = SigningKey.generate("staging.example/audit")
    message = refused(use, replace(services, store=second(key).store), days, day)
    assert "of ledger staging.example/audit" in message
    assert f"the key in use is of ledger {services.verifier_key}" in message


def test_an_identity_that_was_copied_into_another_place_does_not_hold_what_was_archived(
    services: Services, days: Days, day: date, archived: Path, tmp_path: Path
) -> None:
    """Whoever copies the one object only gets as far as the first thing that is missing."""
    (tmp_path / "forged" / "audit-store").mkdir(parents=True)
    shutil.copy(archived / IDENTITY_KEY, tmp_path / "forged" / IDENTITY_KEY)
    forged = replace(services, store=LocalObjectStore(tmp_path / "forged"))
    for use in (archive_day, purge_day):
        with pytest.raises(Exception, match="is no longer there"):
            use(forged, day)
    assert len(days.hot_rows(day)) == 5


@pytest.mark.parametrize("position", [30, 80, -10])
def test_an_altered_identity_is_told_from_that_of_another_store(
    services: Services, day: date, archived: Path, position: int
) -> None:
    data = bytearray((archived / IDENTITY_KEY).read_bytes())
    data[position] ^= 1
    overwrite(archived / IDENTITY_KEY, bytes(data))
    with pytest.raises(StoreIdentityError) as caught:
        archive_day(services, day)
    if position != -10:
        assert isinstance(caught.value, StoreIdentityAlteredError)


def test_a_full_copy_is_the_same_store(
    services: Services, days: Days, day: date, archived: Path, tmp_path: Path
) -> None:
    """Moving to other storage is copying everything, and pointing the setting at the copy."""
    shutil.copytree(archived, tmp_path / "moved")
    moved = replace(services, store=LocalObjectStore(tmp_path / "moved"))
    assert check(moved) == check(services)
    assert purge_day(moved, day).entry_count == 5


def test_a_verification_counts_for_the_store_that_was_read(
    services: Services, days: Days, day: date, archived: Path, clock: MovableClock
) -> None:
    assert days.execute("SELECT verified_store FROM archived_audit_logs") == [(check(services).store_id,)]
    days.execute("UPDATE archived_audit_logs SET verified_store = gen_random_uuid()")
    with pytest.raises(Exception, match=r"part 1 was verified in store .*; run `compliance archive"):
        purge_day(services, day)
    days.execute("UPDATE archived_audit_logs SET verified_store = NULL")
    with pytest.raises(Exception, match="part 1 was verified in a store that nobody named"):
        purge_day(services, day)
    archive_day(services, day)
    clock.advance(days=8)
    assert purge_day(services, day).entry_count == 5


def test_a_store_that_is_unmounted_while_a_purge_is_under_way_stops_it(
    services: Services, days: Days, day: date, archived: Path
) -> None:
    def unmount(step: PurgeStep) -> None:
        if step is PurgeStep.LOCKED:
            archived.rename(archived.with_name("elsewhere"))
            archived.mkdir()

    with pytest.raises(StoreIdentityError, match="has no identity"):
        purge_day(services, day, hook=unmount)
    assert len(days.hot_rows(day)) == 5


def test_a_day_that_was_lost_before_stays_whole(services: Services, days: Days, day: date, clock: MovableClock) -> None:
    """The path is wrong from the archive on, and right again when the purge is due."""
    days.append(day, 5)
    wrong = replace(services, store=LocalObjectStore(services.settings.audit_cold_storage_path.with_name("clod")))  # type: ignore[union-attr]
    with pytest.raises(StoreMissingError):
        archive_day(wrong, day)
    clock.advance(days=98)
    with pytest.raises(Exception, match="it has rows in PostgreSQL that no archive holds"):
        purge_day(services, day)
    assert len(days.hot_rows(day)) == 5


def test_the_databases_binding_is_for_good(days: Days, services: Services, engine: sqlalchemy.Engine) -> None:

    for statement in (
        "UPDATE audit_store SET store_id = gen_random_uuid()",
        "DELETE FROM audit_store",
        "TRUNCATE audit_store",
    ):
        for login in (engine, days.superuser):
            with pytest.raises(DBAPIError), login.begin() as connection:
                connection.execute(text(statement))


def test_what_is_lost_of_a_store_is_missed(services: Services, day: date, archived: Path) -> None:
    remove(archived / IDENTITY_KEY)
    with pytest.raises(StoreIdentityError, match="--adopt-existing"):
        archive_day(services, day)
    assert init_store(services, adopt_existing=True).adopted
    assert archive_day(services, day).entry_count == 5
