"""``python -m services.expression``."""

from services.expression.main import main

if __name__ == "__main__":
    raise SystemExit(main())
