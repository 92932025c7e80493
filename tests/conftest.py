"""How all tests run: hypothesis without a clock, torch on one thread beside other workers."""

import os

from hypothesis import settings

# Tests are never timed. The same examples for everybody, so that a failure is one's own change;
# HYPOTHESIS_PROFILE=search looks for new ones.
settings.register_profile("same", deadline=None, derandomize=True, max_examples=25)
settings.register_profile("search", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported, which is later
