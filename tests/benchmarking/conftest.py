"""The benchmarks stand beside src, outside of the package: their folder's parent must be importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
