"""Without the extra `local` its commands say what is to be installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A package that sys.modules has as None is not found, whatever is installed.
WITHOUT = """
import runpy, sys
sys.modules[sys.argv[1]] = None
sys.argv[:] = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def without(package: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, package, *arguments], capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("package", ["psutil", "langgraph"])
@pytest.mark.parametrize(
    "arguments",
    [("demo",), ("demo", "--ui"), ("local_stack", "up"), ("local_stack", "env"), ("local_stack", "down")],
    ids=" ".join,
)
def test_a_command_says_in_one_line_what_is_to_be_installed(package: str, arguments: tuple[str, ...]) -> None:
    module, *rest = arguments
    finished = without(package, f"compliance_pipelines.{module}", *rest)
    assert finished.returncode == 1
    assert finished.stderr == (
        f"error: the package {package} is not installed: install compliance-pipelines with its extra `local` "
        "(pip install 'compliance-pipelines[local]')\n"
    )


@pytest.mark.parametrize("module", ["demo", "local_stack"])
def test_help_needs_no_extra(module: str) -> None:
    finished = without("psutil", f"compliance_pipelines.{module}", "--help")
    assert (finished.returncode, finished.stderr) == (0, "")


def test_the_package_is_the_command() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "compliance_pipelines", "--version"], capture_output=True, text=True, check=False
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert " version 0." in finished.stdout
