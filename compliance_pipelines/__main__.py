"""`python -m compliance_pipelines`: the command `compliance`, where its script is not on the path."""

from __future__ import annotations

from compliance_pipelines.cli import main

if __name__ == "__main__":
    main()
