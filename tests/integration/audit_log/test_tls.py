"""To a host that is not local the audit log travels over TLS, of a version that is new enough, or not at all."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from compliance_pipelines.audit_log.log import AsyncAuditLog, AuditLog
from compliance_pipelines.audit_log.reading import ReadingError, read_rows
from compliance_pipelines.postgres.conninfo import parse
from compliance_pipelines.postgres.engine import create_asynchronous_engine, create_engine
from tests.integration.audit_log.entries import MOMENT, entry, ids, stored
from tests.integration.audit_log.tls_front import Front, tls_front
from tests.support.certificates import HOST_NAME, write_certificate
from tests.support.logins import changed_url
from tests.support.tls_relay import server_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.settings import Settings
    from tests.support.command import Command


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def front(pipeline_database_url: str, certificate: tuple[Path, Path]) -> Iterator[Front]:
    """A server of TLS 1.2 and 1.3."""
    with tls_front(database_port(pipeline_database_url), server_context(*certificate)) as front:
        yield front


@pytest.fixture
def old_front(pipeline_database_url: str, certificate: tuple[Path, Path]) -> Iterator[Front]:
    """A server that knows nothing newer than TLS 1.2."""
    context = server_context(*certificate, newest=ssl.TLSVersion.TLSv1_2)
    with tls_front(database_port(pipeline_database_url), context) as front:
        yield front


@pytest.fixture
def plain_front(pipeline_database_url: str) -> Iterator[Front]:
    """A server without TLS."""
    with tls_front(database_port(pipeline_database_url), None) as front:
        yield front


def database_port(url: str) -> int:
    return int(parse(url).parameters["port"])


@pytest.fixture
def remote(pipeline_database_url: str) -> Callable[..., str]:
    """The URL of a front, under a name that is not local; libpq resolves no name where it is given an address."""

    def url(front: Front, **query: str) -> str:
        return changed_url(pipeline_database_url, host=HOST_NAME, port=str(front.port), hostaddr="127.0.0.1", **query)

    return url


def test_a_remote_database_is_spoken_to_over_tls_1_3(front: Front, remote: Callable[..., str]) -> None:
    engine = create_engine(remote(front), pool_size=2)
    assert AuditLog(engine).append(entry(1))
    assert AuditLog(engine).append_many([entry(1), entry(2)]).new == 1
    with engine.connect() as connection:
        assert connection.connection.driver_connection.pgconn.ssl_in_use  # type: ignore[union-attr]
    engine.dispose()
    assert set(front.versions) == {"TLSv1.3"}
    assert front.plaintext == 0


async def test_the_asynchronous_engine_speaks_it_too(
    front: Front, remote: Callable[..., str], engine: sqlalchemy.Engine
) -> None:
    remote_engine = create_asynchronous_engine(remote(front), pool_size=1)
    assert await AsyncAuditLog(remote_engine).append(entry(1))
    await remote_engine.dispose()
    assert (set(front.versions), front.plaintext) == ({"TLSv1.3"}, 0)
    assert ids(stored(engine)) == ["entry-1"]


def test_reading_for_the_ledger_and_the_archive_speaks_it_too(
    front: Front, remote: Callable[..., str], engine: sqlalchemy.Engine
) -> None:
    AuditLog(engine).append(entry(1))
    remote_engine = create_engine(remote(front), pool_size=1)
    with read_rows(remote_engine, day=MOMENT.date()) as batches:
        assert sum(batch.num_rows for batch in batches) == 1
    remote_engine.dispose()
    assert (set(front.versions), front.plaintext) == ({"TLSv1.3"}, 0)


def test_a_server_without_tls_is_refused_before_anything_is_said(
    plain_front: Front, remote: Callable[..., str]
) -> None:
    engine = create_engine(remote(plain_front), pool_size=1)
    with pytest.raises(OperationalError, match="server does not support SSL, but SSL was required"), engine.connect():
        pass
    with pytest.raises(ReadingError), read_rows(engine, day=MOMENT.date()) as batches:
        next(batches)
    engine.dispose()
    assert plain_front.plaintext == 0


def test_an_older_tls_is_refused_unless_it_is_configured(old_front: Front, remote: Callable[..., str]) -> None:
    engine = create_engine(remote(old_front), pool_size=1)
    with pytest.raises(OperationalError, match="SSL error"), engine.connect():
        pass
    engine.dispose()
    assert old_front.versions == ["refused"]

    configured = create_engine(remote(old_front), pool_size=1, tls_min_version="TLSv1.2")
    with configured.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    configured.dispose()
    # Behind a relay another connection finds out whether a session is shared.
    assert (old_front.versions[0], set(old_front.versions[1:])) == ("refused", {"TLSv1.2"})
    assert old_front.plaintext == 0


def test_a_certificate_is_checked_where_that_is_asked_for(
    front: Front, remote: Callable[..., str], certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    trusted = create_engine(remote(front, sslmode="verify-full", sslrootcert=str(certificate[0])), pool_size=1)
    with trusted.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    trusted.dispose()

    other, _ = write_certificate(tmp_path)
    deceived = create_engine(remote(front, sslmode="verify-full", sslrootcert=str(other)), pool_size=1)
    with pytest.raises(OperationalError, match="certificate verify failed"), deceived.connect():
        pass
    deceived.dispose()


def test_a_service_that_demands_a_checked_certificate_gets_one(
    front: Front,
    pipeline_database_url: str,
    certificate: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither way in makes less of it than the service file says, which has spaces in its path and in its values."""
    directory = tmp_path / "a directory"
    directory.mkdir()
    other, _ = write_certificate(directory)
    monkeypatch.setenv("PGSERVICEFILE", str(directory / "services.conf"))
    login = parse(pipeline_database_url).parameters
    place = f"host={HOST_NAME}\nhostaddr=127.0.0.1\nport={front.port}\nsslmode=verify-full\n"
    (directory / "services.conf").write_text(
        f"[trusted]\n{place}sslrootcert={certificate[0]}\n[deceived]\n{place}sslrootcert={other}\n"
    )
    url = "postgresql://{user}:{password}@/{dbname}?service=".format(**login)

    trusted = create_engine(f"{url}trusted", pool_size=1)
    AuditLog(trusted).append(entry(1))
    with read_rows(trusted, day=MOMENT.date()) as batches:
        assert sum(batch.num_rows for batch in batches) == 1
    trusted.dispose()

    deceived = create_engine(f"{url}deceived", pool_size=1)
    with pytest.raises(OperationalError, match="certificate verify failed"), deceived.connect():
        pass
    with pytest.raises(ReadingError), read_rows(deceived, day=MOMENT.date()) as batches:
        next(batches)
    deceived.dispose()
    assert front.plaintext == 0


def test_migrations_speak_the_version_of_the_settings(
    old_front: Front, database_url: str, command: Command, settings: Settings
) -> None:
    url = changed_url(database_url, host=HOST_NAME, port=str(old_front.port), hostaddr="127.0.0.1")
    command.set(AUDIT_LOG_MIGRATION_DATABASE_URL=url)
    assert command("db", "migrate").status == 1
    command.set(AUDIT_LOG_TLS_MIN_VERSION="TLSv1.2")
    migrated = command("db", "migrate")
    assert (migrated.status, migrated.err) == (0, "")
    assert set(old_front.versions) == {"refused", "TLSv1.2"}


def test_a_local_database_may_do_without_tls(plain_front: Front, pipeline_database_url: str) -> None:
    url = changed_url(pipeline_database_url, host="127.0.0.1", port=str(plain_front.port))
    engine = create_engine(url, pool_size=1)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    engine.dispose()
    assert plain_front.plaintext > 0
