"""A connection string that works for one way into the database works for all, and shows its password on none."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import psycopg
import pytest
from alembic import command as alembic
from psycopg import sql
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr
from sqlalchemy import text

from compliance_pipelines.audit_log.log import AsyncAuditLog, AuditLog
from compliance_pipelines.audit_log.migrate import alembic_config, upgrade
from compliance_pipelines.audit_log.reading import read_rows
from compliance_pipelines.erasure.alias_tables import alias_tables
from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.postgres.conninfo import parse
from compliance_pipelines.postgres.engine import conninfo_of, create_asynchronous_engine, create_engine
from compliance_pipelines.postgres.holders import table_locks_held
from compliance_pipelines.settings import Settings
from tests.integration.audit_log.entries import MOMENT, entry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres

    Form = Callable[["Login", Path, pytest.MonkeyPatch], str]
    Way = Callable[[str], Awaitable[str]]

PASSWORD: Final = "p w@x%y'z\"q\\r/s:t#u?v=\u00fc"


@dataclass(frozen=True)
class Login:
    """A login with a name and a password that no notation takes as they are."""

    user: str
    database: str
    port: int
    socket_directory: str

    @property
    def url(self) -> str:
        return f"{self.credentials}127.0.0.1:{self.port}/{self.database}"

    @property
    def credentials(self) -> str:
        return f"postgresql://{quote(self.user, safe='')}:{quote(PASSWORD, safe='')}@"


@pytest.fixture
def login(postgres_server: EmbeddedPostgres, database_url: str) -> Iterator[Login]:
    """It may do everything, as migrations are one of the ways; its database is migrated."""
    name = f"sam o'smith \u00fc@{uuid.uuid4().hex[:8]}"
    database = parse(database_url).parameters["dbname"]
    socket_directory = parse(postgres_server.url(database, over_socket=True)).parameters["host"]
    with psycopg.connect(database_url, autocommit=True) as administrator:
        create = sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}")
        administrator.execute(create.format(sql.Identifier(name), sql.Literal(PASSWORD)))
        yield Login(name, database, postgres_server.port, socket_directory)
        administrator.execute(sql.SQL("REASSIGN OWNED BY {} TO postgres").format(sql.Identifier(name)))
        administrator.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def _url(login: Login, _directory: Path, _environment: pytest.MonkeyPatch) -> str:
    return login.url


def _driver(login: Login, _directory: Path, _environment: pytest.MonkeyPatch) -> str:
    return login.url.replace("postgresql://", "postgresql+psycopg://")


def _keywords(login: Login, _directory: Path, _environment: pytest.MonkeyPatch) -> str:
    return make_conninfo(host="127.0.0.1", port=login.port, user=login.user, password=PASSWORD, dbname=login.database)


def _several_hosts(login: Login, _directory: Path, _environment: pytest.MonkeyPatch) -> str:
    hosts = f"127.0.0.1:1,127.0.0.1:{login.port}"  # nobody is at port 1
    return f"{login.credentials}{hosts}/{login.database}?target_session_attrs=read-write"


def _options(login: Login, _directory: Path, _environment: pytest.MonkeyPatch) -> str:
    return f"{login.url}?options=-c%20work_mem%3D7MB%20-c%20statement_timeout%3D9s"


def _socket(login: Login, _directory: Path, _environment: pytest.MonkeyPatch) -> str:
    directory = quote(login.socket_directory, safe="")
    return f"{login.credentials}/{login.database}?host={directory}&port={login.port}"


def _passfile(login: Login, directory: Path, _environment: pytest.MonkeyPatch) -> str:
    file = directory / "a directory" / "pass file"
    file.parent.mkdir()
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    file.write_text(f"127.0.0.1:{login.port}:*:*:{escaped}\n", encoding="utf-8")
    file.chmod(0o600)
    user = quote(login.user, safe="")
    return f"postgresql://{user}@127.0.0.1:{login.port}/{login.database}?passfile={quote(str(file), safe='')}"


def _service_file(login: Login, directory: Path, environment: pytest.MonkeyPatch) -> None:
    file = directory / "a directory" / "services.conf"
    file.parent.mkdir()
    file.write_text(
        f"[audit log]\nhost=127.0.0.1\nport={login.port}\nuser={login.user}\npassword={PASSWORD}\n"
        f"dbname={login.database}\noptions=-c work_mem=7MB\n",
        encoding="utf-8",
    )
    environment.setenv("PGSERVICEFILE", str(file))


def _service(login: Login, directory: Path, environment: pytest.MonkeyPatch) -> str:
    _service_file(login, directory, environment)
    return "postgresql://?service=audit%20log"


def _service_of_environment(login: Login, directory: Path, environment: pytest.MonkeyPatch) -> str:
    _service_file(login, directory, environment)
    environment.setenv("PGSERVICE", "audit log")
    return "postgresql://"


def _environment(login: Login, _directory: Path, environment: pytest.MonkeyPatch) -> str:
    environment.setenv("PGUSER", login.user)
    environment.setenv("PGPASSWORD", PASSWORD)
    environment.setenv("PGPORT", str(login.port))
    return f"host=127.0.0.1 dbname={login.database}"


FORMS: Final[list[Form]] = [
    *(_url, _driver, _keywords, _several_hosts, _options, _socket),
    *(_passfile, _service, _service_of_environment, _environment),
]
_WHO: Final = text("SELECT session_user")


async def _engine(url: str) -> str:
    engine = create_engine(url, pool_size=1)
    with engine.connect() as connection:
        found = connection.execute(_WHO).scalar_one()
        if "work_mem" in str(dict(conninfo_of(engine).parameters)):
            assert connection.execute(text("SHOW work_mem")).scalar_one() == "7MB"
    engine.dispose()
    return str(found)


async def _asynchronous_engine(url: str) -> str:
    engine = create_asynchronous_engine(url, pool_size=1)
    async with engine.connect() as connection:
        found = (await connection.execute(_WHO)).scalar_one()
    await engine.dispose()
    return str(found)


async def _copy(url: str) -> str:
    engine = create_engine(url, pool_size=1)
    assert AuditLog(engine).append_many([entry(1), entry(2)]).new == 2
    engine.dispose()
    return ""


async def _asynchronous_copy(url: str) -> str:
    engine = create_asynchronous_engine(url, pool_size=1)
    assert (await AsyncAuditLog(engine).append_many([entry(1), entry(2)])).new == 2
    await engine.dispose()
    return ""


async def _adbc(url: str) -> str:
    engine = create_engine(url, pool_size=1)
    AuditLog(engine).append(entry(1))
    with read_rows(engine, day=MOMENT.date()) as batches:
        assert sum(batch.num_rows for batch in batches) == 1
    engine.dispose()
    return ""


async def _migrations(url: str) -> str:
    upgrade(url)
    alembic.check(alembic_config(url))
    return ""


async def _holders(url: str) -> str:
    engine = create_engine(url, pool_size=1)
    said = table_locks_held(conninfo_of(engine))
    engine.dispose()
    assert "could not be asked" not in said
    return ""


async def _erasure(url: str) -> str:
    engine = create_engine(url, pool_size=1)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE people (user_id text, mail text)"))
    engine.dispose()
    rule = {"database_url": url, "table": "people", "user_column": "user_id"}
    settings = Settings(
        _env_file=None,
        gdpr_sql_targets=SecretStr(json.dumps([{**rule, "action": "delete"}])),
        gdpr_aliases_sql=SecretStr(json.dumps([{**rule, "alias_columns": ["mail"]}])),
    )
    people = configured_targets(settings)[-1]
    assert people.find("alice").items == ()
    (aliases,) = alias_tables(settings)
    with aliases:
        assert aliases.read(["alice"], frozenset()) == []
    return ""


WAYS: Final[list[Way]] = [
    *(_engine, _asynchronous_engine, _copy, _asynchronous_copy),
    *(_adbc, _migrations, _holders, _erasure),
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__.strip("_"))
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.strip("_"))
async def test_each_way_in_takes_each_form(
    login: Login, form: Form, way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await way(form(login, tmp_path, monkeypatch)) in {login.user, ""}
