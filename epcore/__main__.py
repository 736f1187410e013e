"""`python -m epcore`."""

import sys

from epcore.cli import main

sys.exit(main())
