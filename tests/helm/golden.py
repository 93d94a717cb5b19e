"""Writes the golden manifests anew: ``make golden``. Read what has changed before you commit it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.helm import tools
from tests.helm.chart import GOLDEN, SETS, VALUES, Helm


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        helm = Helm(tools.helm(), Path(folder))
        for name in SETS:
            page = GOLDEN / f"{name}.yaml"
            page.write_text(helm.render(VALUES / f"{name}.yaml").text)
            print(page, file=sys.stderr)  # noqa: T201 - it is a command


if __name__ == "__main__":
    main()
