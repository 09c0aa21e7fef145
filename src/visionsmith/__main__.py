"""`python -m visionsmith`: the command line, for launchers such as torchrun."""

from visionsmith.cli import main

main()
