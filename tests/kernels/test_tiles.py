"""Targets, and what holds for every tiling whatever it costs."""

import subprocess
import sys

import pytest
from helpers import launch_grid
from hypothesis import given
from hypothesis import strategies as st

from cnndsl import targets, tiles

TARGETS = st.sampled_from(targets.TARGETS)
DTYPES = st.sampled_from(["fp32", "tf32", "fp16", "bf16"])
LARGEST = 1 << 20  # TRITON_MAX_TENSOR_NUMEL


def check(tiling: tiles.Tiling, *, target: targets.Target, dtype: str) -> None:
    sizes = [value for _, value in tiling.constants]
    assert all(size & (size - 1) == 0 for size in sizes)
    largest, second, *_ = sorted(sizes, reverse=True)
    assert largest * second <= LARGEST
    if target.kind != "interpreter" and len(sizes) == 3 and min(sizes) >= 16:  # a matrix product
        rows, columns, step = sizes
        stages = tiling.num_stages - (target.kind == "hip")  # there, one stage is in registers
        width = 2 if dtype in ("fp16", "bf16") else 4
        assert stages * (rows + columns) * step * width < target.shared_memory_bytes


@given(
    target=TARGETS,
    dtype=DTYPES,
    channels=st.integers(1, 2048),
    filters=st.integers(1, 4096),
    kernel=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    output=st.tuples(st.integers(1, 512), st.integers(1, 512)),
    batch=st.sampled_from([1, 16, 128]),
    groups=st.sampled_from([1, 2, 32]),
)
def test_conv2d_tiles_cover_the_output(target, dtype, channels, filters, kernel, output, batch, groups):
    filters *= groups
    tiling = tiles.conv2d(
        target,
        dtype,
        channels=channels,
        filters=filters,
        kernel=kernel,
        output=output,
        groups=groups,
        batch=batch,
    )
    check(tiling, target=target, dtype=dtype)
    blocks = dict(tiling.constants)
    for n in (1, 7):
        programs, group_axis = launch_grid(tiling, n)
        row_blocks, rest = divmod(programs, tiles.cdiv(filters // groups, blocks["BLOCK_K"]))
        assert (rest, group_axis) == (0, groups)
        rows = n * output[0] * output[1]
        assert rows <= row_blocks * blocks["BLOCK_NPQ"] < rows + blocks["BLOCK_NPQ"]


@given(
    target=st.sampled_from([t for t in targets.TARGETS if t.kind == "cuda"]),
    dtype=DTYPES,
    channels=st.integers(8, 256).map(lambda groups_of_8: groups_of_8 * 8),
    filters=st.integers(1, 512),
    size=st.integers(1, 112),
)
def test_a_thread_copies_16_bytes_of_filters_and_of_input(target, dtype, channels, filters, size):
    tiling = tiles.conv2d(target, dtype, channels=channels, filters=filters, kernel=(1, 1), output=(size, size))
    blocks = dict(tiling.constants)
    for side in ("BLOCK_NPQ", "BLOCK_K"):
        bytes_ = blocks[side] * blocks["BLOCK_CRS"] * tiles.ITEM_BYTES[dtype]
        assert bytes_ >= 16 * target.warp_size * tiling.num_warps


@given(
    target=TARGETS,
    dtype=DTYPES,
    features=st.integers(1, 30000),
    units=st.integers(1, 5000),
    batch=st.integers(1, 300),
)
def test_linear_tiles_cover_the_output(target, dtype, features, units, batch):
    plans = [tiles.linear]
    if tiles.linear_is_small(target, batch):
        plans.append(tiles.linear_small)
    for plan in plans:
        tiling = plan(target, dtype, features=features, units=units, batch=batch)
        check(tiling, target=target, dtype=dtype)
        blocks = dict(tiling.constants)
        for n in (1, 19):
            expected = tiles.cdiv(n, blocks["BLOCK_N"]) * tiles.cdiv(units, blocks["BLOCK_K"])
            assert launch_grid(tiling, n) == (expected,)


@given(
    target=TARGETS,
    dtype=DTYPES,
    filters=st.integers(1, 3000),
    output=st.tuples(st.integers(1, 512), st.integers(1, 512)),
    batch=st.integers(1, 300),
)
def test_depthwise_tiles_cover_the_output(target, dtype, filters, output, batch):
    tiling = tiles.depthwise(target, dtype, filters=filters, output=output, batch=batch)
    check(tiling, target=target, dtype=dtype)
    blocks = dict(tiling.constants)
    rows = tiles.cdiv(5 * output[0] * output[1], blocks["BLOCK_NPQ"])
    assert launch_grid(tiling, 5) == (rows * tiles.cdiv(filters, blocks["BLOCK_K"]),)


def test_a_larger_batch_gets_larger_tiles_on_a_gpu():
    def area(batch: int) -> int:
        tiling = tiles.conv2d(
            targets.get("sm_90"),
            "fp16",
            channels=512,
            filters=512,
            kernel=(3, 3),
            output=(14, 14),
            batch=batch,
        )
        blocks = dict(tiling.constants)
        return blocks["BLOCK_NPQ"] * blocks["BLOCK_K"]

    assert area(1) < area(16) < area(128)


def test_interpreter_takes_a_whole_layer_of_vgg_at_once():
    """A thousand small programs would take minutes where one takes a third of a second."""
    tiling = tiles.conv2d(
        targets.get("interpreter"), "fp32", channels=256, filters=256, kernel=(3, 3), output=(56, 56)
    )
    assert launch_grid(tiling, 1) == (1, 1)
    assert dict(tiling.constants)["BLOCK_CRS"] == 256  # one tap of all channels at a time


@pytest.mark.parametrize("target", targets.TARGETS, ids=lambda target: target.name)
def test_targets_are_found_by_name(target):
    assert targets.get(target.name) is target


def test_unknown_target():
    with pytest.raises(
        ValueError, match=r"^unknown target 'sm_42'; known targets: interpreter, sm_80, .*gfx950$"
    ):
        targets.get("sm_42")


def test_targets_and_tiles_need_neither_torch_nor_triton():
    program = "import sys, cnndsl.tiles; print([m for m in ('torch', 'triton', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
