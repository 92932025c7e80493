"""Networks run on a GPU where there is one, and in Triton's interpreter where there is none."""

import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read by triton when it is first imported: must come before that
