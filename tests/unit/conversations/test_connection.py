"""Which URLs are accepted, and what becomes of them."""

from __future__ import annotations

import ssl

import pytest
from redis import Redis
from redis.sentinel import SentinelConnectionPool

from compliance_pipelines.conversations.connection import connect, connect_url
from compliance_pipelines.settings import ConfigurationError, Settings


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:6379/1",
        "redis://:p%40ss@127.0.0.1:6379",
        "redis://[::1]:6379/0",
        "unix:///tmp/redis.sock?db=2",
    ],
)
def test_local_servers_need_no_tls(url: str) -> None:
    assert isinstance(connect_url(url), Redis)


def test_a_sentinel_url_may_name_its_database_and_login_among_the_options() -> None:
    url = "redis+sentinel://user:secret@localhost/service?db=3&socket_timeout=7&username=other&decode_responses=True"
    options = connect_url(url).connection_pool.connection_kwargs  # type: ignore[union-attr]
    assert (options["db"], options["socket_timeout"], options["username"]) == (3, 7.0, "user")
    assert (options["decode_responses"], options["protocol"]) == (False, 2)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("ssl_min_version=769", "AUDIT_LOG_TLS_MIN_VERSION"),
        ("decode_response=True", "'decode_response' is not known"),
        ("db=three", "'three' is no database number"),
    ],
)
@pytest.mark.parametrize("scheme", ["redis", "redis+sentinel"])
def test_an_option_that_cannot_be_used_is_named(scheme: str, option: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        connect_url(f"{scheme}://localhost/{'service' if 'sentinel' in scheme else ''}?{option}")


def test_a_remote_server_without_tls_is_refused_unless_it_is_permitted() -> None:
    with pytest.raises(ConfigurationError, match=r"unencrypted to redis\.example"):
        connect_url("redis://user:secret@redis.example:6379/1")
    with pytest.raises(ConfigurationError, match=r"unencrypted to b\.example"):
        connect_url("redis+sentinel://localhost:1,b.example:2/service")
    permitted = connect_url("redis://redis.example:6379/1", allow_plaintext=True)
    assert isinstance(permitted, Redis)
    assert permitted.connection_pool.connection_kwargs["host"] == "redis.example"


def test_tls_is_verified_and_has_a_lowest_version() -> None:
    client = connect_url("rediss://redis.example:6379/1?ssl_ca_certs=/ca.pem", tls_min_version="TLSv1.2")
    options = client.connection_pool.connection_kwargs  # type: ignore[union-attr]
    assert options["ssl_min_version"] is ssl.TLSVersion.TLSv1_2
    assert options["ssl_ca_certs"] == "/ca.pem"
    assert options.get("ssl_cert_reqs", "required") == "required"


def test_a_sentinel_url_names_hosts_service_database_and_credentials() -> None:
    client = connect_url("rediss+sentinel://user:p%40ss@a.example:26380,b.example/checkpoints/3")
    pool = client.connection_pool  # type: ignore[union-attr]
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "checkpoints"
    assert pool.connection_kwargs["db"] == 3
    assert pool.connection_kwargs["password"] == "p@ss"
    hosts = [
        (each.connection_pool.connection_kwargs["host"], each.connection_pool.connection_kwargs["port"])
        for each in pool.sentinel_manager.sentinels
    ]
    assert hosts == [("a.example", 26380), ("b.example", 26379)]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://localhost",
        "redis+other://localhost",
        "redis+sentinel://localhost",
        "redis+sentinel://localhost/service/db",
        "redis://localhost:port",
        "redis://localhost/x",
        "redis+cluster://localhost/1",
    ],
)
def test_what_is_no_url_of_a_redis_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="CHECKPOINT_REDIS_URL"):
        connect_url(url)


def test_a_refusal_never_shows_the_password() -> None:
    with pytest.raises(ConfigurationError) as refused:
        connect_url("redis://user:hunter2@redis.example:6379/1")
    assert "hunter2" not in str(refused.value)


def test_without_a_url_the_setting_is_named() -> None:
    with pytest.raises(ConfigurationError, match="CHECKPOINT_REDIS_URL is not set"):
        connect(Settings(_env_file=None))
