"""For other programs, which get a line of JSON: what a file is, or whether the signer signs.

``python -m synctalk.provenance FILE``, or ``--signer`` in place of the file. Whose marks and
signers count, and who signs, the environment says (``AVATAR_PROVENANCE__…``).
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
    """Verify the file given as the only argument, or check the signer."""
    try:
        provenance = provenance_from_environment()
        if sys.argv[1] == "--signer":
            provenance.signer().check()
            print(json.dumps({"result": None}))
        else:
            print(json.dumps({"result": asdict(verify(Path(sys.argv[1]), provenance))}))
    except SyncTalkError as error:
        problem = {"message": error.message, "reason": error.reason, "remedy": error.remedy}
        print(json.dumps({"error": problem}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
