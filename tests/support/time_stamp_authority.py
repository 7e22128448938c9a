"""A time-stamp authority: OpenSSL's `ts` behind a small HTTP server, with a root and a certificate of its own."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from tests.support.replies import Reply, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONFIGURATION = """
[req]
distinguished_name = dn
prompt = no
[dn]
CN = Tests' root
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
[stamping]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[tsa]
serial = {directory}/serial
signer_cert = {directory}/tsa.pem
signer_key = {directory}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
ess_cert_id_alg = sha256
"""


@dataclass
class TimeStampAuthority:
    """An authority and its server.

    Attributes:
        instead: answers in its place where it gives a reply; gets the request.
        raw: takes the connection instead, after the request was read.
        requests: in order.
    """

    directory: Path
    port: int = 0
    instead: Callable[[bytes], Reply | None] | None = None
    raw: Callable[[Any], None] | None = None
    requests: list[bytes] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/tsr"

    @property
    def certificates(self) -> Path:
        return self.directory / "root.pem"

    def openssl(self, *arguments: str) -> str:
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.directory, check=True, capture_output=True, text=True, timeout=60
        )
        return done.stdout

    def answer(self, _path: str, request: bytes) -> Reply:
        self.requests.append(request)
        reply = None if self.instead is None else self.instead(request)
        return Reply(200, self.reply_to(request), "application/timestamp-reply") if reply is None else reply

    def reply_to(self, request: bytes) -> bytes:
        """What `openssl ts` replies; one at a time, for its file of serial numbers."""
        with self.lock:
            query, response = self.directory / "query", self.directory / "response"
            query.write_bytes(request)
            self.openssl(
                "ts", "-reply", "-config", "tsa.cnf", "-section", "tsa", "-queryfile", query.name, "-out", response.name
            )
            return response.read_bytes()

    def verifies(self, data: Path, response: Path) -> bool:
        """Whether `openssl ts` takes a file and its time stamp."""
        return "Verification: OK" in self.openssl(
            "ts", "-verify", "-data", str(data), "-in", str(response), "-CAfile", str(self.certificates)
        )


@contextmanager
def time_stamp_authority(directory: Path) -> Iterator[TimeStampAuthority]:
    """A running authority whose keys are made in a directory that is not there yet."""
    directory.mkdir(parents=True)
    authority = TimeStampAuthority(directory)
    (directory / "tsa.cnf").write_text(CONFIGURATION.format(directory=directory), encoding="utf-8")
    (directory / "serial").write_text("01\n", encoding="utf-8")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-config", "tsa.cnf")
    authority.openssl(
        "req", "-x509", *new_key, "-keyout", "root.key", "-out", "root.pem", "-extensions", "root", "-days", "30"
    )
    authority.openssl("req", *new_key, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=Tests' authority")
    authority.openssl(
        *("x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", "30"),
        *("-extfile", "tsa.cnf", "-extensions", "stamping", "-out", "tsa.pem"),
    )
    with serving(authority.answer, lambda: authority.raw) as authority.port:
        yield authority
