"""From specialised kernels to PTX, SASS and figures, for any target, on a machine without a GPU.

Kernels are compiled by Triton in worker processes; this one imports neither triton nor torch.
"""

from cnndsl.compiler.job import Job
from cnndsl.compiler.resources import Instructions, Resources
from cnndsl.compiler.service import Compiled, available, compile_kernels, processors

__all__ = ["Compiled", "Instructions", "Job", "Resources", "available", "compile_kernels", "processors"]
