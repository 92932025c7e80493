"""A specialised kernel and the generic one with the same constants are one to Triton: the same IR, without a GPU."""

import io
import tokenize
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_arguments import cases, entry_kernels, parameters
from sample_networks import EVERYTHING
from specialized import AMD, GPU, NETWORKS, Case, Compilers, case_of, distinct, launches, same

from cnndsl.tiles import DType

# Target, type, the type of its tensors, for which of Triton's backends, batch sizes that tiles are chosen for.
SETTINGS: tuple[tuple[str, DType, str, tuple[Any, ...], tuple[int, ...]], ...] = (
    ("sm_90", "fp16", "fp16", GPU, (1, 16)),
    ("sm_90", "fp32", "fp32", GPU, (1, 16) if EVERYTHING else (16,)),
    ("gfx942", "fp16", "fp16", AMD, (1, 16) if EVERYTHING else (16,)),
    ("interpreter", "bf16", "bf16", GPU, (1, 16) if EVERYTHING else (1,)),
)
# Matrix instructions multiply 16 values and more at once; the interpreter's tiles may be narrower.
MATRIX_STEP = 16
STEPS = ("BLOCK_CRS", "BLOCK_F")


def cases_of(network: str) -> list[Case]:
    """The kernels of an example network; of those that differ in sizes alone one, unless it is to be everything."""
    every = distinct([
        case_of(launch, element=element, target=gpu)
        for target, dtype, element, gpu, batches in SETTINGS
        for batch in batches
        for launch in launches(network, target, dtype, batch)
        if all(value >= MATRIX_STEP for name, value in launch.constants if name in STEPS)
    ])
    return every if EVERYTHING else list({kind_of(case): case for case in every}.values())


def kind_of(case: Case) -> str:
    """What decides which ways a kernel's text goes, as far as sizes do: ones, and multiples of 16."""
    kinds = {name: (v == 1, v % 16 == 0) if type(v) is int else v for name, v in case.known.items()}
    return repr((case.module, case.kernel, case.element, case.target, sorted(kinds.items(), key=lambda kind: kind[0])))


def check(cases: list[Case], compilers: Compilers) -> None:
    requests = [request for case in cases for request in case.requests()]
    answers = compilers(requests)
    for generic, special in zip(answers[::2], answers[1::2], strict=True):
        same(generic, special)


# Those that together have every kind of kernel; compiling the others' takes half a minute more.
QUICK = ("alexnet_paper", "efficientnet_b0", "lenet5", "resnet50", "shufflenet_v1", "zfnet")


@pytest.mark.parametrize("network", NETWORKS if EVERYTHING else QUICK)
def test_every_kernel_of_the_examples(network: str, compilers: Compilers) -> None:
    found = cases_of(network)
    assert found
    check(found, compilers)


@pytest.mark.parametrize("kernel", entry_kernels())
@settings(max_examples=settings.default.max_examples // 4)
@given(data=st.data())
def test_random_arguments(kernel: str, data: st.DataObject, compilers: Compilers) -> None:
    check([data.draw(cases(kernel, partial=False))], compilers)


@pytest.mark.parametrize("kernel", entry_kernels())
@settings(max_examples=settings.default.max_examples // 8)
@given(data=st.data())
def test_some_constants_stay_open(kernel: str, data: st.DataObject, compilers: Compilers) -> None:
    check([data.draw(cases(kernel, partial=True))], compilers)


# --- texts that differ in one word --------------------------------------------------------------------------

OPERATORS = {"+": "-", "-": "+", "*": "+", "//": "%", "%": "//", "<": "<=", ">=": ">", "+=": "-=", "&": "|"}


def mutants(text: str, *, every: int) -> list[tuple[str, str]]:
    """A text with one number, operator or axis changed; every so many of all that there are."""
    lines = text.splitlines(keepends=True)
    found = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NUMBER:
            new = str(int(token.string) + 1) if token.string.isdecimal() else f"(0.125 + {token.string})"
        elif token.type == tokenize.OP and token.string in OPERATORS:
            new = OPERATORS[token.string]
        else:
            continue
        (row, start), (_, end) = token.start, token.end
        line = lines[row - 1]
        changed = f"{line[:start]}{new}{line[end:]}"
        found.append((f"line {row}: {changed.strip()}", "".join([*lines[: row - 1], changed, *lines[row:]])))
    return found[::every]


SUBJECTS = (
    ("alexnet", "conv2d_kernel", 0), ("alexnet", "conv2d_kernel", 1), ("vgg16", "conv2d_kernel", 3),
    ("lenet5", "conv2d_kernel", 1), ("alexnet", "linear_kernel", 0), ("alexnet", "lrn_pool_kernel", 0),
    ("vgg16", "pool2d_kernel", 0), ("lenet5", "pool2d_kernel", 0),
)  # fmt: skip


@pytest.mark.parametrize(("network", "kernel", "number"), SUBJECTS)
def test_one_changed_word_is_noticed(network: str, kernel: str, number: int, compilers: Compilers) -> None:
    """Every fourth word; of all of them, those of one step's loops and of zeros alone make no other kernel."""
    found = [launch for launch in launches(network, "sm_90", "fp16", 16) if launch.kernel == kernel]
    generic, special = case_of(found[number], element="fp16").requests()
    mutated = mutants(special["text"], every=4)
    assert len(mutated) > 10
    right, *answers = compilers([generic, *({**special, "text": text} for _, text in mutated)])
    unnoticed = [place for (place, _), answer in zip(mutated, answers, strict=True) if answer.get("ir") == right["ir"]]
    assert not unnoticed
    with pytest.raises(AssertionError):
        same(right, answers[0])


def test_run_time_parameters_are_pointers_or_integers() -> None:
    """What the specialiser takes for granted: that any that is no pointer is an integer."""
    for kernel, module in entry_kernels().items():
        names = [name for name, constexpr in parameters(module, kernel).items() if not constexpr]
        assert all(n == "n" or n.endswith("_ptr") or n[-3:] in ("_sn", "_sh", "_sw", "_sc") for n in names)
