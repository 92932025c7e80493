"""A function of tensors as the lines of torch that a person would have written: what it calls is noted and printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from cnndsl.codegen.header import wrapped

WIDTH = 110

_INFIX = {
    "add": "+", "__add__": "+", "__radd__": "+", "sub": "-", "__sub__": "-", "mul": "*", "__mul__": "*",
    "__rmul__": "*", "div": "/", "__truediv__": "/", "true_divide": "/",
}


class UnknownCallError(Exception):
    """A function was called that cannot be printed."""


@dataclass(frozen=True)
class _Call:
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: torch.Tensor


class Recorder(TorchFunctionMode):
    """Notes each of torch's functions that is called under it, but not those that they call in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            # Everything is kept, so that no two tensors have one id.
            self.calls.append(_Call(func, tuple(args), kwargs or {}, result))
        return result


@dataclass(frozen=True)
class Stage:
    """A piece of a function: what to say above it, the calls that it made, and its result."""

    comment: str | None
    calls: Sequence[_Call]
    result: torch.Tensor


def program(names: Mapping[str, torch.Tensor], stages: Sequence[Stage]) -> list[str]:
    """The lines of a function's body whose parameters are `names`: the last stage's result is returned.

    Raises UnknownCallError for what is no function of torch's.
    """
    text = _Text({id(tensor): name for name, tensor in names.items()})
    lines: list[str] = []
    for number, stage in enumerate(stages):
        if stage.comment is not None:
            lines.append(f"# {stage.comment}")
        last = number == len(stages) - 1
        lines += text.stage(stage, "return " if last else "y = ")
    return lines


def expressions(
    names: Mapping[str, torch.Tensor], calls: Sequence[_Call], results: Iterable[torch.Tensor]
) -> list[str]:
    """Each of the results as one expression of `names`. Raises UnknownCallError."""
    text = _Text({id(tensor): name for name, tensor in names.items()})
    for call in calls:
        text.names[id(call.result)] = text.expression(call)
    return [text.names[id(result)] for result in results]


class _Text:
    def __init__(self, names: dict[int, str]) -> None:
        self.names = names
        self.taken = set(names.values()) | {"y"}
        self.sums: set[str] = set()

    def stage(self, stage: Stage, before: str) -> list[str]:
        """The lines of a stage, whose result follows `before`."""
        uses = Counter(id(x) for call in stage.calls for x in _tensors((call.args, call.kwargs)))
        lines: list[str] = []
        for call in stage.calls:
            one = id(call.result)
            if one == id(stage.result):
                lines += self.line(before, call)
            elif uses[one] == 1 and len(self.expression(call)) <= WIDTH // 2:
                self.names[one] = self.expression(call)
            elif uses[one]:
                name = self.fresh(call)
                lines += self.line(f"{name} = ", call)
                self.names[one] = name
        if before.startswith("return") and not any(line.startswith("return") for line in lines):
            lines.append(f"return {self.names[id(stage.result)]}")
        elif lines:
            self.names[id(stage.result)] = "y"
        return lines

    def fresh(self, call: _Call) -> str:
        """A new name for a result, after the function."""
        word = call.function.__name__.strip("_")
        name = next(n for i in range(10**6) if (n := f"{word}_{i}" if i else word) not in self.taken)
        self.taken.add(name)
        return name

    def line(self, before: str, call: _Call) -> list[str]:
        """An assignment, in several lines where one is too long."""
        whole = f"{before}{self.expression(call)}"
        head, arguments = self.parts(call)
        if len(whole) <= WIDTH or arguments is None:
            return [whole]
        return wrapped(f"{before}{head}(", arguments, ")", width=WIDTH)

    def expression(self, call: _Call) -> str:
        """A call in one line."""
        head, arguments = self.parts(call)
        return head if arguments is None else f"{head}({', '.join(arguments)})"

    def parts(self, call: _Call) -> tuple[str, list[str] | None]:
        """The called function and its arguments; None where no arguments are to be printed."""
        function, name = call.function, call.function.__name__
        if name == "__get__":
            return f"{self.operand(call.args[0])}.{function.__self__.__name__}", None  # type: ignore[attr-defined]
        is_method = getattr(torch.Tensor, name, None) is function
        if is_method and name in _INFIX and len(call.args) == 2 and not call.kwargs:
            left, right = call.args[::-1] if name.startswith("__r") else call.args
            return self.sum(f"{self.operand(left)} {_INFIX[name]} {self.operand(right)}"), None
        if is_method and name == "neg":
            return self.sum(f"-{self.operand(call.args[0])}"), None
        if is_method and name == "__getitem__":
            return f"{self.operand(call.args[0])}[{self.index(call.args[1])}]", None
        args, kwargs = call.args, _given(function, call.kwargs)
        if is_method:
            head, args = f"{self.operand(args[0])}.{name}", args[1:]
        else:
            head = _path(function)
        return head, [*map(self.value, args), *(f"{key}={self.value(value)}" for key, value in kwargs.items())]

    def sum(self, text: str) -> str:
        """A text that needs parentheses beside an operator or a dot."""
        self.sums.add(text)
        return text

    def operand(self, value: Any) -> str:
        """A value beside an operator or a dot."""
        text = self.value(value)
        return f"({text})" if text in self.sums else text

    def index(self, value: Any) -> str:
        """What stands in brackets behind a tensor."""
        if isinstance(value, tuple):
            return ", ".join(map(self.index, value))
        if isinstance(value, slice):
            ends = ["" if end is None else self.value(end) for end in (value.start, value.stop)]
            return ":".join([*ends, *([self.value(value.step)] if value.step is not None else [])])
        return "..." if value is Ellipsis else self.value(value)

    def value(self, value: Any) -> str:
        """Any argument."""
        match value:
            case torch.Tensor():
                return self.names[id(value)]
            case float() if value in {float("inf"), float("-inf")}:
                return f'float("{value}")'
            case None | bool() | int() | float() | str() | torch.dtype():
                return repr(value)
            case torch.Size() | tuple() | list():
                inside = ", ".join(map(self.value, value))
                if isinstance(value, list):
                    return f"[{inside}]"
                return f"({inside},)" if len(value) == 1 else f"({inside})"
        raise UnknownCallError(f"an argument {value!r}")


def _path(function: Callable[..., Any]) -> str:
    """A function of torch's as a program names it. Raises UnknownCallError."""
    name = getattr(function, "__name__", "")
    if getattr(functional, name, None) is function:
        return f"F.{name}"
    if getattr(torch, name, None) is function:
        return f"torch.{name}"
    raise UnknownCallError(f"the function {function!r}")


def _given(function: Callable[..., Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that differ from their defaults, as far as Python knows these."""
    try:
        known = {p.name: p.default for p in signature(function).parameters.values() if p.default is not Parameter.empty}
    except ValueError:  # of a function written in C
        known = {}
    return {
        key: value for key, value in kwargs.items()
        if isinstance(value, torch.Tensor) or key not in known or known[key] != value
    }


def _tensors(value: Any) -> Iterable[torch.Tensor]:
    """All tensors in nested arguments."""
    match value:
        case torch.Tensor():
            yield value
        case Mapping():
            for each in value.values():
                yield from _tensors(each)
        case tuple() | list():
            for each in value:
                yield from _tensors(each)
