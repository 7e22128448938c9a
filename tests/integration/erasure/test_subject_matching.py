"""A row is the person's where its column is written as the id, byte for byte, whatever the database takes for equal."""

from __future__ import annotations

import json
import uuid
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
import sqlalchemy
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.subject_matching import columns_of, match, relation_of
from compliance_pipelines.postgres.engine import create_engine
from tests.integration.erasure.application import table_target
from tests.support.logins import url_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.erasure.application import Application

_UUID: Final = "018f6b1e-0000-7000-8000-00000000000a"


target = partial(table_target, user_column="person")


def make_people(application: Application, column_type: str, values: Sequence[str]) -> None:
    application.execute(f"CREATE TABLE people (person {column_type}, place INTEGER GENERATED ALWAYS AS IDENTITY)")
    for value in values:
        application.execute(f"INSERT INTO people (person) VALUES ({value})")


def erase(application: Application, subject: str) -> list[int]:
    """Erase a person, and return the places of the rows that went."""
    people = target(application)
    before = {place for (place,) in application.rows("SELECT place FROM people")}
    found = people.find(subject)
    deleted = people.delete(subject, found.items)
    gone = before - {place for (place,) in application.rows("SELECT place FROM people")}
    assert sum(deleted.values()) == len(gone) == sum(item.count for item in found.items)
    assert people.rescan(subject).items == ()
    return sorted(gone)


@pytest.mark.parametrize(
    ("column_type", "values", "subject"),
    [
        ("varchar(8)", ["'01234567'"], "0123456789"),
        ("char(8)", ["'01234567'"], "0123456789"),
        ("name", ["repeat('a', 63)"], "a" * 64),
        ('"char"', ["'a'"], "alice"),
        ("bit(3)", ["B'101'"], "1011"),
        ("varbit", ["B'101'"], "B101"),
        ("integer", ["7"], "007"),
        ("integer", ["7"], " 7"),
        ("bigint", ["7"], "+7"),
        ("bigint", ["16"], "0x10"),
        ("bigint", ["1000"], "1_000"),
        ("numeric", ["7"], "7.0"),
        ("numeric(10, 2)", ["7"], "7"),
        ("numeric(10, 2)", ["1.00"], "1.001"),
        ("real", ["0.1"], "0.10"),
        ("double precision", ["1"], "1e0"),
        ("boolean", ["true"], "true"),
        ("boolean", ["true"], "yes"),
        ("uuid", [f"'{_UUID}'"], _UUID.upper()),
        ("uuid", [f"'{_UUID}'"], _UUID.replace("-", "")),
        ("date", ["'2026-03-01'"], "March 1, 2026"),
        ("timestamptz", ["'2026-03-01 00:00:00+00'"], "2026-03-01"),
        ("inet", ["'10.0.0.1'"], "10.0.0.1/32"),
        ("macaddr", ["'08:00:2b:01:02:03'"], "08002b:010203"),
        ("bytea", ["'alice'"], "alice"),
        ("jsonb", ["'7'"], "7.0e0"),
        ("jsonb", ["'{\"a\": 1}'"], '{"a":1}'),
        ("text[]", ["'{alice}'"], '{"alice"}'),
        ("citext", ["'Alice'"], "alice"),
        ("small", ["7"], "07"),
    ],
)
def test_another_spelling_is_another_person(
    application: Application, column_type: str, values: list[str], subject: str
) -> None:
    application.execute("CREATE EXTENSION IF NOT EXISTS citext; CREATE DOMAIN small AS smallint CHECK (VALUE < 100)")
    make_people(application, column_type, values)
    assert erase(application, subject) == []


@pytest.mark.parametrize(
    ("column_type", "values", "subject", "gone"),
    [
        ("text", ["'alice'", "'Alice'", "'alice '", "NULL"], "alice", [1]),
        ("text", ["'alice'", "'alice '"], "alice ", [2]),
        ("varchar(8)", ["'alice'"], "alice", [1]),
        ("char(8)", ["'alice'", "'bob'"], "alice", [1]),
        ("name", ["'alice'"], "alice", [1]),
        ("integer", ["7", "70", "-7"], "7", [1]),
        ("bigint", ["-7", "7"], "-7", [1]),
        ("numeric", ["7", "7.0", "7.00"], "7.0", [2]),
        ("numeric(10, 2)", ["7"], "7.00", [1]),
        ("double precision", ["0.1", "0.2"], "0.1", [1]),
        ("uuid", [f"'{_UUID}'"], _UUID, [1]),
        ("date", ["'2026-03-01'"], "2026-03-01", [1]),
        ("inet", ["'10.0.0.1'", "'10.0.0.2'"], "10.0.0.1", [1]),
        ("bytea", ["'\\x616c'"], "\\x616c", [1]),
        ("jsonb", ["'\"alice\"'", "'7'"], '"alice"', [1]),
        ("json", ["'\"alice\"'", "'7'"], '"alice"', [1]),
        ("point", ["'(1,2)'", "'(1,3)'"], "(1,2)", [1]),
        ("regclass", ["'pg_class'", "'pg_type'"], "pg_class", [1]),
        ("text[]", ["'{alice}'", "'{alice,bob}'"], "{alice}", [1]),
        ("citext", ["'Alice'", "'alice'"], "alice", [2]),
        ("mood", ["'sad'", "'glad'"], "glad", [2]),
        ("short", ["'alice'", "'bob'"], "alice", [1]),
        ("shorter", ["'al'", "'bo'"], "al", [1]),
    ],
)
def test_the_persons_rows_go_whatever_type_the_column_has(
    application: Application, column_type: str, values: list[str], subject: str, gone: list[int]
) -> None:
    application.execute("CREATE EXTENSION IF NOT EXISTS citext; CREATE TYPE mood AS ENUM ('sad', 'glad')")
    application.execute("CREATE DOMAIN short AS varchar(5); CREATE DOMAIN shorter AS short CHECK (length(VALUE) = 2)")
    make_people(application, column_type, values)
    assert erase(application, subject) == gone


@pytest.mark.parametrize(
    ("column_type", "subject", "note"),
    [
        ("integer", "user:alice", "no integer of the column person can be this id"),
        ("integer", "99999999999", "no integer of the column person can be this id"),
        ("integer", "7\0", "no integer of the column person can be this id"),
        ("uuid", "user:alice", "no uuid of the column person can be this id"),
        ("timestamp with time zone", "user:alice", "no timestamp with time zone of the column person can be this id"),
        ("mood", "user:alice", "no mood of the column person can be this id"),
        ("text", "\0", "no text of the column person can be this id"),
        ("integer", "007", "no integer of the column person is written as this id, but as '7'"),
    ],
)
def test_where_the_type_excludes_the_person_nothing_is_there_and_the_record_says_why(
    application: Application, column_type: str, subject: str, note: str
) -> None:
    application.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    make_people(application, column_type, ["NULL"])
    found = target(application).find(subject)
    assert (found.items, found.notes) == ((), (note,))


def test_rows_that_the_database_takes_for_the_persons_are_reported_and_stay(application: Application) -> None:
    make_people(application, "uuid", [f"'{_UUID}'"] * 2)
    (reported,) = target(application).find(_UUID.upper()).reported
    assert (reported.reference, reported.count, reported.is_theirs) == ("2 rows of people", 2, False)
    assert "another spelling" in reported.why


@pytest.mark.parametrize(
    ("column_type", "value", "subject"),
    [
        ("text", "'user:' || n", "user:77"),
        ("varchar(20)", "'user:' || n", "user:77"),
        ("char(20)", "'user:' || n", "user:77"),
        ("bigint", "n", "77"),
        ("uuid", "md5(n::text)::uuid", str(uuid.UUID("28dd2c7955ce926456240b2ff0100bde"))),
    ],
)
def test_an_index_of_the_column_is_used(application: Application, column_type: str, value: str, subject: str) -> None:
    application.execute(f"CREATE TABLE people (person {column_type}, filler text DEFAULT repeat('x', 100))")
    application.execute(f"INSERT INTO people SELECT {value} FROM generate_series(1, 20000) AS n")
    application.execute("CREATE INDEX of_person ON people (person)")
    application.execute("ANALYZE people")
    with application.engine.connect() as connection:
        theirs = match(
            connection, columns_of(connection, relation_of(connection, "people", None))["person"], subject
        ).theirs
        counted = select(func.count()).select_from(sqlalchemy.table("people")).where(theirs)
        statement = counted.compile(connection.engine, compile_kwargs={"literal_binds": True})
        plan = "\n".join(connection.execute(text("EXPLAIN " + str(statement).replace(":", "\\:"))).scalars())
        assert connection.execute(counted).scalar_one() == 1
    assert "of_person" in plan


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_in_another_encoding(application: Application, encoding: str) -> None:
    name = f"in_{encoding.lower()}_{uuid.uuid4().hex[:8]}"
    with application.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"))
    url = url_of(application.engine, dbname=name)
    engine = create_engine(url, left_alone=("search_path",))
    try:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE people (person text)"))
            connection.execute(text("INSERT INTO people VALUES (:person)"), {"person": "j\u00fcrgen"})
            connection.execute(text("INSERT INTO people VALUES ('jurgen')"))
        people = target(application, database_url=url)
        assert people.find("\u4e2d").items == ()
        (item,) = people.find("j\u00fcrgen").items
        assert people.delete("j\u00fcrgen", [item]) == {"people": 1}
        with engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM people")).scalar_one() == 1
    finally:
        engine.dispose()


def test_what_may_leave_rows_out_is_refused(application: Application) -> None:
    make_people(application, "text", ["'alice'"])
    application.execute("CREATE VIEW some_people AS SELECT * FROM people WHERE place > 5")
    application.execute("CREATE MATERIALIZED VIEW old_people AS SELECT * FROM people")
    for name in ("some_people", "old_people"):
        with pytest.raises(TargetError, match=f"{name} is a .*view, which need not show every row"):
            target(application, table=name).find("alice")


def test_rows_that_row_security_hides_are_an_error_and_not_absent(application: Application) -> None:
    make_people(application, "text", ["'alice'"])
    login = f"eraser_{uuid.uuid4().hex[:8]}"
    application.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'x'; GRANT SELECT, DELETE ON people TO {login}")
    application.execute("ALTER TABLE people ENABLE ROW LEVEL SECURITY")
    url = url_of(application.engine, user=login, password="x")
    with pytest.raises(DBAPIError, match="row-level security"):
        target(application, database_url=url).find("alice")


def test_values_that_the_column_rounds_or_compares_otherwise_are_set_once(application: Application) -> None:
    application.execute(
        "CREATE TABLE people (person text, price numeric(10, 2), seen timestamptz(0), code char(5), facts json,"
        " labels text[], count integer)"
    )
    application.execute("INSERT INTO people (person, facts) VALUES ('alice', '{\"b\": 2}')")
    values = {
        "price": 0.001,
        "seen": "2000-01-01T00:00:00.4Z",
        "code": "x",
        "facts": {"a": [1, None]},
        "labels": ["gone"],
        "count": 0,
    }
    people = target(application, action="set", set=values)
    assert people.delete("alice", people.find("alice").items) == {"people": 1}
    assert people.rescan("alice").items == ()
    (row,) = application.rows("SELECT price, code, facts::text, labels, count FROM people")
    assert (str(row[0]), row[1], json.loads(row[2]), row[3], row[4]) == ("0.00", "x    ", {"a": [1, None]}, ["gone"], 0)


def test_a_value_that_does_not_fit_is_an_error_and_not_cut(application: Application) -> None:
    application.execute("CREATE TABLE people (person text, label varchar(3)); INSERT INTO people VALUES ('alice', 'x')")
    people = target(application, action="set", set={"label": "erased"})
    with pytest.raises(DBAPIError, match="too long"):
        people.delete("alice", people.find("alice").items)
