"""``python FOLDER`` and, from the folder above, ``python -m NAME``."""

import importlib
import sys

sys.exit(importlib.import_module(f"{__package__}.main" if __package__ else "main").main())
