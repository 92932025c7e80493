"""What is raised when something that was given cannot be used."""

from __future__ import annotations


class Mistake(ValueError):
    """Something that was given cannot be used. `message` says what and why, and `help` what to do about it."""

    def __init__(self, message: str, *, help: tuple[str, ...] = ()) -> None:  # noqa: A002 - as it is printed
        super().__init__("\n".join([message, *(f"help: {line}" for line in help)]))
        self.message = message
        self.help = help


class Unreadable(Mistake):
    """A file that is missing, damaged, or of a kind that is not read."""


class Unfit(Mistake):
    """What was read, but does not fit the network."""


def reason_of(error: BaseException) -> str:
    """What an exception says, in one line of a message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
