"""What the tests of this folder share lies beside them, as programs too, which run in processes of their own."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
