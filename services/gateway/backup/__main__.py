"""``python -m services.gateway.backup``; see :mod:`services.gateway.backup.command`."""

import sys

from services.gateway.backup.command import main

sys.exit(main())
