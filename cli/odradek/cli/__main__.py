"""``python -m odradek.cli``: the same as ``odradek``."""

from odradek.cli.command import main

main(prog_name="odradek")
