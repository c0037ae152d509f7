"""``python -m services.preprocess serve|work``."""

from services.preprocess.main import main

if __name__ == "__main__":
    raise SystemExit(main())
