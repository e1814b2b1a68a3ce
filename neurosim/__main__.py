"""``python -m neurosim`` is the command ``neurosim``."""

import sys

from neurosim.cli import main

if __name__ == "__main__":  # not in the processes that a study spawns
    sys.exit(main())
