"""The ``odradek`` command. Data goes to stdout, everything else to stderr; exit codes have names (``exits``)."""

from odradek.cli.command import main

__all__ = ["main"]
