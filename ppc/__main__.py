"""``python -m ppc``: the command line, where the script is not on the path."""

from ppc.cli import main

main()
