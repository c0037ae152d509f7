"""``python -m synctalk`` is the command line."""

from synctalk.cli import main

if __name__ == "__main__":
    main()
