"""What the tests of this folder share lies beside them, as programs too, which run in processes of their own."""

import os
import sys
from pathlib import Path

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read by triton when it is first imported: must come before that

sys.path.append(str(Path(__file__).parent))
