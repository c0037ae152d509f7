"""The renderer of the next release, which reads one more version of bundles than this one."""

from __future__ import annotations

import sys

from services.renderer.main import main
from synctalk import bundle

if __name__ == "__main__":
    bundle.READABLE |= {bundle.SCHEMA_VERSION + 1}
    sys.exit(main())
