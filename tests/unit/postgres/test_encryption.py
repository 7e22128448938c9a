"""Connections are encrypted wherever they leave this machine, as strictly as anybody asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from compliance_pipelines.postgres.conninfo import parse
from compliance_pipelines.postgres.encryption import is_local, with_encryption
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.unit.postgres.conftest import ServiceFile

REMOTE = "postgresql://audit:secret@db.example:5432/audit"
MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

LOCAL_HOSTS = [None, "", "localhost", "127.0.0.1", "127.9.9.9", "::1", "/run/postgresql", "@abstract"]
REMOTE_HOSTS = [
    "db.example",
    "10.0.0.1",
    "192.168.1.5",
    "169.254.1.1",
    "0.0.0.0",  # noqa: S104 - an address to connect to
    "::",
    "2001:db8::1",
    "localhost.example",
]


def encrypted(url: str, tls_min_version: str = "TLSv1.3") -> Mapping[str, str]:
    return with_encryption(parse(url), tls_min_version).parameters


def with_mode(url: str, mode: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}sslmode={mode}"


@pytest.mark.parametrize("host", LOCAL_HOSTS)
def test_this_machine_is_local(host: str | None) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", REMOTE_HOSTS)
def test_any_other_host_is_remote(host: str) -> None:
    assert not is_local(host)


@example(host="127.0.0.1.example")
@example(host="localhost ")
@given(host=st.text(min_size=1))
def test_a_name_is_local_only_if_it_certainly_is(host: str) -> None:
    certain = host == "localhost" or host[0] in "/@" or host.startswith("127.") or ":" in host
    assert not is_local(host) or certain


def test_a_remote_host_must_speak_tls_of_version_1_3() -> None:
    told = encrypted(REMOTE)
    assert (told["sslmode"], told["ssl_min_protocol_version"]) == ("require", "TLSv1.3")


def test_an_older_version_is_accepted_only_if_configured() -> None:
    assert encrypted(REMOTE, "TLSv1.2")["ssl_min_protocol_version"] == "TLSv1.2"
    assert encrypted(f"{REMOTE}?ssl_min_protocol_version=TLSv1.2")["ssl_min_protocol_version"] == "TLSv1.3"
    assert encrypted(f"{REMOTE}?ssl_min_protocol_version=TLSv1.3", "TLSv1.2")["ssl_min_protocol_version"] == "TLSv1.3"


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_mode_that_demands_tls_is_kept(mode: str) -> None:
    told = encrypted(f"{REMOTE}?sslmode={mode}&sslrootcert=/etc/ca.pem")
    assert (told["sslmode"], told["sslrootcert"], told["ssl_min_protocol_version"]) == (mode, "/etc/ca.pem", "TLSv1.3")


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_a_mode_that_may_do_without_tls_is_refused(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    with pytest.raises(
        ConfigurationError, match=rf"sslmode={mode} .* unencrypted to db\.example: use sslmode=verify-full"
    ):
        encrypted(f"{REMOTE}?sslmode={mode}")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://audit@127.0.0.1/audit",
        "postgresql://audit@localhost:5432/audit",
        "postgresql://audit@[::1]:5432/audit",
        "postgresql://audit@/audit?host=/run/postgresql",
        "postgresql://audit@/audit",
    ],
)
def test_a_local_host_may_do_without_tls(url: str) -> None:
    assert "sslmode" not in encrypted(url)
    for mode in MODES:
        assert encrypted(with_mode(url, mode))["sslmode"] == mode


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://audit@localhost,db.example/audit",
        "postgresql://audit@localhost:5432,db.example:5432/audit",
        "postgresql://audit@/audit?host=localhost,db.example",
        "postgresql://audit@/audit?host=db.example",
        "postgresql://audit@localhost/audit?host=db.example",
        "postgresql://audit@[2001:db8::1]:5432/audit",
        "postgresql://audit@localhost/audit?hostaddr=10.0.0.1",
        "postgresql://audit@db.example/audit?hostaddr=127.0.0.1",
        "postgresql://audit@a,b/audit?hostaddr=127.0.0.1,",
    ],
)
def test_one_remote_host_among_several_is_enough_to_demand_tls(url: str) -> None:
    assert encrypted(url)["sslmode"] == "require"
    with pytest.raises(ConfigurationError, match="sslmode=disable"):
        encrypted(with_mode(url, "disable"))


@pytest.mark.parametrize("variables", [{"PGHOSTADDR": "10.0.0.1"}, {"PGSERVICE": "audit"}])
def test_where_the_connection_leads_counts_and_not_the_name_in_the_url(
    monkeypatch: pytest.MonkeyPatch, service_file: ServiceFile, variables: dict[str, str]
) -> None:
    service_file("hostaddr=10.0.0.1")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert encrypted("postgresql://audit@localhost/audit")["sslmode"] == "require"


def test_the_environment_names_the_host_where_the_url_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example")
    assert encrypted("postgresql:///audit")["sslmode"] == "require"
    assert "sslmode" not in encrypted("postgresql://localhost/audit")


@pytest.mark.parametrize("host", ["db.example", "localhost"])
@given(
    of_url=st.sampled_from([None, *MODES]),
    of_service=st.sampled_from([None, *MODES]),
    of_environment=st.sampled_from([None, *MODES]),
)
def test_the_strictest_mode_wins_wherever_it_is_given(
    tmp_path_factory: pytest.TempPathFactory,
    host: str,
    of_url: str | None,
    of_service: str | None,
    of_environment: str | None,
) -> None:
    file = tmp_path_factory.getbasetemp() / "services.conf"
    file.write_text("[audit]\nuser=sam\n" + (f"sslmode={of_service}\n" if of_service else ""))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PGSERVICEFILE", str(file))
        if of_environment is not None:
            environment.setenv("PGSSLMODE", of_environment)
        url = f"postgresql://{host}/audit?service=audit" + (f"&sslmode={of_url}" if of_url else "")
        remote = host != "localhost"
        if remote and of_url in MODES[:3]:
            with pytest.raises(ConfigurationError, match="unencrypted"):
                encrypted(url)
            return
        least = ["require"] if remote else []
        given_modes = [mode for mode in (of_url, of_service, of_environment) if mode is not None]
        expected = max([*given_modes, *least], key=MODES.index, default="prefer")
        found = encrypted(url).get("sslmode", "prefer")
        # Those three are one to a host that is local: they ask for nothing.
        assert found == expected or {found, expected} <= set(MODES[:3])


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://{host}/d?sslmode=verify-full&sslmode=require",
        "postgresql://{host}/d?sslmode=require&sslmode=verify-full",
        "postgresql://{host}/d?sslmode=verify-full&ssl=true",
        "postgresql://{host}/d?sslmode=verify-full&requiressl=0",
        "postgresql://{host}/d?sslm%6Fde=verify-full&port=1&sslmode=allow",
        "postgresql+psycopg://u:p%26sslmode=a?b&c@{host}:1/d?sslmode=verify-full&sslmode=require",
        "postgresql://u:p?sslmode=x&sslmode=y@{host}/d?sslmode=verify-full&sslmode=require&",
        "host={host} sslmode=verify-full requiressl=1",
        "host={host} sslmode=verify-full requiressl=0",
        "host={host} sslmode = verify-full sslmode=require",
        r"host={host} sslmode='verify-full'sslmode=\require password='a b\' sslmode=disable'",
        "host={host}\tsslmode=\nverify-full\vsslmode= disable\f",
    ],
)
@pytest.mark.parametrize("host", ["db.example", "localhost"])
def test_the_strictest_mode_wins_within_one_string(host: str, text: str) -> None:
    assert encrypted(text.format(host=host))["sslmode"] == "verify-full"


@given(modes=st.lists(st.sampled_from(MODES), min_size=1, max_size=5), is_url=st.booleans())
def test_the_strictest_of_however_many(modes: list[str], *, is_url: bool) -> None:
    words = [f"sslmode={mode}" for mode in modes]
    text = f"postgresql://db.example/d?{'&'.join(words)}" if is_url else f"host=db.example {' '.join(words)}"
    strictest = max(modes, key=MODES.index)
    if strictest in MODES[:3]:
        with pytest.raises(ConfigurationError, match=f"sslmode={strictest} .* unencrypted"):
            encrypted(text)
    else:
        assert encrypted(text)["sslmode"] == strictest


def test_an_unknown_mode_is_refused_wherever_it_stands() -> None:
    with pytest.raises(ConfigurationError, match="sslmode must be one of"):
        encrypted(f"{REMOTE}?sslmode=verify&sslmode=verify-full")


STRICTNESS = {
    "ssl_min_protocol_version": ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"],
    "channel_binding": ["disable", "prefer", "require"],
}
DEFAULTS = {"ssl_min_protocol_version": "TLSv1.2", "channel_binding": "prefer"}
VARIABLES = {"ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION", "channel_binding": "PGCHANNELBINDING"}


@pytest.mark.parametrize("host", ["db.example", "localhost"])
@pytest.mark.parametrize("keyword", STRICTNESS)
@given(data=st.data())
def test_the_strictest_of_every_other_demand_on_tls_wins_wherever_it_is_given(
    tmp_path_factory: pytest.TempPathFactory, host: str, keyword: str, data: st.DataObject
) -> None:
    order = STRICTNESS[keyword]
    of_url = data.draw(st.lists(st.sampled_from(order), max_size=2), "string")
    of_service = data.draw(st.lists(st.sampled_from(order), max_size=1), "service")
    of_environment = data.draw(st.lists(st.sampled_from(order), max_size=1), "environment")
    file = tmp_path_factory.getbasetemp() / "services.conf"
    file.write_text("[audit]\nuser=sam\n" + "".join(f"{keyword}={value}\n" for value in of_service))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PGSERVICEFILE", str(file))
        for value in of_environment:
            environment.setenv(VARIABLES[keyword], value)
        url = f"postgresql://{host}/audit?service=audit" + "".join(f"&{keyword}={value}" for value in of_url)
        found = encrypted(url, "TLSv1.2").get(keyword, DEFAULTS[keyword])
    least = "TLSv1.2" if keyword == "ssl_min_protocol_version" and host != "localhost" else order[0]
    expected = max([*of_url, *of_service, *of_environment, least], key=order.index)
    # A service's word that is also libpq's default asks for nothing.
    assert found == expected or {found, expected} <= set(order[: order.index(DEFAULTS[keyword]) + 1])


@pytest.mark.parametrize("value", ["", "Require", "secret"])
def test_an_unknown_channel_binding_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"channel_binding must be one of disable, prefer, require$"):
        encrypted(f"{REMOTE}?channel_binding={value}")
    monkeypatch.setenv("PGCHANNELBINDING", value)
    with pytest.raises(ConfigurationError, match="channel_binding must be one of"):
        encrypted(REMOTE)


def test_what_a_service_says_besides_the_mode_stays(service_file: ServiceFile) -> None:
    service_file(
        "host=db.example\nsslmode=verify-full\nsslrootcert=/a b/ca.pem\nsslnegotiation=direct\nchannel_binding=require"
    )
    told = encrypted("postgresql://?service=audit")
    assert {name: told[name] for name in ("sslmode", "sslrootcert", "sslnegotiation", "channel_binding")} == {
        "sslmode": "verify-full",
        "sslrootcert": "/a b/ca.pem",
        "sslnegotiation": "direct",
        "channel_binding": "require",
    }


@pytest.mark.parametrize("given_mode", ["", "&sslmode=require"])
def test_the_systems_authorities_check_names(given_mode: str) -> None:
    assert encrypted(f"{REMOTE}?sslrootcert=system{given_mode}")["sslmode"] == "verify-full"


def test_an_old_variable_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGREQUIRESSL", "1")
    assert encrypted("postgresql://localhost/audit")["sslmode"] == "require"


@pytest.mark.parametrize("value", ["", "Require", "verify", "secret"])
def test_an_unknown_mode_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"sslmode must be one of disable, .*, verify-full$"):
        encrypted(f"{REMOTE}?sslmode={value}")
    with pytest.raises(ConfigurationError, match="ssl_min_protocol_version must be one of TLSv1, "):
        encrypted(f"{REMOTE}?ssl_min_protocol_version={value or 'x'}")
    monkeypatch.setenv("PGSSLMODE", value)
    with pytest.raises(ConfigurationError, match="sslmode must be one of"):
        encrypted(f"{REMOTE}?sslmode=require")


def test_no_other_encryption_takes_the_place_of_tls() -> None:
    assert encrypted(f"{REMOTE}?gssencmode=prefer")["gssencmode"] == "disable"
