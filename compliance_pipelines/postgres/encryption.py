"""TLS to PostgreSQL: where it is demanded, and how much of it.

Here: which hosts are this machine, and which of several modes holds. Not here: where modes come from besides the
connection string itself (conninfo.py).

https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION
"""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING, Final

from compliance_pipelines.postgres.conninfo import Conninfo, resolve
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_TLS_MIN_VERSION: Final = "TLSv1.3"
_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_DEMANDED: Final = "require"
_UNENCRYPTED_MODES: Final = _MODES[: _MODES.index(_DEMANDED)]
_VERSIONS: Final = ("", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")


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
    would follow, and of several in one string; so does the newest of the oldest versions that may be spoken.

    Args:
        given: what the connection string says.
        tls_min_version: oldest TLS version that a remote host may speak, in libpq's words.

    Raises:
        ConfigurationError: the string asks a remote host for an unencrypted connection, or a mode is unknown.
    """
    resolved = resolve(given)
    modes = _given_modes(given, resolved)
    mode = _strictest("sslmode", modes, _MODES)
    remote = [target for target in resolved.targets if not is_local(target)]
    if not remote:
        return resolved.changed(sslmode=mode) if modes else resolved
    asked = _strictest("sslmode", given.values_of("sslmode") or [_DEMANDED], _MODES)
    if asked in _UNENCRYPTED_MODES:
        raise ConfigurationError(
            f"sslmode={asked} would let data travel unencrypted to {remote[0]}: use sslmode=verify-full (or require)"
        )
    versions = [resolved.parameters.get("ssl_min_protocol_version", ""), tls_min_version]
    return resolved.changed(
        sslmode=_strictest("sslmode", [mode, _DEMANDED], _MODES),
        ssl_min_protocol_version=_strictest("ssl_min_protocol_version", versions, _VERSIONS),
        # Another kind of encryption, which libpq may prefer, would go without the TLS that is demanded here.
        gssencmode="disable",
    )


def _given_modes(given: Conninfo, resolved: Conninfo) -> list[str]:
    """Each mode that somebody gave; libpq's own default is none."""
    modes = [resolved.parameters.get("sslmode"), os.environ.get("PGSSLMODE"), *given.values_of("sslmode")]
    if "sslmode" in given.parameters:
        # What the string hides: the service's mode, or the one that a choice of authorities implies.
        others = {name: value for name, value in given.parameters.items() if name != "sslmode"}
        modes.append(resolve(Conninfo(others)).parameters.get("sslmode"))
    if os.environ.get("PGREQUIRESSL", "").startswith("1"):
        modes.append(_DEMANDED)
    return [mode for mode in modes if mode is not None]


def _strictest(keyword: str, values: Sequence[str], order: Sequence[str]) -> str:
    for value in values:
        if value not in order:
            raise ConfigurationError(f"{keyword} must be one of {', '.join(filter(None, order))}")
    return max(values, key=order.index, default=order[0])
