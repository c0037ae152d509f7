"""``python -m services.cli``: the same as ``avatar``."""

from services.cli.app import main

main()
