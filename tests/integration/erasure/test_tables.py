"""Rows of an application's tables are deleted or set to a value, and what cannot be done is said."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.table_rules import rules_from_json
from compliance_pipelines.erasure.tables import TableTarget
from compliance_pipelines.settings import ConfigurationError
from tests.integration.erasure.application import table_target

if TYPE_CHECKING:
    from tests.integration.erasure.application import Application


@pytest.fixture
def people(application: Application) -> Application:
    application.execute("CREATE TABLE people (user_id TEXT, name TEXT, since DATE, seen TIMESTAMPTZ, extra JSONB)")
    for user_id in ("alice", "Alice", "alice ", "bob"):
        application.execute(
            "INSERT INTO people VALUES (:user, 'n', '2026-03-01', '2026-03-05T23:30:00Z', '{\"a\": 1}')", user=user_id
        )
    return application


def test_the_persons_rows_are_deleted_and_counted(people: Application) -> None:
    table = table_target(people)
    (item,) = table.find("alice").items
    assert (item.data_type, item.count) == ("people", 1)
    assert table.delete("alice", [item]) == {"people": 1}
    assert table.rescan("alice").items == ()
    assert people.rows("SELECT user_id FROM people ORDER BY 1") == [("Alice",), ("alice ",), ("bob",)]


def test_columns_are_set_and_rows_that_have_the_value_already_are_not_counted(people: Application) -> None:
    table = table_target(people, name="names", action="set", set={"name": None, "extra": {"erased": True}})
    (item,) = table.find("alice").items
    assert table.delete("alice", [item]) == {"names": 1}
    assert table.rescan("alice").items == ()
    assert table.find("alice").items == ()
    assert people.rows("SELECT name, extra FROM people WHERE user_id = 'alice'") == [(None, {"erased": True})]
    assert people.rows("SELECT DISTINCT name FROM people WHERE user_id <> 'alice'") == [("n",)]


def test_a_json_column_is_set_to_null_and_not_to_json_null(people: Application) -> None:
    table = table_target(people, action="set", set={"extra": None})
    table.delete("alice", table.find("alice").items)
    assert people.rows("SELECT extra IS NULL FROM people WHERE user_id = 'alice'") == [(True,)]
    assert table.rescan("alice").items == ()


def test_the_user_column_itself_may_be_set(people: Application) -> None:
    table = table_target(people, action="set", set={"user_id": "erased"})
    assert table.delete("alice", table.find("alice").items) == {"people": 1}
    assert table.rescan("alice").items == ()


def test_rows_carry_the_days_of_the_columns_that_say_so(people: Application) -> None:
    (item,) = table_target(people, first_day_column="since", last_day_column="seen").find("alice").items
    assert (item.first_day, item.last_day) == (date(2026, 3, 1), date(2026, 3, 5))
    (unknown,) = table_target(people).find("alice").items
    assert (unknown.first_day, unknown.last_day) == (None, None)


def test_names_of_tables_and_columns_are_quoted(application: Application) -> None:
    application.execute('CREATE SCHEMA "my schema"')
    application.execute('CREATE TABLE "my schema"."ta""ble; --" ("us""er" TEXT)')
    application.execute('INSERT INTO "my schema"."ta""ble; --" VALUES (\'alice\')')
    table = table_target(application, schema="my schema", table='ta"ble; --', user_column='us"er')
    assert table.delete("alice", table.find("alice").items) == {'ta"ble; --': 1}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"table": "nothing"}, "there is no table nothing"),
        ({"user_column": "nobody"}, "has no column nobody"),
        ({"action": "set", "set": {"nothing": 1}}, "has no column nothing"),
        ({"first_day_column": "never"}, "has no column never"),
    ],
)
def test_what_does_not_exist_is_an_error_and_not_an_empty_table(
    people: Application, rule: dict[str, object], message: str
) -> None:
    with pytest.raises(TargetError, match=message):
        table_target(people, **rule).find("alice")


def test_the_location_shows_no_password(people: Application) -> None:
    location = table_target(people).location
    assert people.engine.url.password is not None
    assert people.engine.url.password not in location
    assert location.endswith(", people")
    assert location.startswith("postgresql")


GOOD = {"database_url": "postgresql://u:hunter2@localhost/x", "table": "t", "user_column": "u", "action": "delete"}


@pytest.mark.parametrize(
    "rules",
    [
        "{",
        {},
        [1],
        [{**GOOD, "action": "drop"}],
        [{**GOOD, "action": "set"}],
        [{**GOOD, "set": {"a": 1}}],
        [{**GOOD, "tabel": "t"}],
        [GOOD, {key: value for key, value in GOOD.items() if key != "table"}],
    ],
)
def test_a_setting_that_cannot_be_used_is_named_and_no_password_shown(rules: object) -> None:
    with pytest.raises(TargetError, match="GDPR_SQL_TARGETS") as raised:
        rules_from_json(rules if isinstance(rules, str) else json.dumps(rules))
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["mysql+pymysql://u:hunter2@localhost/x", "sqlite:////tmp/x.db", "no url", "oracle://x"]
)
def test_a_database_of_another_kind_is_refused_by_name_when_the_setting_is_read(url: str) -> None:
    with pytest.raises(TargetError, match=r"entry 2 \(crm\): .*database_url") as raised:
        rules_from_json(json.dumps([GOOD, {**GOOD, "name": "crm", "database_url": url}]))
    assert "hunter2" not in str(raised.value)


def test_a_remote_database_is_reached_over_tls_or_not_at_all() -> None:
    (rule,) = rules_from_json(json.dumps([{**GOOD, "database_url": "postgresql://u:p@db.example/x?sslmode=disable"}]))
    with pytest.raises(ConfigurationError, match="unencrypted"):
        TableTarget.from_rule(rule)


def test_timestamps_are_days_in_utc(application: Application) -> None:
    application.execute("CREATE TABLE visits (user_id TEXT, at TIMESTAMPTZ)")
    application.execute("INSERT INTO visits VALUES ('alice', :at)", at=datetime(2026, 3, 5, 23, 59, tzinfo=UTC))
    (item,) = table_target(application, table="visits", first_day_column="at").find("alice").items
    assert item.first_day == date(2026, 3, 5)
