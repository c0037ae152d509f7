"""``python -m services.dubbing``."""

from services.dubbing.main import main

if __name__ == "__main__":
    raise SystemExit(main())
