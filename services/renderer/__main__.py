"""``python -m services.renderer``."""

from services.renderer.main import main

if __name__ == "__main__":
    raise SystemExit(main())
