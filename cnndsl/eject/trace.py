"""A function of tensors as the lines of torch that a person would have written: what it calls is noted and printed."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from cnndsl.codegen.header import filled, wrapped

WIDTH = 110

_INFIX = {
    "add": "+", "__add__": "+", "__radd__": "+", "sub": "-", "__sub__": "-", "mul": "*", "__mul__": "*",
    "__rmul__": "*", "div": "/", "__truediv__": "/", "true_divide": "/",
}


_DEFAULTS = {"dilation": 1, "groups": 1, "padding": 0, "ceil_mode": False, "return_indices": False}
"""Of whatever function has such an argument, where Python does not tell."""


class UnknownCallError(Exception):
    """A function was called that cannot be printed."""


@dataclass(frozen=True)
class _Call:
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: torch.Tensor


_PRODUCTS = frozenset({"conv2d", "conv_transpose2d", "linear", "matmul", "__matmul__"})
_COPIES = frozenset({"contiguous", "flatten", "reshape", "clone"})
"""What is not computed, since it would take seconds or much memory: only the shape counts."""

_LARGE = 2**22
"""Values from which on copies are left out."""


def dummy(shape: Iterable[int], dtype: torch.dtype) -> torch.Tensor:
    """A tensor of zeros that takes no memory.

    Not one of the meta device: there torch's functions are Python that imports its compiler, for 3 seconds, and Triton.
    """
    return torch.zeros((), dtype=dtype).expand(tuple(shape))


class Recorder(TorchFunctionMode):
    """Notes each of torch's functions that is called under it, but not those that they call in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = _run(func, args, kwargs or {})
        if isinstance(result, torch.Tensor) and any(result is x for x in _tensors(args)):
            # What a function returns as it came has not changed: `flatten` of a vector, `float` of fp32.
            if func.__name__.endswith("_") and not func.__name__.endswith("__"):
                raise UnknownCallError(f"the function {func.__name__}, which changes its argument")
        elif isinstance(result, torch.Tensor):
            # Everything is kept, so that no two tensors have one id.
            self.calls.append(_Call(func, tuple(args), kwargs or {}, result))
        return result


def _run(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    name = getattr(func, "__name__", "")
    large = name in _COPIES and any(x.numel() >= _LARGE for x in _tensors(args))
    if name not in _PRODUCTS and not large:
        return func(*args, **kwargs)
    shapes = [x.to("meta") if isinstance(x, torch.Tensor) else x for x in args]
    result = func(*shapes, **{key: x.to("meta") if isinstance(x, torch.Tensor) else x for key, x in kwargs.items()})
    same = [x for x, shape in zip(args, shapes, strict=True) if shape is result]
    return same[0] if same else dummy(result.shape, result.dtype)


@dataclass(frozen=True)
class Stage:
    """A piece of a function: what to say above it, the calls that it made, its result, and a name for that."""

    comment: str | None
    calls: Sequence[_Call]
    result: torch.Tensor
    name: str = "y"


def program(names: Mapping[str, torch.Tensor], stages: Sequence[Stage]) -> list[str]:
    """The lines of a function's body whose parameters are `names`: the last stage's result is returned.

    Raises UnknownCallError for what is no function of torch's.
    """
    text = _Text({id(tensor): name for name, tensor in names.items()})
    text.taken.update(stage.name for stage in stages)
    lines: list[str] = []
    for number, stage in enumerate(stages):
        if stage.comment is not None:
            lines += [f"# {line}" for line in filled(stage.comment, indent=2, width=WIDTH - 2)]
        last = number == len(stages) - 1
        lines += text.stage(stage, "return " if last else f"{stage.name} = ")
    return lines


def tuple_program(
    names: Mapping[str, torch.Tensor], calls: Sequence[_Call], results: Sequence[tuple[torch.Tensor, str]]
) -> list[str]:
    """The lines of a function's body that returns several results, each with a method call such as ".float()" behind.

    Raises UnknownCallError.
    """
    text = _Text({id(tensor): name for name, tensor in names.items()})
    lines = text.lines(calls, Counter(id(result) for result, _ in results))
    values = [f"{text.operand(result)}{behind}" if behind else text.value(result) for result, behind in results]
    return [*lines, *wrapped("return ", [", ".join(values)], "", width=WIDTH)]


class _Text:
    def __init__(self, names: dict[int, str]) -> None:
        self.names = names
        self.taken = set(names.values()) | {"y"}
        self.sums: set[str] = set()

    def stage(self, stage: Stage, before: str) -> list[str]:
        """The lines of a stage, whose result follows `before`."""
        if not stage.calls or stage.calls[-1].result is not stage.result:
            return [f"{before}{self.value(stage.result)}"] if before == "return " else []
        *inner, last = stage.calls
        lines = [*self.lines(inner, Counter(map(id, _tensors((last.args, last.kwargs))))), *self.line(before, last)]
        self.names[id(stage.result)] = stage.name
        return lines

    def lines(self, calls: Sequence[_Call], later: Counter[int]) -> list[str]:
        """Assignments of what is used twice or would be long; all else stands where it is used.

        `later` counts the uses behind these calls.
        """
        uses = later + Counter(id(x) for call in calls for x in _tensors((call.args, call.kwargs)))
        lines: list[str] = []
        for call in calls:
            one, text = id(call.result), self.expression(call)
            if uses[one] > 1 or (uses[one] and len(text) > WIDTH // 2):
                name = self.fresh(call)
                lines += self.line(f"{name} = ", call)
                text = name
            self.names[one] = text
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
    known = dict(_DEFAULTS)
    with contextlib.suppress(ValueError):  # of a function written in C
        parameters = signature(function).parameters.values()
        known |= {p.name: p.default for p in parameters if p.default is not Parameter.empty}
    return {
        key: value for key, value in kwargs.items()
        if isinstance(value, torch.Tensor) or key not in known or value not in (known[key], (known[key],) * 2)
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
