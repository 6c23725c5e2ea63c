"""See `deploy.main`."""

import sys

from deploy.main import main

sys.exit(main())
