"""`python -m softtf` is the `softtf` command."""

import sys

from softtf.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
