"""`python -m tests.campaign`, from the checkout."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from campaign.run import main  # as the tests call it

if __name__ == "__main__":  # processes that are started import this file too
    sys.exit(main())
