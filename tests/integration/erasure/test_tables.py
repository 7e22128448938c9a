"""Rows of an application's tables are deleted or set to a value, and what cannot be done is said."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.table_rules import rules_from_json
from compliance_pipelines.erasure.tables import TableTarget
from compliance_pipelines.erasure.targets import RequestFacts
from compliance_pipelines.postgres.engine import conninfo_of
from compliance_pipelines.settings import ConfigurationError
from tests.integration.erasure.application import table_target

if TYPE_CHECKING:
    from compliance_pipelines.settings import Settings
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


# What stands for the request


def request(number: int, *user_ids: str, earlier: tuple[int, ...] = ()) -> RequestFacts:
    return RequestFacts(number, {each: f"hmac-sha256:{each}" for each in user_ids}, earlier)


@pytest.fixture
def accounts(application: Application) -> Application:
    application.execute("CREATE TABLE people (user_id TEXT, email TEXT UNIQUE, extra JSONB, number INTEGER)")
    for user_id in ("alice", "bob"):
        application.execute(
            "INSERT INTO people VALUES (:user, :mail, '{}', 1)", user=user_id, mail=f"{user_id}@example.com"
        )
    return application


def test_a_unique_column_can_be_set_for_two_people(accounts: Application) -> None:
    table = table_target(accounts, action="set", set={"email": "erased-{request}@invalid", "number": "{request}"})
    for number, user_id in ((7, "alice"), (8, "bob")):
        of_request = table.for_request(request(number, user_id))
        assert of_request.delete(user_id, of_request.find(user_id).items) == {"people": 1}
        assert of_request.rescan(user_id).items == ()
    assert accounts.rows("SELECT user_id, email, number FROM people ORDER BY 1") == [
        ("alice", "erased-7@invalid", 7),
        ("bob", "erased-8@invalid", 8),
    ]


def test_a_pseudonym_is_that_of_the_id_of_the_row(accounts: Application) -> None:
    table = table_target(accounts, action="set", set={"email": "{pseudonym}"}).for_request(request(7, "alice", "bob"))
    for user_id in ("alice", "bob"):
        table.delete(user_id, table.find(user_id).items)
    assert accounts.rows("SELECT email FROM people ORDER BY 1") == [("hmac-sha256:alice",), ("hmac-sha256:bob",)]


def test_rows_that_an_earlier_attempt_or_request_set_count_as_done(accounts: Application) -> None:
    table = table_target(accounts, action="set", set={"email": "{request}", "extra": {"by": ["{request}"]}})
    first = table.for_request(request(7, "alice"))
    first.delete("alice", first.find("alice").items)
    assert accounts.rows("SELECT extra FROM people WHERE user_id = 'alice'") == [({"by": ["7"]},)]
    assert table.for_request(request(7, "alice")).find("alice").items == ()
    assert table.for_request(request(9, "alice", earlier=(7,))).find("alice").items == ()
    (item,) = table.for_request(request(9, "alice")).find("alice").items
    assert item.count == 1


def test_other_braces_are_what_they_are_and_double_ones_are_written(accounts: Application) -> None:
    values = {"email": "{{request}} {{pseudonym}} {user} {} {{x}} {request", "extra": {"{request}": "{request}"}}
    table = table_target(accounts, action="set", set=values).for_request(request(7, "alice"))
    table.delete("alice", table.find("alice").items)
    assert accounts.rows("SELECT email, extra FROM people WHERE user_id = 'alice'") == [
        ("{request} {pseudonym} {user} {} {{x}} {request", {"{request}": "7"})
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [("erased", "people_email_key lets no two rows"), ("{request}", "people_email_key lets no two rows")],
)
def test_a_unique_constraint_is_named_where_it_refuses_and_nothing_is_set(
    accounts: Application, value: str, message: str
) -> None:
    accounts.execute("UPDATE people SET user_id = 'alice'")
    table = table_target(accounts, action="set", set={"email": value}).for_request(request(7, "alice"))
    with pytest.raises(TargetError, match=message) as raised:
        table.delete("alice", table.find("alice").items)
    assert "example.com" not in str(raised.value)
    assert accounts.rows("SELECT count(*) FROM people WHERE email LIKE '%@example.com'") == [(2,)]


def test_any_other_constraint_is_named_without_the_values_of_the_row(accounts: Application) -> None:
    accounts.execute("ALTER TABLE people ADD CONSTRAINT has_at CHECK (email LIKE '%@%')")
    table = table_target(accounts, action="set", set={"email": "erased"})
    with pytest.raises(TargetError, match="has_at does not permit it") as raised:
        table.delete("alice", table.find("alice").items)
    assert "alice@" not in str(raised.value)


@pytest.mark.parametrize("value", ["{request}", "{pseudonym}", ["{request}"]])
def test_without_a_request_there_is_nothing_to_put_in(accounts: Application, value: object) -> None:
    with pytest.raises(TargetError, match=r"there is no (request|pseudonym)"):
        table_target(accounts, action="set", set={"extra": value}).find("alice")


def test_a_pseudonym_without_a_key_is_refused_before_anything_is_asked(settings: Settings) -> None:
    rule = {**GOOD, "name": "crm", "action": "set", "set": {"a": ["{pseudonym}"]}}
    lacking = settings.model_copy(update={"gdpr_sql_targets": SecretStr(json.dumps([rule]))})
    with pytest.raises(TargetError, match=r"crm sets \{pseudonym\}, which needs a key"):
        configured_targets(lacking)


@pytest.mark.parametrize(
    ("values", "ok"),
    [
        ({"email": "erased"}, False),
        ({"email": "{{request}}"}, False),
        ({"email": "erased", "number": 0}, False),
        ({"email": "{request}"}, True),
        ({"email": "x{pseudonym}"}, True),
        ({"email": None}, True),
        ({"number": 0}, True),
    ],
)
def test_a_value_that_one_row_alone_can_have_is_seen_beforehand(
    accounts: Application, values: dict[str, object], ok: bool
) -> None:
    found = [each for each in table_target(accounts, action="set", set=values).check() if each.name == "unique values"]
    assert all(each.ok == ok for each in found)
    assert bool(found) == ("email" in values)
    assert ok or "people_email_key" in found[0].message


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
    assert conninfo_of(people.engine).parameters["password"] not in location
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
