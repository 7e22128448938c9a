"""`python -m tests.savers` installs the packages of all savers that are not there yet."""

from __future__ import annotations

from tests.savers.generations import install_all
from tests.savers.others import javascript_packages

if __name__ == "__main__":
    install_all()
    javascript_packages()
