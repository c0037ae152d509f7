"""Write the tables of this folder from the code, or check that they are what would be written.

``python docs/reference/generate.py`` writes; with ``--check`` it compares, names what differs, and
fails. The settings come from the models themselves; errors and metrics are read from the syntax
tree of every module, so that nothing has to run, and what cannot be read there is refused.
"""

from __future__ import annotations

import sys
from pathlib import Path

import error_table
import metric_table
import setting_table

HERE = Path(__file__).resolve().parent
PAGES = {
    "settings.md": setting_table.page,
    "errors.md": error_table.page,
    "metrics.md": metric_table.page,
}


def main() -> None:
    """Write, or check."""
    fresh = {name: page() for name, page in PAGES.items()}
    if "--check" not in sys.argv[1:]:
        for name, text in fresh.items():
            (HERE / name).write_text(text)
        return
    stale = [
        name
        for name, text in fresh.items()
        if not (HERE / name).is_file() or (HERE / name).read_text() != text
    ]
    if stale:
        raise SystemExit(
            f"docs/reference is not what the code says ({', '.join(stale)}); run make docs and "
            "commit."
        )


if __name__ == "__main__":
    main()
