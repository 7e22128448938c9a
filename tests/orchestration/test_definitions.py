"""What Dagster loads: without a server, a secret, or a warning, and with no change that a review misses."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from dagster import Definitions

from compliance_pipelines.definitions import build_standalone, defs
from tests.orchestration.graph import SNAPSHOT, graph_of

if TYPE_CHECKING:
    from pathlib import Path

_IMPORT: Final = """
import socket, warnings

def refuse(*_, **__):
    raise AssertionError("importing the definitions opened a connection")

socket.socket.connect = refuse
import dagster
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from compliance_pipelines.definitions import defs
    dagster.Definitions.validate_loadable(defs)
about = [str(each.message) for each in caught if "dagster" in each.category.__module__]
assert not about, about
"""


def test_importing_connects_to_nothing_needs_no_secret_and_warns_of_nothing(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    finished = subprocess.run(
        [sys.executable, "-c", _IMPORT], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr


def test_the_graph_is_the_one_that_was_reviewed() -> None:
    assert graph_of(build_standalone()) == SNAPSHOT.read_text(encoding="utf-8"), (
        "the graph changed; if that is meant: python -m tests.orchestration.graph"
    )


def test_every_definition_can_be_loaded() -> None:
    Definitions.validate_loadable(defs)
