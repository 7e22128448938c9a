"""Where the files are that a checkout keeps beside the package and a wheel keeps within it.

Here: finding `migrations/`, `deploy/dagster.yaml` and `workspace.yaml`. Not here: what they say.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from compliance_pipelines.base.errors import ComplianceError


class NotShippedError(ComplianceError):
    """The installation is not whole."""


def shipped(name: str) -> Path:
    """A file or a directory of the project that is no module.

    Raises:
        NotShippedError: it is neither in the package nor, in a checkout, beside it.
    """
    package = Path(str(files("compliance_pipelines")))
    # Beside an installed package lie other people's: a checkout is known by what it is built with.
    places = [package, *([package.parent] if (package.parent / "pyproject.toml").is_file() else [])]
    for place in places:
        if (place / name).exists():
            return place / name
    raise NotShippedError(
        f"{name} is not in {' nor in '.join(map(str, places))}: this installation is not whole; install the wheel again"
    )
