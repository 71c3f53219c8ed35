"""The outside world on one laptop: stand-ins, real servers where a package brings them, and Airflow itself."""

import sys
from pathlib import Path

# The seed reads the catalogue with the product's own code.
sys.path.append(str(Path(__file__).resolve().parent.parent / "plugins"))
