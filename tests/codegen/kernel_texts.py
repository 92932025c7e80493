"""Small kernel texts, specialised."""

import inspect
from typing import Any

from cnndsl.codegen.specialize import specialize

HEAD = "import triton\nimport triton.language as tl\n"


def specialized(text: str, *, kernel: str = "k", **known: Any) -> str:
    """A module of functions without their decorators, specialised; without the imports and decorators."""
    source = HEAD + inspect.cleandoc(text).replace("def ", "@triton.jit\ndef ")
    made = specialize({"m": source}, "m", kernel, known).text
    assert made.startswith(f"{HEAD}\n\n@triton.jit\ndef ")
    return made.removeprefix(HEAD).replace("@triton.jit\n", "").strip()


def check(before: str, after: str, **known: Any) -> None:
    assert specialized(before, **known) == inspect.cleandoc(after)
