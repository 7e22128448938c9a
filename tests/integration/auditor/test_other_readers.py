"""Whoever reads and may not append is on record, by whatever right; what is in the way is said with its remedy."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import pytest
from sqlalchemy import text

from compliance_pipelines.audit_log.health import check_health
from compliance_pipelines.base.clock import system_clock
from compliance_pipelines.ledger.lag import sealing_lag
from compliance_pipelines.postgres.engine import create_engine
from tests.integration.auditor.test_auditor import readings
from tests.support.logins import PASSWORD, changed_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.integration.archive.days import Days
    from tests.support.command import Command


class MakeLogin(Protocol):
    """Makes a login of the test's own."""

    def __call__(self, *grants: str, attributes: str = "") -> str:
        """Its name; in the grants `{}` stands for it."""


@pytest.fixture
def make_login(superuser_engine: sqlalchemy.Engine) -> Iterator[MakeLogin]:
    """Logins are the cluster's, and gone when the test is over."""
    made: list[str] = []

    def make(*grants: str, attributes: str = "") -> str:
        name = f"test_other_{uuid.uuid4().hex[:12]}"
        with superuser_engine.begin() as connection:
            connection.execute(text(f"CREATE ROLE {name} LOGIN {attributes} PASSWORD '{PASSWORD}'"))
            made.append(name)
            for grant in grants:
                connection.execute(text(grant.format(name)))
        return name

    yield make
    with superuser_engine.begin() as connection:
        for name in made:
            connection.execute(text(f"DROP OWNED BY {name}"))
            connection.execute(text(f"DROP ROLE {name}"))


def use(auditor: Command, settings: Settings, login: str, **parameters: str) -> str:
    """Let the command run as a login."""
    url = changed_url(settings.require_database_url(), user=login, password=PASSWORD, **parameters)
    auditor.set(AUDIT_LOG_DATABASE_URL=url)
    return url


READS_OTHERWISE = {
    "pg_read_all_data": "GRANT pg_read_all_data TO {}",
    "plain grants": "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}",
}
READING = [("status",), ("verify",), ("hold", "list"), ("erase", "list"), ("erase", "show", 1)]


@pytest.mark.parametrize("grant", READS_OTHERWISE.values(), ids=READS_OTHERWISE)
@pytest.mark.parametrize("command", READING)
def test_who_reads_by_another_right_reads_nothing_that_is_not_on_record(
    auditor: Command, services: Services, make_login: MakeLogin, grant: str, command: tuple[object, ...]
) -> None:
    login = make_login(grant)
    use(auditor, services.settings, login)
    done = auditor(*command)
    assert (done.status, done.out, len(done.err.splitlines())) == (1, "", 1), done
    assert "must be on record" in done.err
    assert f"GRANT audit_reader TO {login}" in done.err
    assert readings(services) == []


@pytest.mark.parametrize("grant", READS_OTHERWISE.values(), ids=READS_OTHERWISE)
def test_who_reads_by_another_right_too_is_on_record(
    auditor: Command, services: Services, make_login: MakeLogin, grant: str
) -> None:
    login = make_login(grant, "GRANT audit_reader TO {}")
    use(auditor, services.settings, login)
    assert auditor("hold", "list").status == 0
    assert [(each["action"], each["user_id"]) for each in readings(services)] == [("hold.list", f"login:{login}")]


def test_a_pipelines_login_that_has_taken_the_auditors_role_is_on_record(auditor: Command, services: Services) -> None:
    auditor.set(
        AUDIT_LOG_DATABASE_URL=changed_url(services.settings.require_database_url(), options="-c role=audit_reader")
    )
    assert auditor("status").status == 0
    assert [each["user_id"] for each in readings(services)] == ["login:test_pipeline"]


REMEDIES = ("WITH INHERIT TRUE", "INHERIT", "options=-c role=audit_reader")


@pytest.fixture(params=["attribute", "grant"])
def member(request: pytest.FixtureRequest, make_login: MakeLogin) -> str:
    """A member of audit_reader that does not inherit its rights, by its attribute or by how it was granted."""
    if request.param == "attribute":
        return make_login("GRANT audit_reader TO {}", attributes="NOINHERIT")
    return make_login("GRANT audit_reader TO {} WITH INHERIT FALSE")


@pytest.mark.parametrize("command", [*READING, ("store", "show"), ("ledger", "checkpoint")])
def test_a_member_that_does_not_inherit_is_said_to_be_one(
    auditor: Command, services: Services, member: str, command: tuple[object, ...]
) -> None:
    use(auditor, services.settings, member)
    done = auditor(*command)
    assert (done.status, done.out, len(done.err.splitlines())) == (1, "", 1), done
    assert f"{member} is a member of audit_reader and does not inherit its rights" in done.err
    for remedy in REMEDIES:
        assert remedy in done.err


def test_a_member_that_does_not_inherit_is_told_so_by_the_check(
    auditor: Command, services: Services, member: str
) -> None:
    use(auditor, services.settings, member)
    done = auditor("check", "--json")
    found = {each["name"]: each for each in json.loads(done.out)["checks"]}["database: privileges"]
    assert "does not inherit its rights" in found["message"]
    for remedy in REMEDIES:
        assert remedy in found["remedy"]
    assert "GRANT audit_reader to it" not in found["remedy"]


def test_it_works_where_the_role_is_set_or_inherited(
    auditor: Command, services: Services, superuser_engine: sqlalchemy.Engine, member: str
) -> None:
    use(auditor, services.settings, member, options="-c role=audit_reader")
    for command in (("status",), ("hold", "list"), ("store", "show")):
        done = auditor(*command)
        assert done.status == 0, done
    assert {each["user_id"] for each in readings(services)} == {f"login:{member}"}
    use(auditor, services.settings, member)
    with superuser_engine.begin() as connection:
        connection.execute(text(f"GRANT audit_reader TO {member} WITH INHERIT TRUE"))
    assert auditor("status").status == 0


def test_roles_of_the_pipelines_that_are_not_inherited_are_told_apart_from_those_not_had(
    services: Services, make_login: MakeLogin
) -> None:
    login = make_login("GRANT audit_writer, audit_archiver TO {}", attributes="NOINHERIT")
    url = changed_url(services.settings.require_database_url(), user=login, password=PASSWORD)
    engine = create_engine(url, pool_size=1)
    checks = check_health(engine, now=system_clock(), sealing_lag=sealing_lag, max_sealing_lag=timedelta(minutes=5))
    engine.dispose()
    (found,) = (each for each in checks if each.name == "privileges")
    assert f"{login} is a member of audit_writer and does not inherit its rights" in found.message
    assert f"GRANT audit_writer TO {login} WITH INHERIT TRUE" in (found.remedy or "")


@pytest.mark.parametrize("grant", READS_OTHERWISE.values(), ids=READS_OTHERWISE)
def test_no_proof_is_handed_out_that_is_not_on_record(
    auditor: Command, days: Days, day: date, tmp_path: Path, make_login: MakeLogin, *, grant: str
) -> None:
    entry, *_ = days.append(day, 3)
    login = make_login(grant)
    use(auditor, days.services.settings, login)
    done = auditor("prove", entry.log_entry_id, "-o", tmp_path / "proof.json")
    assert (done.status, done.out, len(done.err.splitlines())) == (1, "", 1), done
    assert f"GRANT audit_reader TO {login}" in done.err
    assert not (tmp_path / "proof.json").exists()


CHANGING: list[tuple[object, ...]] = [
    ("archive", "2026-01-01"),
    ("purge", "2026-01-01"),
    ("hold", "add", "--everything", "--reason", "r", "--author", "a"),
    ("erase", "run"),
    ("erase", "request", "alice@example.com", "--requested-by", "me"),
    ("db", "repair"),
    ("seal",),
]


@pytest.mark.parametrize("grant", READS_OTHERWISE.values(), ids=READS_OTHERWISE)
@pytest.mark.parametrize("command", CHANGING, ids=lambda command: " ".join(map(str, command[:2])))
def test_a_command_that_changes_data_is_refused_to_who_may_not_append(
    auditor: Command, services: Services, make_login: MakeLogin, grant: str, command: tuple[object, ...]
) -> None:
    use(auditor, services.settings, make_login(grant))
    done = auditor(*command)
    assert (done.status, done.out, len(done.err.splitlines())) == (1, "", 1), done
    assert "changes data, and the login of AUDIT_LOG_DATABASE_URL may not append to the audit log" in done.err
    assert "nothing was done" in done.err
    assert "SIGNING_KEY" not in done.err
