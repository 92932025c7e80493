"""The record of one error code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Code:
    """One error code.

    `wrong` is a ``.cnn`` text that gives exactly this code and `right` the same without the mistake. Codes that no
    single text can give have a `message` instead: what is printed, shortened.
    """

    code: str
    title: str
    explanation: str
    wrong: str = ""
    right: str = ""
    message: str = ""

    @property
    def paragraphs(self) -> tuple[str, ...]:
        """The explanation, one text without line ends for each paragraph."""
        return tuple(" ".join(p.split()) for p in self.explanation.strip().split("\n\n"))


def network(*lines: str, input: str = "[32x32x3]", head: str = "network Net") -> str:  # noqa: A002 - the language's word
    """The text of a small network whose body, behind its input, is `lines`."""
    return "\n".join([f"{head} {{", f"    input image {input}", *(f"    {line}" for line in lines), "}", ""])
