"""docs/kernels.csv and docs/kernels.md say what the kernels of the examples compile to, and they compile well.

All 4,500 are compared by what decides them, their launches; a part of them by the digests of their texts too; a few
are compiled here, and their figures compared. `make gate` compiles all.
"""

import os
import re
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kernel_gate
import kernel_table as table
import pytest
from kernel_gate import Row, complaints, exceptions

from cnndsl.compiler import Compiled, compile_kernels

ROOT = Path(__file__).parent.parent
HELD = table.read_table(table.TABLE.read_text(encoding="utf-8"))
PAGE = table.PAGE.read_text(encoding="utf-8")

# The pinned version's figures stand on the page; others differ by a register here and there.
SAME_TRITON = f"as Triton {version('triton')} compiles it" in " ".join(PAGE.split())


def found(network: str, target: str, dtype: Any) -> list[Row]:
    return list(table.rows_of(network, target, dtype))


@cache
def held(target: str, dtype: str) -> dict[str, table.Entry]:
    """The lines of a target and a type, by the digest of the text."""
    return {e.text: e for e in HELD if (e.target, e.dtype) == (target, dtype)}


# --- fresh ----------------------------------------------------------------------------------------------------------


def test_the_page_sums_the_table_up_and_all_launches_are_as_it_says() -> None:
    """The page has a digest of each network's launches, on all targets."""
    expected = table.write_page(HELD)
    if not SAME_TRITON:
        expected = re.sub("as Triton .* compiles it", "as Triton compiles it", expected)
    assert expected == (PAGE if SAME_TRITON else re.sub("as Triton .* compiles it", "as Triton compiles it", PAGE)), (
        "run `make kernels`"
    )
    assert table.write_table(HELD) == table.TABLE.read_text(encoding="utf-8")


def test_the_table_holds_every_kernel_of_the_usual_target() -> None:
    """By its text, with the networks that have it."""
    rows = [
        (" ".join(r.networks), r.kernel.name, r.kernel.digest[:8], " ".join(exceptions(r)))
        for r in table.rows("sm_90", "fp16")
    ]
    lines = [(f"{e.network} {e.also}".strip(), e.kernel, e.text, e.exceptions) for e in held("sm_90", "fp16").values()]
    assert rows == lines, "run `make kernels`"


# Two networks for each of the others, such that together they have every kind of kernel. Of the second ones a kernel of
# each kind is compiled, too.
SAMPLE = {
    ("sm_80", "fp16"): ("lenet5", "densenet121"), ("sm_80", "fp32"): ("alexnet", "regnet_x_400mf"),
    ("sm_90", "fp32"): ("vgg16", "shufflenet_v1"), ("sm_100", "fp16"): ("googlenet_torchvision", "resnet18"),
    ("sm_100", "fp32"): ("zfnet", "squeezenet1_1"), ("gfx942", "fp16"): ("alexnet_paper", "mobilenet_v2"),
    ("gfx942", "fp32"): ("darknet19", "efficientnet_b0"),
}  # fmt: skip


@pytest.mark.parametrize(("target", "dtype"), SAMPLE)
def test_the_table_holds_kernels_of_other_targets(target: str, dtype: str) -> None:
    for network in SAMPLE[target, dtype]:
        for row in found(network, target, dtype):
            line = held(target, dtype).get(row.kernel.digest[:8])
            assert line is not None, f"{row.kernel.name}: run `make kernels`"
            assert network in (line.network, *line.also.split())


def test_every_kind_of_kernel_is_among_those() -> None:
    kinds = {r.kernel.function for (t, d), names in SAMPLE.items() for name in names for r in found(name, t, d)}
    assert kinds == {e.function for e in HELD}


def test_every_example_is_in_the_table() -> None:
    texts = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*.cnn")}
    networks = {name for name, text in texts.items() if re.search("^network ", text, re.MULTILINE)}
    assert set(table.examples()) == networks
    for target, dtype in table.COMBINATIONS:
        lines = held(target, dtype).values()
        assert {name for e in lines for name in (e.network, *e.also.split())} == networks


# --- a sample, compiled ---------------------------------------------------------------------------------------------


def sample(target: str, dtype: Any) -> list[Row]:
    """One kernel of each kind of a network, and all of a small one on the usual target."""
    if (target, dtype) == ("sm_90", "fp16"):
        rows, networks = found("lenet5", target, dtype), ["alexnet", "shufflenet_v1", "densenet121"]
    else:
        rows, networks = [], [SAMPLE[target, dtype][1]]
    for network in networks:
        # The last of a kind: the first ones are odd, they read a picture.
        rows += {row.kernel.function: row for row in found(network, target, dtype)}.values()
    return rows


@pytest.mark.skipif(not SAME_TRITON, reason="the table's figures are another Triton's")
@pytest.mark.parametrize(("target", "dtype"), table.COMBINATIONS)
def test_kernels_compile_to_what_the_table_says(target: str, dtype: str) -> None:
    rows = sample(target, dtype)
    workers = 1 if "PYTEST_XDIST_WORKER" in os.environ else None
    assert len(rows) >= 2
    for row, made in zip(rows, compile_kernels([r.job for r in rows], workers=workers), strict=True):
        assert list(complaints(row, made)) == []
        assert made.resources is not None
        line = held(target, dtype)[row.kernel.digest[:8]]
        here = replace(row, networks=(line.network, *line.also.split()))
        # Named as in the first network that has it.
        assert replace(table.entry(here, made.resources), kernel=line.kernel) == line, "run `make kernels`"


# --- each promise can be broken -------------------------------------------------------------------------------------


def row_of(network: str, name: str, *, target: str = "sm_90", dtype: str = "fp16") -> Row:
    return next(r for r in found(network, target, dtype) if r.kernel.name == name)


def complains(row: Row, made: Compiled, **changes: object) -> str:
    """What is said of a kernel's figures when some are others."""
    resources = made.resources
    assert resources is not None
    counts = {name: value for name, value in changes.items() if hasattr(resources.instructions, name)}
    other = {name: value for name, value in changes.items() if name not in counts}
    broken = replace(resources, **other, instructions=replace(resources.instructions, **counts))
    return "; ".join(complaints(row, replace(made, resources=broken)))


def test_the_gate_notices_what_it_is_for() -> None:
    row = row_of("alexnet", "conv2")
    (made,) = compile_kernels([row.job])
    assert complains(row, made) == ""
    assert exceptions(row) == ()
    assert re.match("spills", complains(row, made, stack=8))
    assert re.match("spills", complains(row, made, spill_stores=4))
    assert re.match("spills", complains(row, made, spill_loads=4))
    assert re.match("spills", complains(row, made, local=1))
    assert re.match(r"\d+ bytes of shared memory", complains(row, made, shared=228 * 1024))
    assert complains(row, made, programs=0).startswith("not one program fits")
    assert complains(row, made, matrix=0) == "no matrix instructions"
    narrow = ((4, 3),)
    assert complains(row, made, copy_widths=narrow, global_loads=narrow).startswith("no reads of 16 bytes")
    assert complains(row, made, copy_widths=((8, 3), (16, 3))).startswith("copies of")
    assert complains(row, made, global_loads=((2, 1), (16, 3))) == "reads value by value: [2, 16]"
    assert complains(row, made, global_stores=((8, 2),)).startswith("no writes of 16 bytes")
    assert next(complaints(row, replace(made, resources=None, error="no"))) == "does not compile: no"


@cache
def pretended(target: str) -> Compiled:
    """Figures that only `complains` changes: what kind of kernel they are of does not matter."""
    (made,) = compile_kernels([row_of("lenet5", "s4", target=target).job])
    return made


ONE_BY_ONE = {"global_stores": ((2, 1),)}


@pytest.mark.parametrize(
    ("network", "name", "target", "words", "wrong", "right"),
    [
        # 60 channels, in groups of 20: 8 bytes are the most that each allows.
        ("shufflenet_v1", "stage2_unit1_branch1_reduce", "sm_90", ("narrow",), {"global_stores": ((4, 1),)}, {}),
        ("shufflenet_v1", "stage2_unit1_branch1_depthwise", "sm_90", ("narrow",), {"global_loads": ((4, 9),)}, {}),
        # Weights that are read value by value beside wide reads of the input.
        ("mobilenet_v2", "features_7_conv_1_0", "sm_90", (), {"global_loads": ((2, 72), (16, 9))}, {}),
        ("densenet121", "features_denseblock1_denselayer2_norm1", "sm_90", (), {"global_loads": ((8, 2),)}, {}),
        ("lenet5", "s2", "sm_90", ("narrow",), {"global_loads": ((2, 16),)}, {"global_loads": ((4, 16),)}),
        ("alexnet", "conv1", "sm_90", ("picture",), {"matrix": 0}, {"global_loads": ((2, 32),)}),
        ("densenet121", "globalavgpool1", "sm_90", ("sums",), {"global_loads": ((8, 2),)}, ONE_BY_ONE),
        ("alexnet", "fc6", "sm_90", ("sums",), {"global_loads": ((8, 11),)}, ONE_BY_ONE),
        ("alexnet", "conv2", "gfx942", ("amd",), {"global_stores": ((4, 2),)}, {"global_stores": ((8, 2),)}),
        ("alexnet", "pool2", "gfx942", (), {"global_stores": ((8, 2),)}, {}),
    ],
)
def test_exceptions_are_no_wider_than_they_say(
    network: str, name: str, target: str, words: tuple[str, ...], wrong: dict[str, object], right: dict[str, object]
) -> None:
    row = row_of(network, name, target=target)
    wide = {"global_loads": ((16, 9),), "global_stores": ((16, 2),), "copy_widths": (), "matrix": 8}
    no_sass = replace(row, target=replace(row.target, name="no sass")) if target == "sm_90" else row
    assert exceptions(row) == words
    assert complains(no_sass, pretended(target), **(wide | right)) == ""
    assert complains(no_sass, pretended(target), **(wide | wrong)) != ""


def test_a_pointer_within_16_bytes_is_an_exception() -> None:
    row = row_of("alexnet", "pool2")
    assert exceptions(row) == ()
    parameters = tuple(replace(p, aligned=p.name != "x_ptr") for p in row.kernel.parameters)
    assert exceptions(replace(row, kernel=replace(row.kernel, parameters=parameters))) == ("narrow",)


def test_a_kernel_without_the_warps_for_it_fails() -> None:
    """One warp in place of four: 64 sums a thread and no warpgroup for HGMMA."""
    row = row_of("alexnet", "conv2")
    source = row.kernel.source.replace("num_warps=4", "num_warps=1")
    starved = replace(row, kernel=replace(row.kernel, num_warps=1, source=source))
    (made,) = compile_kernels([starved.job])
    assert "no HGMMA" in list(complaints(starved, made))


def test_a_digest_of_launches_sees_what_decides_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another warp, another name of a layer, a pointer that is aligned no more."""
    before = table.launches_digest("lenet5", "fp16")
    assert before == table.launches_digest("lenet5", "fp16") != table.launches_digest("lenet5", "fp32")
    plan = table.plan

    def changed(change: Any) -> str:
        def other(*args: Any, **settings: Any) -> Any:
            made = plan(*args, **settings)
            return replace(made, steps=(change(made.steps[0]), *made.steps[1:]))

        monkeypatch.setattr(table, "plan", other)
        return str(table.launches_digest("lenet5", "fp16"))

    def with_launch(step: Any, **changes: Any) -> Any:
        return replace(step, launches=(replace(step.launches[0], **changes),))

    def moved(step: Any) -> Any:
        arguments = [(n, f"{v}[4:]" if n == "y_ptr" else v) for n, v in step.launches[0].arguments]
        return with_launch(step, arguments=tuple(arguments))

    assert changed(lambda step: step) == before
    assert changed(lambda step: with_launch(step, num_warps=2)) != before
    assert changed(moved) != before


def test_a_table_is_read_as_it_was_written() -> None:
    assert table.read_table(table.write_table(HELD[:9])) == HELD[:9]
    assert kernel_gate.EXCEPTIONS.keys() >= {word for e in HELD for word in e.exceptions.split()}
