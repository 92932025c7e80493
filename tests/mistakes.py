"""What a user is told, for tests of what is refused."""

from collections.abc import Callable

import pytest

from cnndsl.errors import CnnError, Diagnostic


def mistakes(action: Callable[[], object]) -> tuple[Diagnostic, ...]:
    """The diagnostics of an action, which must raise them."""
    with pytest.raises(CnnError) as caught:
        action()
    return caught.value.diagnostics


def mistake(action: Callable[[], object]) -> Diagnostic:
    """The only one."""
    (only,) = mistakes(action)
    return only
