"""Where things of the local stack are on this machine: the packages that carry the servers, and the stack's directory.

Here: finding them, and saying how what is missing is installed. Not here: anything that needs one of these packages to
be there, so that this can be imported without.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

from compliance_pipelines.local_stack.errors import EmbeddedServerError

_SOURCE_DIR: Final = Path(__file__).resolve().parents[2]
# What the stack and the demo import, by the names under which they do; the servers' own packages are looked for when
# the server is started.
_PACKAGES: Final = ("psutil", "langgraph")


def default_state_dir() -> Path:
    """`.local` of the checkout; of the working directory when the package is installed elsewhere."""
    checkout = _SOURCE_DIR if (_SOURCE_DIR / "pyproject.toml").is_file() else Path.cwd()
    return checkout / ".local"


def require_packages() -> None:
    """Make sure that what the extra `local` brings can be imported.

    Raises:
        EmbeddedServerError: a package is not installed.
    """
    for name in _PACKAGES:
        package_dir(name)


def package_dir(name: str) -> Path:
    """Directory of an installed package, which is not imported.

    Raises:
        EmbeddedServerError: it is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(
            f"the package {name} is not installed: install compliance-pipelines with its extra `local` "
            "(pip install 'compliance-pipelines[local]')"
        )
    return Path(spec.submodule_search_locations[0]).resolve()
