"""`python -m compliance_pipelines.cli`: the `compliance` command where its script is not on the PATH."""

from compliance_pipelines.cli import main

main()
