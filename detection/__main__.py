"""`python -m detection`."""

from detection.cli.main import main

main()
