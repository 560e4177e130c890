"""Makes the checkout's ``benchmarks``, which is never installed, importable."""

import sys
from pathlib import Path

# At the end, so that an installed twisted_lb stays the one under test.
sys.path.append(str(Path(__file__).parents[2]))
