"""A connection string means what libpq says it means, and nothing of it gets into a message."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from compliance_pipelines.postgres.conninfo import Conninfo, parse, resolve
from compliance_pipelines.postgres.engine import read_conninfo
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from tests.unit.postgres.conftest import ServiceFile

SECRET = "s3cr3t"
ODD = "a b@c%d'e\"f\\g/h:i#j?k=l&m+n\u00fc\u4e2d"
"""Every character that one of the two notations gives a meaning, and some that ASCII lacks."""


def parsed(text: str) -> dict[str, str]:
    return dict(parse(text).parameters)


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2", "postgres+x"]
)
def test_a_url_is_parsed_whatever_driver_it_names(scheme: str) -> None:
    assert parsed(f"{scheme}://audit:{SECRET}@db.example:5433/log") == {
        "user": "audit",
        "password": SECRET,
        "host": "db.example",
        "port": "5433",
        "dbname": "log",
    }


def test_keywords_and_values_are_parsed_too() -> None:
    text = r"host=db.example user='sam smith' password='it\'s a \\' dbname = log"
    assert parsed(text) == {"host": "db.example", "user": "sam smith", "password": "it's a \\", "dbname": "log"}


def test_blanks_around_a_string_are_not_part_of_it() -> None:
    expected = {"user": "u", "host": "h", "dbname": "d", "sslmode": "require"}
    assert parsed(" postgresql://u@h/d?sslmode=require\n") == expected
    assert parsed(" user=u host=h dbname=d sslmode=require\n") == expected
    assert parsed("password=a\\ ") == {"password": "a "}


def test_odd_characters_are_what_they_are() -> None:
    quoted = quote(ODD, safe="")
    assert parsed(f"postgresql://{quoted}:{quoted}@h/{quoted}?options={quoted}") == {
        "host": "h",
        **dict.fromkeys(("user", "password", "dbname", "options"), ODD),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:a#b?c@h/d", {"user": "u", "password": "a#b?c", "host": "h", "dbname": "d"}),
        ("postgresql://u:@h/d", {"user": "u", "host": "h", "dbname": "d"}),
        ("host=h password=''", {"host": "h", "password": ""}),
        (
            "postgresql://h/d?options=-c%20a%3Db",
            {"host": "h", "dbname": "d", "options": "-c a=b"},
        ),
        ("postgresql://h/d?application_name=a+b", {"host": "h", "dbname": "d", "application_name": "a+b"}),
        ("postgresql://[2001:db8::1]:5433/d", {"host": "2001:db8::1", "port": "5433", "dbname": "d"}),
        ("postgresql://a:1,b,[::1]:3/d", {"host": "a,b,::1", "port": "1,,3", "dbname": "d"}),
        ("postgresql://%2Frun%2Fa%20b/d", {"host": "/run/a b", "dbname": "d"}),
        ("postgresql:///d?host=a&host=b", {"host": "b", "dbname": "d"}),
        ("host=a host=b", {"host": "b"}),
        ("postgresql://h/d?ssl=true", {"host": "h", "dbname": "d", "sslmode": "require"}),
        ("postgresql://", {}),
    ],
)
def test_libpq_decides_what_a_notation_means(text: str, expected: dict[str, str]) -> None:
    assert parsed(text) == expected == conninfo_to_dict(text)


_WORDS = ["/", "@", "?", "&", "=", "[", "]", ",", ":", "'", "\\", " ", "\t", "%26", "h", "\u00a0", "host=h", "ssl=true"]


@example("postgresql://", ["@", "h", "?", "ssl=true", "@"])
@example("postgresql://", ["[", "?", "]", "?", "ssl=true"])
@given(st.sampled_from(["postgresql://", "host=h ", ""]), st.lists(st.sampled_from([*_WORDS, "sslmode=x", "user"])))
def test_pieces_of_a_string_say_together_what_the_whole_says(start: str, words: list[str]) -> None:
    text = start + "".join(words)
    said = ""
    try:
        parse(text)
    except ConfigurationError as error:
        said = str(error)
    assert "more than one way" not in said


@given(
    st.dictionaries(
        st.sampled_from(["user", "password", "dbname", "passfile", "options", "sslpassword", "service"]),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    )
)
def test_what_is_handed_on_says_the_same(parameters: dict[str, str]) -> None:
    conninfo = Conninfo(parameters)
    assert conninfo_to_dict(conninfo.for_libpq()) == parameters


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        (f"mysql+pymysql://audit:{SECRET}@db/x", "is for mysql: it must read postgresql://"),
        (f"jdbc:postgresql://audit:{SECRET}@db/x", "is for jdbc"),
        (f"{SECRET}://audit@db/x", "is of another kind of database"),
        (f"postgresql://audit:{SECRET} x@db/x", "a space in a URL is written %20"),
        (f"postgresql://audit:{SECRET}@x@db/x", "an @ is written %40"),
        (f"postgresql://audit:1/{SECRET}@db/x", "a / is written %2F"),
        (f"postgresql://audit:{SECRET}/x", "a port is no number"),
        (f"postgresql://audit:{SECRET}%zz@db/x", "percent sign is written %25"),
        (f"postgresql://audit:{SECRET}%00@db/x", "%00 cannot be part of it"),
        (f"postgresql://audit:{SECRET}%ff@db/x", "not in UTF-8"),
        (f"postgresql://audit:{SECRET}\udcff@db/x", "not in UTF-8"),
        (f"postgresql://audit:{SECRET}\0@db/x", "NUL character"),
        (f"postgresql://[{SECRET}/x", "does not end with ]"),
        (f"postgresql://[]:{SECRET}/x", "IPv6 address is empty"),
        (f"postgresql://[::1]{SECRET}/x", "followed by something else"),
        (f"postgresql://h/x?{SECRET}", "a keyword after the . is without = and value"),
        (f"postgresql://h/x?password={SECRET}=b", "a = that is not written %3D"),
        (f"postgresql://h/x?{SECRET}=b", r"a keyword that libpq does not know \(it must read"),
        (f"postgresql://h/x?sslmod={SECRET}", r"does not know; is it sslmode\?"),
        (f"host=h password=a {SECRET}", "a value with a space in it stands in 'single quotes'"),
        (f"host=h password='a {SECRET}", "a value in quotes does not end"),
        (f"host=h password=a {SECRET}=b", "a keyword that libpq does not know"),
        (f"host=h port={SECRET}", "a port is no number"),
        ("host=h port=65536", "a port is no number"),
        ("host=h port=0", "a port is no number"),
        (f"host=h connect_timeout={SECRET}", "connect_timeout is no whole number"),
        (f"host=@{SECRET}", "no sockets of the abstract namespace"),
        ("host=a,b hostaddr=127.0.0.1", "lists of different lengths"),
        ("host=a,b port=1,2,3", "as many ports as hosts"),
        (SECRET, "without = and value"),
        (f"x:{SECRET}@", "without = and value"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_of_it_is_said(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as refused:
        parse(text)
    assert SECRET not in str(refused.value)
    assert (refused.value.__cause__, refused.value.__context__) == (None, None)


BROKEN = "%@/:?#[]=& '\"\\\0\udcff"


@example(before="postgresql://u:", inside="/", after="@h/d")
@example(before="postgresql://u:p@", inside="@", after="/d")
@example(before="host=h password=", inside=" ", after=" b=")
@given(
    before=st.sampled_from(
        [
            *("", "postgresql://", "postgresql://u:", "postgresql://u:p@", "postgresql://[", "postgres+psycopg://u:"),
            *("postgresql://h/d?", "postgresql://h/d?password=", "host=h password=", "host=h password='", "service="),
        ]
    ),
    inside=st.text(st.sampled_from(BROKEN), max_size=4),
    after=st.one_of(
        st.text(st.sampled_from(BROKEN + "ab1"), max_size=12),
        st.sampled_from(["@h/d", "@h:1/d", "/d", "]/d", "@h/d?sslmode=disable", " port=x", "' user=a"]),
    ),
)
def test_no_message_shows_a_piece_of_a_password(before: str, inside: str, after: str) -> None:
    text = f"{before}{SECRET}{inside}{SECRET}{after}"
    try:
        conninfo = read_conninfo(text)
    except ConfigurationError as error:
        refused: Exception = error
    else:
        # What is said of a connection that fails has its host, port, login and database in it.
        assume((before.endswith("://u:") and "@h" in after) or before.startswith("host=h password="))
        said = {conninfo.parameters.get(name, "") for name in ("host", "port", "dbname")}
        assert not [value for value in said if SECRET in value]
        assert SECRET not in conninfo.place
        return
    assert SECRET not in str(refused)
    assert (refused.__cause__, refused.__context__) == (None, None)


@given(st.text(), st.sampled_from(["password", "sslpassword", "oauth_client_secret", "scram_client_key", "options"]))
def test_a_secret_is_not_shown_when_the_value_is(secret: str, keyword: str) -> None:
    conninfo = Conninfo({"host": "h", "user": "u", keyword: f"{SECRET}{secret}"})
    held = conninfo.parameters
    pieces = [conninfo, held, held.items(), held.values(), vars(conninfo), [conninfo], {"of": held}]
    for shown in (*map(repr, pieces), *map(str, pieces), f"{conninfo}", f"{held}", conninfo.place):
        assert SECRET not in shown
    assert "host='h'" in repr(conninfo)
    assert held[keyword] == f"{SECRET}{secret}"


def test_a_secret_that_is_given_twice_is_not_shown_either() -> None:
    conninfo = parse(f"host=h password={SECRET}1 password={SECRET}2")
    assert conninfo.values_of("password") == (f"{SECRET}1", f"{SECRET}2")
    for shown in (repr(conninfo), repr(vars(conninfo)), repr(conninfo.repeated), repr(conninfo.repeated.items())):
        assert SECRET not in shown


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("postgresql://u:p@127.0.0.1:5433/log", "postgresql+psycopg://127.0.0.1:5433/log"),
        ("postgresql://u:p@h/log?sslmode=require", "postgresql+psycopg://h/log"),
        ("postgresql://[::1]:5433/log", "postgresql+psycopg://[::1]:5433/log"),
        ("host=a,b port=1,2 dbname='a b'", "postgresql+psycopg://a:1,b:2/a b"),
        ("host=a,b port=1 dbname=x", "postgresql+psycopg://a:1,b:1/x"),
        ("host=/run/pg dbname=x", "postgresql+psycopg://%2Frun%2Fpg/x"),
        ("dbname=x", "postgresql+psycopg:///x"),
    ],
)
def test_the_place_is_said_without_a_login(text: str, place: str) -> None:
    assert parse(text).place == place


def test_a_service_fills_what_is_not_given(service_file: ServiceFile) -> None:
    service_file(
        "host=db.example\nport=7777\nuser=sam smith\npassword=a b\nsslmode=verify-full\nsslrootcert=/a b/ca.pem\n"
        "sslnegotiation=direct\nchannel_binding=require\ntarget_session_attrs=read-write"
    )
    expected = {
        "host": "db.example",
        "port": "7777",
        "user": "sam smith",
        "password": "a b",
        "sslmode": "verify-full",
        "sslrootcert": "/a b/ca.pem",
        "sslnegotiation": "direct",
        "channel_binding": "require",
        "target_session_attrs": "read-write",
    }
    assert resolve(parse("service=audit")).parameters == expected
    assert resolve(parse("postgresql://?service=audit&port=1")).parameters == {**expected, "port": "1"}
    # What is given and is also libpq's default is said: the service must not come back in.
    assert resolve(parse("postgresql://:5432/?service=audit")).parameters["port"] == "5432"


def test_the_environment_fills_what_neither_says(service_file: ServiceFile, monkeypatch: pytest.MonkeyPatch) -> None:
    service_file("user=of_service")
    monkeypatch.setenv("PGSERVICE", "audit")
    monkeypatch.setenv("PGUSER", "of_environment")
    monkeypatch.setenv("PGPORT", "6000")
    monkeypatch.setenv("PGOPTIONS", "-c a=b")
    found = resolve(parse("host=h")).parameters
    assert (found["user"], found["port"], found["options"]) == ("of_service", "6000", "-c a=b")
    assert resolve(parse("host=h port=5432")).parameters["port"] == "5432"
    # libpq looks into the file in any case now, and must look for the same service.
    assert found["service"] == "audit"


@pytest.mark.parametrize(
    ("lines", "text", "reason"),
    [
        ("host=h", "service=other", "is in no file that libpq reads: PGSERVICEFILE"),
        (f"password={SECRET}\nnothing={SECRET}", "service=audit", "cannot read the service file in line 3"),
        (f"port={SECRET}", "service=audit", "a port is no number"),
        (f"host=a@{SECRET}", "service=audit", "an @ is written %40"),
    ],
)
def test_a_service_that_cannot_be_used_is_refused(
    service_file: ServiceFile, lines: str, text: str, reason: str
) -> None:
    service_file(lines)
    with pytest.raises(ConfigurationError, match=reason) as refused:
        resolve(parse(text))
    assert SECRET not in str(refused.value)


def test_a_service_file_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSERVICEFILE", "/nowhere/services.conf")
    with pytest.raises(ConfigurationError, match="cannot read the service file"):
        resolve(parse("service=audit"))


def test_asking_libpq_connects_to_nobody() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0)
        host, port = listening.getsockname()
        resolve(parse(f"host={host} hostaddr={host} port={port} password=x"))
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_what_is_asked_is_what_libpq_connects_with(service_file: ServiceFile) -> None:
    """The refused connection shows the same values as one that libpq really tries."""
    service_file("host=127.0.0.1\nport=1\nuser=sam smith\nconnect_timeout=3\nsslmode=disable")
    with pytest.raises(psycopg.OperationalError) as refused:
        psycopg.connect("service=audit")
    assert refused.value.pgconn is not None
    tried = {option.keyword.decode(): (option.val or b"").decode() for option in refused.value.pgconn.info}
    asked = resolve(parse("service=audit")).parameters
    assert {name: tried[name] for name in asked} == asked
    assert re.search("port 1 ", str(refused.value))
