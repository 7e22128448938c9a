"""TLS to PostgreSQL: where it is demanded, and how much of it.

Here: which hosts are this machine, and which of several demands holds. Not here: what a connection string, a service
file and the environment say (conninfo.py).

https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION
"""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING, Final

from compliance_pipelines.postgres.conninfo import Conninfo, environment_variables, resolve
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_TLS_MIN_VERSION: Final = "TLSv1.3"
_DEMANDS: Final[Mapping[str, Sequence[str]]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "ssl_min_protocol_version": ("", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "channel_binding": ("disable", "prefer", "require"),
}
"""Keywords by which somebody may demand more than somebody else does, with their values from the weakest on."""
_DEMANDED: Final = "require"
_UNENCRYPTED_MODES: Final = ("disable", "allow", "prefer")


def is_local(host: str | None) -> bool:
    """Whether a host of a URL is this machine: none at all, a Unix socket directory, or a loopback address.

    A name that is not `localhost` is not resolved and counts as remote, so that doubt ends in TLS.
    """
    if host is None or host == "" or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def with_encryption(given: Conninfo, tls_min_version: str = DEFAULT_TLS_MIN_VERSION) -> Conninfo:
    """What libpq would connect with, with TLS demanded unless every host that it may lead to is local.

    The strictest mode of those that connection string, service file and environment give holds, whichever of them libpq
    would follow, and of several in one string. So does the newest of the oldest versions that may be spoken, and the
    strictest channel binding.

    Args:
        given: what the connection string says.
        tls_min_version: oldest TLS version that a remote host may speak, in libpq's words.

    Raises:
        ConfigurationError: the string asks a remote host for an unencrypted connection, or a mode is unknown.
    """
    resolved = resolve(given)
    demands = {name: _strictest(name, values) for name, values in _given_demands(given, resolved).items() if values}
    remote = [target for target in resolved.targets if not is_local(target)]
    if remote:
        asked = _strictest("sslmode", given.values_of("sslmode") or [_DEMANDED])
        if asked in _UNENCRYPTED_MODES:
            raise ConfigurationError(
                f"sslmode={asked} would let data travel unencrypted to {remote[0]}: use sslmode=verify-full (or "
                "require)"
            )
        least = {"sslmode": _DEMANDED, "ssl_min_protocol_version": tls_min_version}
        demands |= {name: _strictest(name, [demands.get(name, value), value]) for name, value in least.items()}
        # Another kind of encryption, which libpq may prefer, would go without the TLS that is demanded here.
        demands["gssencmode"] = "disable"
    return resolved.changed(**demands)


def _given_demands(given: Conninfo, resolved: Conninfo) -> dict[str, list[str]]:
    """What each place demands; libpq's own default is none."""
    # What the string hides: the service's demands, or the mode that a choice of authorities implies.
    others = {name: value for name, value in given.parameters.items() if name not in _DEMANDS}
    hidden = resolve(Conninfo(others))
    found = {name: [*given.values_of(name), *resolved.values_of(name), *hidden.values_of(name)] for name in _DEMANDS}
    for name, variable in environment_variables().items():
        if name in found and variable in os.environ:
            found[name].append(os.environ[variable])
    if os.environ.get("PGREQUIRESSL", "").startswith("1"):
        found["sslmode"].append(_DEMANDED)
    return found


def _strictest(keyword: str, values: Sequence[str]) -> str:
    order = _DEMANDS[keyword]
    for value in values:
        if value not in order:
            raise ConfigurationError(f"{keyword} must be one of {', '.join(filter(None, order))}")
    return max(values, key=order.index)
