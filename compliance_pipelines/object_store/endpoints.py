"""Where a service of the cold store may be spoken to, and whom it is believed.

Here: what the settings of an endpoint must be, whichever service it is. Not here: any client (s3_client.py,
gcs_client.py).
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def check_endpoint(url: str | None, ca_file: Path | None) -> None:
    """Let an endpoint pass that has TLS, or is on this machine.

    Args:
        url: of the service; None: the one of its kind.
        ca_file: certificates that the service's is checked against; None: the system's.

    Raises:
        ConfigurationError: it is no URL, or has no TLS and is not on this machine; or there is no such file.
    """
    if url is not None:
        _refuse_plaintext(url)
    if ca_file is not None and not ca_file.is_file():
        raise ConfigurationError(f"AUDIT_COLD_STORAGE_CA_FILE is {ca_file}, and there is no such file")


def is_plain(url: str) -> bool:
    """Whether an endpoint that passed has no TLS, so that it is on this machine."""
    return urlsplit(url).scheme == "http"


def _refuse_plaintext(url: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if host is None or parts.scheme not in {"http", "https"}:
        raise ConfigurationError(
            f"AUDIT_COLD_STORAGE_ENDPOINT_URL is {url!r}, which is no URL: write https://HOST or https://HOST:PORT"
        )
    if parts.scheme == "http" and not _is_this_machine(host):
        raise ConfigurationError(
            f"AUDIT_COLD_STORAGE_ENDPOINT_URL is {url!r}: audit entries and signatures of requests would cross the "
            "network in plain; write https://, and set AUDIT_COLD_STORAGE_CA_FILE where the certificate is your own"
        )


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
