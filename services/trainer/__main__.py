"""``python -m services.trainer serve|work``."""

from services.trainer.main import main

if __name__ == "__main__":
    raise SystemExit(main())
