"""The generations of LangGraph's Redis savers that run here, and their packages.

Here: what each generation is able to do, and installing it beside the environment from a file with hashes. Not here:
running it (client.py), what runs in it (driver.py).

Packages lie in the environment, in a directory named
after the contents of the file that pins them, so that another pin is another directory.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PINS: Final = Path(__file__).parent / "requirements"
ROOT: Final = Path(sys.prefix) / "savers"
_INSTALL_SECONDS: Final = 600.0
_AT_ONCE: Final = 4


@dataclass(frozen=True)
class Generation:
    """Savers that write one layout.

    Attributes:
        version: of langgraph-checkpoint-redis.
        kinds: the savers of it that can be resumed.
        takes_prefixes: whether it takes prefixes of its own.
        is_locked: whether it is the version of the project's own lock file, which is installed already.
        can_stop: whether a graph over its savers can stop, for a person or for an error: it never ends to write why.
        loses_channels: its savers that lose, by themselves, a channel which a turn does not write.
    """

    version: str
    kinds: tuple[str, ...] = ("full", "async_full", "shallow", "async_shallow")
    takes_prefixes: bool = False
    is_locked: bool = False
    can_stop: bool = True
    loses_channels: tuple[str, ...] = ()

    def packages(self) -> Path | None:
        """The directory with its packages, installed if need be; None where they are the environment's own."""
        return None if self.is_locked else installed(self.version)


GENERATIONS: Final = (
    # Its synchronous savers ask for the checkpoint with the id "None", and load nothing that they wrote.
    Generation("0.0.1", kinds=("async_full", "async_shallow"), can_stop=False),
    # Its shallow savers remove the values of the channels that a turn does not write.
    Generation("0.0.8", loses_channels=("shallow", "async_shallow")),
    Generation("0.1.3"),
    Generation("0.2.1"),
    Generation("0.3.9", takes_prefixes=True),
    Generation("0.4.1", takes_prefixes=True),
    Generation("0.5.2", takes_prefixes=True, is_locked=True),
)


def installed(name: str) -> Path:
    """The directory with the packages that a file of pins names, installed if they are not there yet.

    Raises:
        subprocess.CalledProcessError: pip could not install them; its own message is on standard error.
    """
    pins = _PINS / f"{name}.txt"
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()[:16]
    target = ROOT / f"{name}-{digest}"
    ROOT.mkdir(exist_ok=True)
    with (ROOT / f"{name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            draft = draft_of(target)
            shutil.rmtree(draft, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            options = ["--require-hashes", "--only-binary", ":all:", "--target", str(draft), "--requirement", str(pins)]
            subprocess.run([*pip, *options], check=True, timeout=_INSTALL_SECONDS, stdin=subprocess.DEVNULL)
            draft.rename(target)
    return target


def draft_of(target: Path) -> Path:
    """Where it is made: beside it, and nowhere that another is made, for a version's own dots are no suffix."""
    return target.with_name(f"{target.name}.draft")


def install_all() -> None:
    """Install every file of pins."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(installed, sorted(pins.stem for pins in _PINS.glob("*.txt"))))
