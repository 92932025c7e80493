"""Random arguments for every kernel: sizes that do not fit together, absent pointers, strides known or not."""

import ast
from typing import Any

from hypothesis import strategies as st
from specialized import AMD, GPU, Case

from cnndsl.codegen.specialize import Known, kernel_sources

SIZES = st.sampled_from((1, 2, 3, 5, 8, 16, 31, 48, 64, 100, 227))
WINDOWS = st.sampled_from((1, 2, 3, 5))
STEPS = st.integers(1, 4)
PADS = st.integers(-2, 3)
TILES = st.sampled_from((16, 32, 64))
FLAGS = st.booleans()
ACTIVATIONS = (
    "none", "relu", "leaky_relu", "relu6", "elu", "gelu", "silu", "sigmoid", "tanh", "hardswish", "hardsigmoid",
)  # fmt: skip
STRIDES = (0, 1, 2, 3, 16, 4096, 50176)
FAR = (*STRIDES, 2**31 - 1, 2**31, 2**33 + 1)
NUMBERS = st.sampled_from((0.0, -0.0, 1.0, -1.0, 0.75, 1e-7, 3e38, float("inf"), float("-inf"), float("nan")))

CONSTANTS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("C", "H", "W", "K", "ACT_K", "P", "Q", "F"), SIZES),
    **dict.fromkeys(("R", "S"), WINDOWS),
    **dict.fromkeys(("STRIDE_H", "STRIDE_W", "DILATION_H", "DILATION_W", "GROUPS"), STEPS),
    **dict.fromkeys(("PAD_TOP", "PAD_BOTTOM", "PAD_LEFT", "PAD_RIGHT"), PADS),
    **dict.fromkeys(("HAS_BIAS", "HAS_RESIDUAL", "HAS_AFFINE", "COUNT_PAD", "INDEX64", "EMULATE_BF16"), FLAGS),
    **dict.fromkeys(("HAS_SCALE", "POOL"), FLAGS),
    **dict.fromkeys(("BLOCK_NPQ", "BLOCK_NHW", "BLOCK_HW", "BLOCK_N", "BLOCK_K", "BLOCK_C", "BLOCK_CRS"), TILES),
    "BLOCK_F": TILES,
    "ACT": st.sampled_from(ACTIVATIONS),
    "ACT_ARG": st.sampled_from((0.0, 0.01, 1.0, 1e-7)),
    "PRECISION": st.sampled_from(("ieee", "tf32")),
    "MODE": st.sampled_from(("max", "avg")),
    "OP": st.sampled_from(("add", "mul")),
    "COUNT": st.integers(2, 4),
    **dict.fromkeys(("SPREAD_0", "SPREAD_1", "SPREAD_2", "SPREAD_3"), FLAGS),
    "FIRST": st.sampled_from(("lrn", "pool")),
    "SIZE": st.sampled_from((1, 2, 3, 5, 8)),
    "ALPHA": st.sampled_from((0.0, 1e-4, 0.3, 2)),
    "BETA": st.sampled_from((0.75, 0.5, 1.0, 0.0, 0.6, 1)),
    "VALUE": NUMBERS,
    "VECTOR": st.sampled_from((4, 8)),
    "STEPS": st.integers(1, 3),
    "UNROLL": st.integers(1, 3),
    "UNROLL_R": st.integers(1, 3),
    "UNROLL_S": st.integers(1, 3),
}
OF_KERNELS: dict[tuple[str, str], st.SearchStrategy[Any]] = {
    ("linear_small_kernel", "BLOCK_N"): st.sampled_from((1, 2, 4)),
    ("lrn_kernel", "K"): st.sampled_from((2.0, 1, 0.5)),
    ("lrn_kernel", "SIZE"): st.sampled_from((1, 2, 3, 5, 9, 11, 20)),
    ("lrn_pool_kernel", "K"): st.sampled_from((2.0, 1, 0.5)),
}
FLAG_OF = {
    "b_ptr": "HAS_BIAS", "r_ptr": "HAS_RESIDUAL", "s_ptr": "HAS_SCALE", "scale_ptr": "HAS_AFFINE",
    "shift_ptr": "HAS_AFFINE",
}  # fmt: skip


def entry_kernels() -> dict[str, str]:
    """The module of every kernel that is launched, by its name."""
    return {
        node.name: module
        for module, text in kernel_sources().items()
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and node.name.endswith("_kernel")
    }


def parameters(module: str, kernel: str) -> dict[str, bool]:
    """The parameters of a kernel, in order, and whether each is a constant."""
    tree = ast.parse(kernel_sources()[module])
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == kernel)
    return {a.arg: a.annotation is not None for a in function.args.args}


@st.composite
def cases(draw: st.DrawFn, kernel: str, *, partial: bool) -> Case:
    """A kernel with random arguments; with `partial`, not all constants are known to the specialiser."""
    module = entry_kernels()[kernel]
    names = parameters(module, kernel)
    constants: dict[str, Known] = {
        name: draw(OF_KERNELS.get((kernel, name), CONSTANTS[name] if name in CONSTANTS else st.nothing()))
        for name, constexpr in names.items()
        if constexpr
    }
    known = dict(constants)
    for name, constexpr in names.items():
        if name.endswith("_ptr") and name in FLAG_OF and not constants.get(FLAG_OF[name], True):
            known[name] = None
        elif not constexpr and name != "n" and not name.endswith("_ptr") and draw(FLAGS):
            known[name] = draw(st.just(1) | st.sampled_from(FAR if constants["INDEX64"] else STRIDES))
    rest: dict[str, Known] = {}
    if partial:
        for name in draw(st.sets(st.sampled_from(sorted(constants)))):
            rest[name] = known.pop(name)
    element = draw(st.sampled_from(("fp16", "bf16", "fp32")))
    unaligned = frozenset(draw(st.sets(st.sampled_from(sorted(n for n, c in names.items() if not c)), max_size=3)))
    return Case(module, kernel, known, rest, element, unaligned, draw(st.sampled_from((GPU, GPU, AMD))))
