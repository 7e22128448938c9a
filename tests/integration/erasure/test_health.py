"""What is missing is said before anything is searched: rights, roles, modules, row filters."""

from __future__ import annotations

import json
import uuid
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
from pydantic import SecretStr

from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.health import check_checkpoint_redis, check_places
from tests.integration.erasure.application import table_target
from tests.integration.erasure.command import Command
from tests.support.logins import url_of
from tests.support.redis_commands import execute

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from compliance_pipelines.base.health import HealthCheck
    from compliance_pipelines.local_stack.redis import EmbeddedRedis
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.integration.erasure.application import Application

_LOGIN: Final = "restricted"
_REDIS: Final = ("checkpoint_redis_url", "gdpr_session_redis_url", "gdpr_store_redis_url")


@contextmanager
def logged_in(services: Services, redis: Redis, server: EmbeddedRedis, *rules: str) -> Iterator[Services]:
    """Services whose three Redis settings use a login with these rights."""
    execute(redis, "ACL", "SETUSER", _LOGIN, "reset", "on", ">secret", *rules)
    url = SecretStr(f"redis://{_LOGIN}:secret@127.0.0.1:{server.port}/0")
    try:
        yield replace(services, settings=services.settings.model_copy(update=dict.fromkeys(_REDIS, url)))
    finally:
        execute(redis, "ACL", "DELUSER", _LOGIN)


def failing(checks: list[HealthCheck]) -> dict[str, tuple[str, str | None]]:
    return {check.name: (check.message, check.remedy) for check in checks if not check.ok}


def test_where_nothing_is_missing_every_check_passes_and_nothing_is_changed(
    services: Services, application: Application, redis: Redis
) -> None:
    before = {key: redis.dump(key) for key in redis.scan_iter()}
    checks = check_places(services, configured_targets(services.settings))
    assert failing(checks) == {}
    assert len(checks) == 3 * 6 + 4 * 3
    assert {key: redis.dump(key) for key in redis.scan_iter()} == before
    assert application.rows("SELECT count(*) FROM user_profiles") == [(0,)]


@pytest.mark.parametrize(
    ("command", "settings_concerned"),
    [
        ("json.get", {"CHECKPOINT_REDIS_URL", "GDPR_STORE_REDIS_URL"}),
        ("hmget", {"CHECKPOINT_REDIS_URL", "GDPR_SESSION_REDIS_URL", "GDPR_STORE_REDIS_URL"}),
        ("hgetall", {"GDPR_SESSION_REDIS_URL"}),
        ("unlink", {"CHECKPOINT_REDIS_URL", "GDPR_STORE_REDIS_URL", "GDPR_SESSION_REDIS_URL"}),
        ("scan", {"CHECKPOINT_REDIS_URL", "GDPR_STORE_REDIS_URL", "GDPR_SESSION_REDIS_URL"}),
        ("hincrby", {"CHECKPOINT_REDIS_URL"}),
        ("rename", {"CHECKPOINT_REDIS_URL"}),
        ("zadd", {"CHECKPOINT_REDIS_URL"}),
        ("evalsha", {"CHECKPOINT_REDIS_URL"}),
        ("memory|usage", {"CHECKPOINT_REDIS_URL"}),
    ],
)
def test_a_command_that_the_login_may_not_call_is_named_with_its_remedy(
    services: Services, redis: Redis, redis_server: EmbeddedRedis, command: str, settings_concerned: set[str]
) -> None:
    with logged_in(services, redis, redis_server, "~*", "+@all", f"-{command}") as restricted:
        found = failing(check_places(restricted, []))
    assert set(found) == {f"{setting}: rights" for setting in settings_concerned}
    for message, remedy in found.values():
        assert message == f"the login may not call {command.upper().replace('|', ' ')}"
        assert remedy == f"ACL SETUSER ... +{command}"


def test_keys_that_the_login_may_not_touch_are_named(
    services: Services, redis: Redis, redis_server: EmbeddedRedis
) -> None:
    patterns = ("~checkpoint*", "~write_*", "~current_checkpoint:*", "~compliance_pipelines:*", "~store*", "~session:*")
    rules = ("+@all", *patterns, "%R~conversation:metadata:*", "%R~user_sessions:*")
    with logged_in(services, redis, redis_server, *rules) as restricted:
        found = failing(check_places(restricted, []))
    assert found == {
        "CHECKPOINT_REDIS_URL: rights": (
            "the login may not call RENAME, UNLINK on conversation:metadata:*",
            "ACL SETUSER ... ~conversation:metadata:*",
        ),
        "GDPR_SESSION_REDIS_URL: rights": (
            "the login may not call UNLINK on user_sessions:*; UNLINK on conversation:metadata:*",
            "ACL SETUSER ... ~user_sessions:* ~conversation:metadata:*",
        ),
    }


def test_what_cannot_be_told_is_no_pass(services: Services, redis: Redis, redis_server: EmbeddedRedis) -> None:
    with logged_in(services, redis, redis_server, "~*", "+@all", "-info") as restricted:
        found = failing(check_places(restricted, []))
    for name in ("connection", "role", "memory", "persistence"):
        message, remedy = found[f"CHECKPOINT_REDIS_URL: {name}"]
        assert message.startswith("it cannot be told: ")
        assert remedy is not None
    assert "INFO" in found["CHECKPOINT_REDIS_URL: rights"][0]


def test_a_server_that_is_away_fails_every_check_and_the_others_are_looked_at(services: Services) -> None:
    away = services.settings.model_copy(update={"gdpr_session_redis_url": SecretStr("redis://127.0.0.1:1/0")})
    found = failing(check_places(replace(services, settings=away), []))
    assert {name.partition(": ")[0] for name in found} == {"GDPR_SESSION_REDIS_URL"}
    assert len(found) == 6
    assert failing(check_checkpoint_redis(replace(services, settings=away))) == {}


def test_a_server_that_drops_keys_or_keeps_no_file_is_called_that(services: Services, redis: Redis) -> None:
    redis.config_set("maxmemory", "1gb")
    redis.config_set("maxmemory-policy", "allkeys-lru")
    redis.config_set("appendonly", "no")
    try:
        checks = check_places(services, [])
    finally:
        redis.config_set("appendonly", "yes")
        redis.config_set("maxmemory-policy", "noeviction")
        redis.config_set("maxmemory", "0")
    found = failing(checks)
    assert not any(check.fails for check in checks)
    assert "maxmemory-policy is allkeys-lru" in found["CHECKPOINT_REDIS_URL: memory"][0]
    assert "appendonly is off" in found["CHECKPOINT_REDIS_URL: persistence"][0]


table = partial(table_target, table="user_profiles")


def test_rights_and_row_filters_of_a_table_are_named(application: Application) -> None:
    login = f"eraser_{uuid.uuid4().hex[:8]}"
    application.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'x'")
    application.execute("ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY")
    url = url_of(application.engine, user=login, password="x")
    found = failing(table(application, database_url=url).check())
    assert found["rights"][0] == "the login lacks DELETE ON public.user_profiles, SELECT ON public.user_profiles"
    application.execute(str(found["rights"][1]))
    assert "rights" not in failing(table(application, database_url=url).check())
    application.execute(f"REVOKE ALL ON user_profiles FROM {login}")
    assert "row security of public.user_profiles hides rows" in found["row filters"][0]
    application.execute(f"GRANT SELECT (user_id, email), UPDATE (username) ON user_profiles TO {login}")
    found = failing(table(application, database_url=url, action="set", set={"email": None}).check())
    assert found["rights"][1] == f"GRANT UPDATE ON public.user_profiles TO {login}"


def test_the_type_of_the_column_and_its_index_are_said(application: Application) -> None:
    (columns, *_) = table(application).check()
    assert (columns.name, columns.message) == ("columns", "user_id is text, with an index")
    (columns, *_) = table(application, table="consent_records").check()
    assert columns.message == "user_id is text, without an index: every search reads the whole table"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"table": "nothing"}, "there is no table nothing"),
        ({"user_column": "nobody"}, "the table user_profiles has no column nobody"),
        ({"database_url": "postgresql://u:p@127.0.0.1:1/x"}, "it cannot be told: connection failed"),
    ],
)
def test_an_entry_that_leads_nowhere_fails(application: Application, rule: dict[str, object], message: str) -> None:
    found = failing(table(application, **rule).check())
    assert any(said.startswith(message) for said, _ in found.values())


def test_the_command_looks_at_everything_and_fails_where_something_is_missing(
    services: Services, settings: Settings, application: Application, redis: Redis, redis_server: EmbeddedRedis
) -> None:
    checks = json.loads(Command(settings)("check", "--json").output)["checks"]
    names = {check["name"] for check in checks}
    assert [check for check in checks if not check["ok"] and not check["name"].startswith("database: ")] == []
    assert {"database: privileges", "GDPR_STORE_REDIS_URL: role", "user_profiles: row filters"} <= names
    application.execute("DROP TABLE user_preferences")
    with logged_in(services, redis, redis_server, "~*", "+@all", "-json.get") as restricted:
        command = Command(restricted.settings)
        for arguments in (("check",), ("erase", "targets")):
            failed = command(*arguments)
            assert failed.exit_code == 1
            assert "FAIL  CHECKPOINT_REDIS_URL: rights: the login may not call JSON.GET" in failed.output
            assert "FAIL  user_preferences: columns: there is no table user_preferences" in failed.output
        failed = command("conversations", "status")
        assert failed.output.startswith("FAIL  CHECKPOINT_REDIS_URL: rights: the login may not call JSON.GET")
