"""``python -m synctalk.provenance FILE``: what a file is, as a line of JSON, for other programs.

Whose marks and signers count, the environment says (``AVATAR_PROVENANCE__…``).
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from synctalk.errors import SyncTalkError
from synctalk.provenance.settings import provenance_from_environment
from synctalk.provenance.verifying import verify


def main() -> int:
    """Verify the file given as the only argument."""
    try:
        found = verify(Path(sys.argv[1]), provenance_from_environment())
        print(json.dumps({"result": asdict(found)}))
    except SyncTalkError as error:
        problem = {"message": error.message, "reason": error.reason, "remedy": error.remedy}
        print(json.dumps({"error": problem}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
