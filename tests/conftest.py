"""How all tests run: hypothesis without a clock, torch on one thread beside other workers, an own cache."""

import os
import shutil
import signal
import tempfile

import pytest
from hypothesis import settings

# Tests are never timed. The same examples for everybody, so that a failure is one's own change;
# HYPOTHESIS_PROFILE=search looks for new ones.
settings.register_profile("same", deadline=None, derandomize=True, max_examples=25)
settings.register_profile("search", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# Behind `&` in a script, a shell has interrupts ignored, and so would the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported, which is later


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --update-golden."""
    parser.addoption("--update-golden", action="store_true", help="write the expected outputs of tests/errors")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether expected outputs are to be written."""
    return bool(request.config.getoption("--update-golden"))


def pytest_configure(config: pytest.Config) -> None:
    """Compiled packages go into a folder of this run, and neither come from nor stay in the user's cache."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        config.stash[_CACHE] = os.environ["CNNDSL_CACHE"] = tempfile.mkdtemp(prefix="cnndsl-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove that folder; workers share the one of the process that started them."""
    if _CACHE in config.stash:
        shutil.rmtree(config.stash[_CACHE], ignore_errors=True)


_CACHE = pytest.StashKey[str]()
