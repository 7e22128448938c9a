"""From CHECKPOINT_REDIS_URL to a client: one server, Sentinel, Cluster, with and without TLS.

Here: URLs and client options. Not here: any command.

| URL | what it reaches |
|---|---|
| `redis://[user:password@]host:port/database` | one server; `rediss://` with TLS, `unix://` by a socket |
| `redis+sentinel://[user:password@]host:port,host:port/service/database` | the master that Sentinel names; \
`rediss+sentinel://` with TLS |
| `redis+cluster://[user:password@]host:port` or `redis://...?cluster=true` | a cluster; `rediss` with TLS |

Options such as `ssl_ca_certs` stand in the query, as redis-py reads them: those that say how to reach the server. How
its answers are read is ours to say; an application's options for that (`decode_responses`, `protocol`) are left out.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool, parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

from compliance_pipelines.conversations.errors import redis_errors
from compliance_pipelines.postgres.encryption import is_local
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from compliance_pipelines.settings import Settings

Client = Redis | RedisCluster

_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})
_KINDS: Final = frozenset({"", "sentinel", "cluster"})
_SENTINEL_PORT: Final = 26379
_CONNECT_SECONDS: Final = 10
_ANSWER_SECONDS: Final = 60
# What each of our connections is, whatever redis-py's defaults become: answers are bytes, in the protocol that every
# server speaks, and no command is repeated by itself.
_READING: Final[Mapping[str, Any]] = {
    "protocol": 2,
    "decode_responses": False,
    "encoding": "utf-8",
    "encoding_errors": "strict",
}
_REACHING: Final = frozenset(
    {
        "db",
        "username",
        "password",
        "client_name",
        "health_check_interval",
        "max_connections",
        "socket_connect_timeout",
        "socket_keepalive",
        "socket_timeout",
        "ssl_ca_certs",
        "ssl_ca_data",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_ciphers",
        "ssl_exclude_verify_flags",
        "ssl_include_verify_flags",
        "ssl_keyfile",
        "ssl_password",
        "ssl_validate_ocsp",
        "ssl_validate_ocsp_stapled",
    }
)
# An application may share its URL with us, and these say nothing about the server.
_OF_APPLICATIONS: Final = frozenset(
    {
        *_READING,
        "legacy_responses",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
        "single_connection_client",
        "socket_read_size",
        "timeout",
    }
)
_TLS_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


def connect(settings: Settings) -> Client:
    """The client of the checkpoint store; it connects when it is first used, except to a cluster.

    It never repeats a command by itself: what became of a deletion whose answer is lost is found out, not guessed.

    Raises:
        ConfigurationError: the URL is missing or cannot be used.
        TransientError: a cluster does not answer.
    """
    secret = settings.checkpoint_redis_url
    if secret is None:
        raise ConfigurationError(
            "CHECKPOINT_REDIS_URL is not set: give the URL of the Redis that holds the conversations "
            "(redis://user:password@host:6379/0), or start the embedded stack with `make run`"
        )
    return connect_url(
        secret.get_secret_value(),
        tls_min_version=settings.audit_log_tls_min_version,
        allow_plaintext=settings.checkpoint_redis_allow_plaintext,
    )


def connect_url(url: str, *, tls_min_version: str = "TLSv1.3", allow_plaintext: bool = False) -> Client:
    """The client for a URL; see :func:`connect`.

    Args:
        url: as in the table of this module.
        tls_min_version: oldest TLS version that a server may speak.
        allow_plaintext: talk to a host that is not this machine without TLS.
    """
    options: dict[str, Any] = {
        "socket_connect_timeout": _CONNECT_SECONDS,
        "socket_timeout": _ANSWER_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        **_READING,
    }
    try:
        parsed = _parsed(url, allow_plaintext=allow_plaintext)
        if parsed.scheme == "rediss":
            options["ssl_min_version"] = _TLS_VERSIONS[tls_min_version]
        if parsed.is_sentinel:
            return _sentinel_client(parsed.plain, options, needs_local=parsed.needs_local)
        if parsed.is_cluster:
            return _cluster_client(parsed.plain, options, needs_local=parsed.needs_local)
        return Redis.from_url(parsed.plain, **options)
    except ValueError as error:
        raise ConfigurationError(f"CHECKPOINT_REDIS_URL cannot be used: {error}") from None


def check_url(setting: str, url: str, *, allow_plaintext: bool = False) -> None:
    """Refuse a URL that cannot be used, without connecting to anything.

    Args:
        setting: name of the environment variable, for the message.
        url: as in the table of this module.
        allow_plaintext: as for :func:`connect_url`.

    Raises:
        ConfigurationError: the URL cannot be used.
    """
    try:
        parsed = _parsed(url, allow_plaintext=allow_plaintext)
        if not parsed.is_sentinel and not parsed.is_cluster:
            Redis.from_url(parsed.plain).close()
    except (ConfigurationError, ValueError) as error:
        said = str(error) if isinstance(error, ConfigurationError) else f"CHECKPOINT_REDIS_URL cannot be used: {error}"
        raise ConfigurationError(said.replace("CHECKPOINT_REDIS_URL", setting)) from None


class _Parsed(NamedTuple):
    """A URL without what stands for the kind of deployment, and that kind."""

    plain: str
    scheme: str
    is_sentinel: bool
    is_cluster: bool
    needs_local: bool


def _parsed(url: str, *, allow_plaintext: bool) -> _Parsed:
    """Read a URL.

    Raises:
        ConfigurationError: it begins with something else than the table of this module has.
        ValueError: something in it cannot be used.
    """
    scheme, _, kind = url.partition("://")[0].partition("+")
    if scheme not in _SCHEMES or kind not in _KINDS or "://" not in url:
        raise ConfigurationError(
            "CHECKPOINT_REDIS_URL cannot be used: it must begin with redis://, rediss://, unix://, redis+sentinel:// "
            "or redis+cluster:// (rediss+... with TLS)"
        )
    plain = url if not kind else scheme + url[len(scheme) + 1 + len(kind) :]
    plain, asks_for_cluster = _without_cluster_option(plain)
    plain = _with_options_that_reach(plain)
    needs_local = scheme == "redis" and not allow_plaintext
    if needs_local:
        _refuse_remote(host for host, _ in _hosts(plain))
    is_sentinel, is_cluster = kind == "sentinel", kind == "cluster" or asks_for_cluster
    if not is_sentinel:
        _refuse_other_databases(plain, is_cluster=is_cluster)
    return _Parsed(plain, scheme, is_sentinel, is_cluster, needs_local)


def _without_cluster_option(url: str) -> tuple[str, bool]:
    """The URL without `cluster=true`, and whether it was there."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    rest = [(name, value) for name, value in query if name.lower() != "cluster"]
    asked = any(name.lower() == "cluster" and value.lower() in {"true", "1", "yes"} for name, value in query)
    return (url, False) if rest == query else (urlunsplit(parts._replace(query=urlencode(rest))), asked)


def _with_options_that_reach(url: str) -> str:
    """The URL without the options that are not for us to take from it.

    Raises:
        ValueError: an option is unknown, or it is ours to set.
    """
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    for name, _ in query:
        if name == "ssl_min_version":
            raise ValueError("the lowest TLS version is set with AUDIT_LOG_TLS_MIN_VERSION")
        if name not in _REACHING | _OF_APPLICATIONS:
            raise ValueError(f"the option {name!r} is not known; known are {', '.join(sorted(_REACHING))}")
    reaching = [(name, value) for name, value in query if name in _REACHING]
    return url if reaching == query else urlunsplit(parts._replace(query=urlencode(reaching)))


def _hosts(url: str) -> list[tuple[str, int | None]]:
    """The hosts and ports of a URL, which may name several."""
    network = urlsplit(url).netloc.rpartition("@")[2]
    hosts: list[tuple[str, int | None]] = []
    for each in network.split(","):
        parsed = urlsplit(f"//{each}")
        hosts.append((parsed.hostname or "", parsed.port))
    return hosts


def _refuse_other_databases(url: str, *, is_cluster: bool) -> None:
    """redis-py takes what it cannot read as database 0, which might be another's."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        if is_cluster:
            raise ValueError("no socket leads to a cluster")
        return
    database = dict(parse_qsl(parts.query)).get("db", parts.path.strip("/"))
    if database and not database.isdecimal():
        raise ValueError(f"{database!r} is no database number")
    if is_cluster and database not in {"", "0"}:
        raise ValueError("a cluster has database 0 only")


def _refuse_remote(hosts: Iterable[str]) -> None:
    """Refuse to talk to hosts without TLS, unless they are this machine."""
    remote = [host for host in hosts if not is_local(host)]
    if remote:
        raise ConfigurationError(
            f"CHECKPOINT_REDIS_URL would let conversations travel unencrypted to {remote[0]}: use rediss://, or set "
            "CHECKPOINT_REDIS_ALLOW_PLAINTEXT=true where the network itself is encrypted"
        )


def _cluster_client(url: str, options: dict[str, Any], *, needs_local: bool) -> RedisCluster:
    """The client of a cluster, each of whose nodes is looked at before anything is sent to it.

    The nodes are where the cluster says, not where the URL does. Of the options, redis-py passes those on that are on a
    list of its own, and the lowest TLS version is not.
    """
    missing = {name: value for name, value in options.items() if name == "ssl_min_version"}

    def pool_of_node(*, host: str, **given: object) -> ConnectionPool:
        if needs_local:
            _refuse_remote([host])
        return ConnectionPool(host=host, **{**given, **missing})

    with redis_errors("the connection to the cluster"):
        return RedisCluster.from_url(url, connection_pool_class=pool_of_node, **options)


class _LocalSentinel(Sentinel):
    """A Sentinel whose master is looked at before anything is sent to it."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        host, port = super().discover_master(service_name)  # type: ignore[no-untyped-call]
        _refuse_remote([host])
        return host, port


def _sentinel_client(url: str, options: dict[str, Any], *, needs_local: bool) -> Redis:
    """The client of the master that Sentinel names; the credentials serve both."""
    parts = urlsplit(url)
    path: Sequence[str] = [unquote(part) for part in parts.path.split("/") if part]
    if not path or len(path) > 2:  # noqa: PLR2004 - service and database
        raise ValueError("a Sentinel URL ends with /service or /service/database")
    database = dict(parse_qsl(parts.query)).get("db", path[1] if len(path) > 1 else "0")
    if not database.isdecimal():
        raise ValueError(f"{database!r} is no database number")
    credentials: dict[str, Any] = {
        name: unquote(value) for name, value in (("username", parts.username), ("password", parts.password)) if value
    }
    if parts.scheme == "rediss":
        options = {**options, "ssl": True}
    of_url: dict[str, Any] = parse_url(f"redis://localhost?{parts.query}")  # type: ignore[no-untyped-call]
    options = {**options, **{name: value for name, value in of_url.items() if name != "host"}, **credentials}
    options["db"] = int(database)
    sentinel = (_LocalSentinel if needs_local else Sentinel)(  # type: ignore[no-untyped-call]
        [(host, port or _SENTINEL_PORT) for host, port in _hosts(url)],
        sentinel_kwargs={name: value for name, value in options.items() if name != "db"},
        **options,
    )
    client: Redis = sentinel.master_for(path[0], redis_class=Redis)  # type: ignore[no-untyped-call]
    return client
