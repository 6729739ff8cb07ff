"""The net: what a change that keeps behaviour must not change, for every method.

    python scripts/net.py check                     compare tiny runs of every method with what was written down
    python scripts/net.py check "images ranpac"     only these cases
    python scripts/net.py record                    write down what is found now; explain why in the commit
    python scripts/net.py check --file F            with another file, such as one recorded here before a change
    python scripts/net.py check --keep DIR          leave the runs, to look at what differs

What is run, and what is compared where: tests/net/README.md.
"""

import os
import sys
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # before torch is imported: sums are then in one order
sys.path[:0] = [str(Path(__file__).parents[1] / part) for part in ("src", "tests")]

if __name__ == "__main__":
    from net.command import command

    sys.exit(command())
