"""``python -m services.suite FOLDER``; see :mod:`services.suite.supervisor`."""

import sys

from services.suite.supervisor import main

sys.exit(main(sys.argv[1:]))
