"""The check of an ejected kernel, on launches written in torch: what is right passes, each way to be wrong is named."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from kinds import all_facts, made, text_of

from cnndsl.tiles import DType

SLICE = """network T {{ input x [{size}x4x3] first: conv(4, 1x1)
    c: concat {{ {{ conv(2, 3x3, pad=1) }} {{ chosen: conv(3, 1x1) }} {{ conv(2, 3x3, pad=1) }} }} relu }}"""
Launch = Callable[..., None]


class File:
    """A file whose `launch` is one of torch's: `y` is what it should write, from the reference."""

    def __init__(self, text: str, layer: str, *, dtype: DType = "fp32") -> None:
        package = made(text, dtype=dtype)
        (facts,) = [f for f in all_facts(package) if layer in {n.name for n in f.step.group.computed}]
        self.space: dict[str, Any] = {"__name__": "check"}
        exec(text_of(package, facts), self.space)
        self.seen: list[int] = []

    def check(self, launch: Launch, n: int = 2) -> float:
        """The check of a launch that is given what to write, then all of its arguments by name."""

        def replaced(*given: Any) -> None:
            named = dict(zip(self.space["LAYER"]["launch"], given, strict=True))
            self.seen.append(named["n"])
            launch(self.expected.to(named["y"].dtype), **named)

        arguments = self.space["arguments"]

        def noted(*given: Any) -> Any:
            *inputs, _ = given
            self.expected = self.space["reference"](*(t.double() for t in inputs))
            return arguments(*given)

        self.space |= {"launch": replaced, "arguments": noted}  # the inputs go through here
        try:
            result: float = self.space["check"](n)
        finally:
            self.space["arguments"] = arguments
        return result

    def refusal(self, launch: Launch, n: int = 2) -> str:
        with pytest.raises(self.space["Wrong"]) as caught:
            self.check(launch, n)
        return str(caught.value)


def right(r: torch.Tensor, *, y: torch.Tensor, **_: Any) -> None:
    y.copy_(r)


@pytest.fixture(scope="module")
def slice_() -> File:
    """A convolution whose result is channels 2 to 4 of 7, on 5x4 pixels."""
    return File(SLICE.format(size=5), "chosen")


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_right(dtype: DType) -> None:
    file = File(SLICE.format(size=5), "chosen", dtype=dtype)
    assert file.check(right, 3) < {"fp32": 1e-7, "fp16": 1e-3, "bf16": 5e-3}[dtype]
    assert file.seen == [3]
    assert "values are far off" in file.refusal(lambda r, *, y, **_: y.copy_(1.05 * r))


def test_unwritten(slice_: File) -> None:
    def launch(r: torch.Tensor, *, y: torch.Tensor, **_: Any) -> None:
        y[:, :, :4] = r[:, :, :4]

    assert slice_.refusal(launch) == "it leaves 24 of 120 values unwritten: the first is y[0, 0, 4, 0]"


def memory(y: torch.Tensor) -> torch.Tensor:
    return torch.empty(0, dtype=y.dtype).set_(y.untyped_storage())


@pytest.mark.parametrize(("at", "where"), [
    (-1, "between its channels"), (-3, "in front of it"), (3, "between its channels"), (2 * 5 * 4 * 7 - 3,
    "between its channels"), (2 * 5 * 4 * 7 - 2, "behind it"), (2 * 5 * 4 * 7 + 60000, "behind it"),
    (-60000, "in front of it"),
])
def test_writing_elsewhere(slice_: File, at: int, where: str) -> None:
    """The tensor begins at the third value of its buffer."""

    def launch(r: torch.Tensor, *, y: torch.Tensor, **_: Any) -> None:
        y.copy_(r)
        memory(y)[y.storage_offset() + at] = 0.5

    assert slice_.refusal(launch) == f"it writes 1 values outside of y: {where}"


@pytest.mark.parametrize("name", ["x", "w", "b"])
def test_writing_what_it_reads(slice_: File, name: str) -> None:
    def launch(r: torch.Tensor, *, y: torch.Tensor, **given: Any) -> None:
        y.copy_(r)
        given[name].view(-1)[0].add_(1) if given[name].is_contiguous() else given[name][0, 0, 0, 0].add_(1)

    assert slice_.refusal(launch) == f"it writes into `{name}`, or beside it, which it may only read"

    def beside(r: torch.Tensor, *, y: torch.Tensor, **given: Any) -> None:
        y.copy_(r)
        memory(given[name])[given[name].storage_offset() - 1] = 0.5

    assert "it may only read" in slice_.refusal(beside)


@pytest.mark.parametrize(("name", "step"), [("x", -1), ("w", -1), ("b", 3), ("w", 12)])
def test_what_it_must_not_read_is_nan(slice_: File, name: str, step: int) -> None:
    def launch(r: torch.Tensor, *, y: torch.Tensor, **given: Any) -> None:
        t = given[name]
        y.copy_(r + 0 * memory(t)[t.storage_offset() + step].to(y.dtype))

    assert "its result is wrong: 120 of 120 values are far off; y[0, 0, 0, 0] is nan" in slice_.refusal(launch)


def test_one_value_of_many() -> None:
    """In the norm it does not show: of 600,000 values one that is twice what it should be changes 1.3e-3."""
    file = File("network T { input x [250x240x3] conv(5, 1x1) }", "conv1", dtype="fp16")

    def launch(r: torch.Tensor, *, y: torch.Tensor, **_: Any) -> None:
        y.copy_(r)
        y[1, 4, 249, 239] += r.std()

    said = file.refusal(launch)
    assert "its result is wrong: 1 of 600,000 values are far off; y[1, 4, 249, 239] is " in said
    assert float(said.split("relative error of all is ")[1].split(",")[0]) < file.space["TOLERANCE"]


def test_a_slightly_wrong_scale_shows() -> None:
    """In fp32, 3e-5 of all values; no single one is far off."""
    file = File("network T { input x [9x9x3] conv(5, 1x1) }", "conv1")
    assert "its result is wrong: 0 of " in file.refusal(lambda r, *, y, **_: y.copy_(r * 1.00003))


def test_pictures_are_compared_in_parts() -> None:
    """The wrong picture's number is counted from the first, not from the first of its part."""
    file = File("network T { input x [4x4x3] conv(5, 1x1) }", "conv1")
    file.space["PART"] = 240
    reference, sizes = file.space["reference"], []

    @functools.wraps(reference)
    def counted(*given: torch.Tensor) -> Any:
        sizes.append(len(given[0]))
        return reference(*given)

    file.space["reference"] = counted

    def launch(r: torch.Tensor, *, y: torch.Tensor, **_: Any) -> None:
        y.copy_(r)
        y[6, 1, 2, 3] += 5

    assert "y[6, 1, 2, 3] is" in file.refusal(launch, 7)
    assert sizes == [7, 3, 3, 1]  # all for the launch, then in parts


def test_few_values_are_drawn_often() -> None:
    """A sum of one value may be near 0, where its relative error is large."""
    file = File("network T { input x [40] dense(1) }", "dense1")
    file.check(right, 2)
    assert file.seen == [2] * 16 * 2  # in two layouts of the caller's
    big = File("network T { input x [40] dense(32) }", "dense1")
    big.check(right, 2)
    assert big.seen == [2] * 2


def test_layouts_of_the_caller() -> None:
    seen = []

    def launch(r: torch.Tensor, *, x: torch.Tensor, y: torch.Tensor, **given: Any) -> None:
        assert x.stride() == tuple(given[f"x_{axis}"] for axis in ("sn", "sc", "sh", "sw"))
        seen.append(x.stride())
        y.copy_(r)

    File("network T { input x [5x4x3] conv(2, 1) }", "conv1").check(launch)
    assert seen[0] == (60, 20, 4, 1)
    assert seen[1] == (60, 1, 12, 3)
    assert len(set(seen[2])) == 4
    assert 1 not in seen[2]


def test_wrong_for_one_layout() -> None:
    def launch(r: torch.Tensor, *, x: torch.Tensor, y: torch.Tensor, **_: Any) -> None:
        y.copy_(r if x.is_contiguous() else r + 1)

    assert "its result is wrong" in File("network T { input x [5x4x3] conv(2, 1) }", "conv1").refusal(launch)


def test_seeds_and_sizes_give_other_inputs(slice_: File) -> None:
    make = slice_.space["make_inputs"]
    assert torch.equal(make(2, seed=1)[0], make(2, seed=1)[0])
    assert not torch.equal(make(2, seed=1)[0], make(2, seed=2)[0])
    x = make(2)[0]
    assert x.shape == (2, 4, 5, 4)
    assert x.stride() == (80, 1, 16, 4)
    assert 2.4 < float(x.std()) < 3.6
