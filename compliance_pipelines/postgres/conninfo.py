"""Connection strings: what libpq makes of one, as a value that shows no secret.

Here: parsing, by libpq and once for every library that connects; what libpq adds from a service file, the environment
and its own defaults; refusing what cannot lead anywhere, in words that quote nothing of the string. Not here: what is
demanded of a connection (encryption.py), engines (engine.py).

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo as Parser
from psycopg.pq import ConnStatus, PGconn

from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

_FORM: Final = "postgresql://user:password@host:5432/database"
_URI: Final = re.compile(r"postgres(?:ql)?(?:\+\w+)?(?=://)")
_SCHEME: Final = re.compile(r"\w+(?:[+:]\w+)*://")
# A scheme is said only where it is one of these: a text that begins with anything else may begin with a secret.
_OTHER_KINDS: Final = ("mysql", "mariadb", "sqlite", "oracle", "mssql", "redis", "rediss", "http", "https", "jdbc")
# Where a URL's parameters begin: a ? before the @ of a login belongs to the login, one in [] to an address.
_URI_PARTS: Final = re.compile(
    r"(postgresql://(?:[^@/]*@)?(?:(?:\[[^]]*\][^/?,]*|[^/?,]*),?)*(?:/[^?]*)?)\??(.*)", re.DOTALL
)
# libpq's blanks are those of C, and a backslash takes the next character as it is, between quotes and without.
_KEYWORD_AND_VALUE: Final = re.compile(
    r"""[^=\ \t\n\v\f\r]+[ \t\n\v\f\r]*=[ \t\n\v\f\r]*(?:'(?:[^'\\]|\\.)*'|(?:[^ \t\n\v\f\r\\]|\\.)*)""",
    re.DOTALL,
)
_SHOWN: Final = ("host", "hostaddr", "port", "dbname", "user", "sslmode")
_WHOLE_NUMBERS: Final = (
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
)
_HIGHEST_PORT: Final = 65535
_SERVICE_VARIABLE: Final = "PGSERVICE"

# Each begins a sentence of libpq's (src/interfaces/libpq/fe-connect.c), which goes on to quote the string.
_UNKNOWN_KEYWORD: Final = ("invalid connection option", "invalid URI query parameter")
_REASONS: Final[Mapping[str, str]] = {
    "unexpected spaces found": "a space in a URL is written %20",
    "invalid percent-encoded token": "a % is not followed by two hexadecimal digits: the percent sign is written %25",
    "forbidden value %00": "%00 cannot be part of it",
    "extra key/value separator": "a value after the ? has a = that is not written %3D",
    "missing key/value separator": "a keyword after the ? is without = and value",
    'missing "="': "a keyword is without = and value: a value with a space in it stands in 'single quotes'",
    "unterminated quoted string": "a value in quotes does not end",
    "end of string reached": "an IPv6 address does not end with ]",
    "IPv6 host address may not be empty": "an IPv6 address is empty",
    "unexpected character": "an IPv6 address is followed by something else than a port, a / or a ?",
}

# Two ways of saying what libpq refuses by its own documentation before it resolves a name or opens a file of passwords:
# lists of different lengths. Each hides the keywords that it uses.
_TOO_MANY_PORTS: Final[Mapping[str, str]] = {"port": ",".join(["1"] * 1000)}
_TOO_MANY_HOSTS: Final[Mapping[str, str]] = {"host": "a,b", "hostaddr": "127.0.0.1"}


class _Unshown(Mapping[str, T]):
    """A mapping that says its keys and no value, and neither do its views: values may be secrets."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, T]) -> None:
        self._values = dict(values)

    def __getitem__(self, key: str) -> T:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<values of {', '.join(self._values) or 'nothing'}>"


@dataclass(frozen=True, repr=False)
class Conninfo:
    """libpq's keywords and their values.

    Attributes:
        parameters: with secrets among them, which the mapping's `repr` does not show.
        repeated: of each keyword that a string gives more than once, all of its values in their order; the last one is
            among the parameters.
    """

    parameters: Mapping[str, str]
    repeated: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", _Unshown(self.parameters))
        object.__setattr__(self, "repeated", _Unshown(self.repeated))

    def values_of(self, name: str) -> tuple[str, ...]:
        """Every value that a keyword is given."""
        last = self.parameters.get(name)
        return self.repeated.get(name, () if last is None else (last,))

    def __repr__(self) -> str:
        shown = [f"{name}={self.parameters[name]!r}" for name in _SHOWN if name in self.parameters]
        hidden = len(self.parameters) - len(shown)
        return f"<Conninfo {' '.join(shown)} and {hidden} not shown>"

    def changed(self, **values: str) -> Conninfo:
        """The same with other values of some keywords."""
        return Conninfo({**self.parameters, **values})

    def for_libpq(self) -> str:
        """A string for whatever hands it to libpq, such as ADBC, with the password in it: never log it."""
        return make_conninfo(**self.parameters)

    @property
    def targets(self) -> list[str]:
        """Every host and address that a connection may lead to; the empty text is libpq's choice, this machine."""
        # An address wins over its host, which is then only the certificate's name; both are looked at.
        return [target for name in ("host", "hostaddr") for target in self.parameters.get(name, "").split(",")]

    @property
    def place(self) -> str:
        """Where the database is, for records and messages: no login and no secret."""
        hosts = (self.parameters.get("host") or self.parameters.get("hostaddr") or "").split(",")
        ports = self.parameters.get("port", "").split(",")
        ports = ports * len(hosts) if len(ports) == 1 else ports
        where = ",".join(map(_host_and_port, hosts, ports))
        return f"postgresql+psycopg://{where}/{quote(self.parameters.get('dbname', ''), safe=' +')}"


def _host_and_port(host: str, port: str) -> str:
    named = f"[{host}]" if ":" in host else quote(host, safe="")
    return f"{named}:{port}" if port else named


def parse(text: str) -> Conninfo:
    """What a connection string says by itself.

    Args:
        text: a URL (`postgresql://`, `postgres://`, with the name of a SQLAlchemy driver or without) or libpq's
            `keyword=value ...`. Of a keyword that is given twice libpq takes the last; the others are kept beside it.

    Raises:
        ConfigurationError: libpq cannot parse it, or it cannot be meant so; the message has nothing of the string in it
            but names that libpq knows.
    """
    # A file's last line end, for example: a URL has its own blanks percent-encoded, and libpq skips those of keywords.
    bare = text.strip()
    if not bare:
        raise ConfigurationError(f"the connection string is empty: it must read {_FORM}")
    found = _URI.match(bare)
    if found is None and (other := _SCHEME.match(bare)) is not None:
        kind = re.split(r"[+:]", other[0])[0]
        named = f"is for {kind}" if kind in _OTHER_KINDS else "is of another kind of database"
        raise ConfigurationError(f"the connection string {named}: it must read {_FORM}")
    if found is not None:
        text = "postgresql" + bare[found.end() :]
        _refuse_credentials_in_the_path(text)
    values = _parsed(text)
    _refuse_what_leads_nowhere(values)
    return Conninfo(values, _repeated(text, values))


def _repeated(text: str, values: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The values of each keyword that is given more than once, of which libpq shows the last alone.

    The string is cut where libpq cuts it, and libpq parses each piece: what a piece says under another name
    (`ssl=true`, `requiressl=1`) is told as libpq means it.

    Raises:
        ConfigurationError: the pieces do not say together what the whole says.
    """
    found: dict[str, list[str]] = {}
    for piece in _pieces(text):
        for name, value in _parsed(piece).items():
            found.setdefault(name, []).append(value)
    if {name: each[-1] for name, each in found.items()} != values:
        raise _unusable("it can be taken apart in more than one way")
    return {name: tuple(each) for name, each in found.items() if len(each) > 1}


def _pieces(text: str) -> list[str]:
    uri = _URI_PARTS.fullmatch(text)
    if uri is None:
        return _KEYWORD_AND_VALUE.findall(text)
    return [uri[1], *(f"postgresql:///?{each}" for each in uri[2].split("&") if each)]


def _parsed(text: str) -> dict[str, str]:
    if "\0" in text:
        raise _unusable("it has a NUL character in it")
    try:
        options = Parser.parse(text.encode())
        return {option.keyword.decode(): option.val.decode() for option in options if option.val is not None}
    except psycopg.OperationalError as error:
        reason = _reason(str(error))
    except UnicodeError:
        reason = "it is not in UTF-8"
    raise _unusable(reason)


def _unusable(reason: str) -> ConfigurationError:
    return ConfigurationError(f"the connection string cannot be used: {reason} (it must read {_FORM})")


def _reason(said: str) -> str:
    if said.startswith(_UNKNOWN_KEYWORD):
        named = re.search(r'"(.*)"', said, re.DOTALL)
        near = difflib.get_close_matches(named[1] if named else "", keywords(), n=1, cutoff=0.75)
        return "it has a keyword that libpq does not know" + "".join(f"; is it {each}?" for each in near)
    return next((reason for start, reason in _REASONS.items() if said.startswith(start)), "libpq cannot parse it")


def keywords() -> list[str]:
    """Every keyword that libpq knows."""
    return [option.keyword.decode() for option in Parser.get_defaults()]


def environment_variables() -> dict[str, str]:
    """By keyword, the variable that libpq reads where neither a string nor a service says it."""
    return {option.keyword.decode(): option.envvar.decode() for option in Parser.get_defaults() if option.envvar}


def _refuse_credentials_in_the_path(uri: str) -> None:
    """A / in a password ends what libpq takes for the host, and the rest of the password would be a database's name.

    Raises:
        ConfigurationError: there is an @ where the database's name is.
    """
    path = uri.partition("://")[2].partition("?")[0].partition("/")[2]
    if "@" in path:
        raise _unusable("in a user or a password a / is written %2F, and everywhere before the ? an @ is %40")


def _refuse_what_leads_nowhere(values: Mapping[str, str]) -> None:
    """What libpq would complain about only when it connects, and then quote.

    Raises:
        ConfigurationError: there is such a value.
    """
    hosts = values.get("host", "").split(",")
    addresses = values.get("hostaddr", "").split(",")
    ports = values.get("port", "").split(",")
    if any("@" in host[1:] for host in hosts):
        raise _unusable("in a user or a password an @ is written %40")
    if any(host.startswith("@") for host in hosts):
        raise _unusable("psycopg knows no sockets of the abstract namespace (@...): name a socket's directory, /...")
    if not all(map(_is_port, ports)):
        raise _unusable("a port is no number from 1 to 65535 (in a user or a password a : is written %3A, a / is %2F)")
    for name in _WHOLE_NUMBERS:
        if re.fullmatch(r"\s*[-+]?[0-9]{1,9}\s*", values.get(name, "0")) is None:
            raise _unusable(f"{name} is no whole number")
    if values.get("host") and values.get("hostaddr") and len(hosts) != len(addresses):
        raise _unusable("host and hostaddr are lists of different lengths")
    if len(ports) not in {1, max(len(hosts), len(addresses))}:
        raise _unusable("there are as many ports as hosts, or one for all of them")


def _is_port(text: str) -> bool:
    number = text.strip()
    return not number or (re.fullmatch("[0-9]{1,5}", number) is not None and 0 < int(number) <= _HIGHEST_PORT)


def resolve(given: Conninfo) -> Conninfo:
    """What libpq would connect with: also what a service file, the environment and its defaults say.

    libpq is asked, so that its rules hold: what is given goes first, then the service, then the environment. The answer
    says everything, so that another libpq (ADBC has its own) adds nothing from a service file of its own.

    Raises:
        ConfigurationError: the service is not to be found, or something in one of these places cannot be used.
    """
    values = _asked(given, _TOO_MANY_PORTS)
    ports = _asked(given, _TOO_MANY_HOSTS)
    del values["port"]
    values |= {name: value for name, value in ports.items() if name == "port"}
    if _SERVICE_VARIABLE not in os.environ:
        # All that it says is there; where the variable is set, libpq looks into the file in any case.
        for name in ("service", "servicefile"):
            values.pop(name, None)
    for option in Parser.get_defaults():
        name, variable = option.keyword.decode(), (option.envvar or b"").decode()
        is_default = option.compiled is not None and values.get(name) == option.compiled.decode()
        if is_default and name not in given.parameters and variable not in os.environ:
            # Not said, because another libpq may be too old to know it.
            del values[name]
    _refuse_what_leads_nowhere(values)
    return Conninfo(values)


def _asked(given: Conninfo, refused: Mapping[str, str]) -> dict[str, str]:
    """The options that libpq takes for a connection that it refuses to begin.

    Raises:
        ConfigurationError: libpq did not get as far as that.
    """
    connection = PGconn.connect_start(given.changed(**refused).for_libpq().encode())
    try:
        said = connection.error_message.decode(errors="replace")
        options = {option.keyword.decode(): option.val for option in connection.info}
        status = connection.status
    finally:
        connection.finish()
    if status != ConnStatus.BAD or any(options.get(name) != value.encode() for name, value in refused.items()):
        raise _service_error(said)
    try:
        return {name: value.decode() for name, value in options.items() if value is not None}
    except UnicodeError:
        raise _unusable("the service file or the environment is not in UTF-8") from None


def _service_error(said: str) -> ConfigurationError:
    """What libpq could not find, without the name that was looked for."""
    if said.startswith("definition of service"):
        return ConfigurationError(
            "the service that the connection string or PGSERVICE names is in no file that libpq reads: PGSERVICEFILE, "
            "else ~/.pg_service.conf, and pg_service.conf in PGSYSCONFDIR"
        )
    if "service file" in said:
        line = re.search(r"line (\d+)", said)
        where = f" in line {line[1]}" if line else ""
        return ConfigurationError(f"libpq cannot read the service file{where}: PGSERVICEFILE, else ~/.pg_service.conf")
    return ConfigurationError("libpq cannot take the connection string together with its service and environment")
