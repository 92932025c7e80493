"""What the kernels without matrix products compile to, with the tiles of `tiles_simple`. Needs no GPU.

None of this says that they are fast: only that nothing known to be slow has crept in.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cnndsl import targets, tiles_simple

WORKER = Path(__file__).with_name("compile_worker.py")
ACT = {"ACT": "relu", "ACT_ARG": 0.0}


def request(
    module, kernel, target, tiling, *, x, y, dtype="fp16", channel_stride=1, pointers=(), inputs=("x_ptr",), **constants
):
    """A request of `compile_worker` for contiguous NHWC tensors x and y of shape (h, w, c) and batch 16."""
    integers = {"n": 16}
    for name, (h, w, c) in {"x": x, "y": y, **dict.fromkeys(("x0", "x1", "x2", "x3", "r"), x)}.items():
        integers |= {
            f"{name}_sn": h * w * c,
            f"{name}_sh": w * c,
            f"{name}_sw": c,
            f"{name}_sc": channel_stride,
        }
    return {
        "module": module,
        "kernel": kernel,
        "arch": targets.get(target).arch,
        "pointers": {**dict.fromkeys((*inputs, "y_ptr"), dtype), **dict.fromkeys(pointers, "fp32")},
        "integers": integers,
        "constants": {
            **dict(zip("HWC", x, strict=True)),
            "INDEX64": False,
            "EMULATE_BF16": False,
            **constants,
            **dict(tiling.constants),
        },
        "num_warps": tiling.num_warps,
        "num_stages": tiling.num_stages,
    }


def pool(target, mode, x, y, *, pad, dtype="fp16", **options):
    """A window of 3x3, step 2."""
    tiling = tiles_simple.pool2d(
        targets.get(target), dtype, channels=x[2], kernel=(3, 3), output=y[:2], batch=16
    )
    window = {"P": y[0], "Q": y[1], "R": 3, "S": 3, "STRIDE_H": 2, "STRIDE_W": 2}
    pads = dict.fromkeys(("PAD_TOP", "PAD_BOTTOM", "PAD_LEFT", "PAD_RIGHT"), pad)
    constants = {**window, **pads, **ACT, "MODE": mode, "COUNT_PAD": False}
    return request("pool2d", "pool2d_kernel", target, tiling, x=x, y=y, dtype=dtype, **(constants | options))


def global_pool(target, mode):
    x = (7, 7, 2048)
    tiling = tiles_simple.global_pool(targets.get(target), "fp16", channels=x[2], image=x[:2])
    return request("pool2d", "global_pool_kernel", target, tiling, x=x, y=(1, 1, 2048), **ACT, MODE=mode)


def adaptive(target):
    x, y = (13, 13, 256), (6, 6, 256)
    tiling = tiles_simple.adaptive_avg_pool2d(
        targets.get(target), "fp16", channels=x[2], output=y[:2], batch=16
    )
    return request("pool2d", "adaptive_avg_pool2d_kernel", target, tiling, x=x, y=y, **ACT, P=6, Q=6)


def lrn(target, *, dtype="fp16", **options):
    x = (27, 27, 96)
    tiling = tiles_simple.lrn(targets.get(target), dtype, channels=x[2], size=5, image=x[:2], batch=16)
    constants = {**ACT, "SIZE": 5, "ALPHA": 5e-4, "BETA": 0.75, "K": 2.0}
    return request("lrn", "lrn_kernel", target, tiling, x=x, y=x, dtype=dtype, **(constants | options))


def lrn_pool(target, first, *, batch=16, dtype="fp16", **options):
    """AlexNet's, with a window of 3x3, step 2."""
    x, y = (55, 55, 96), (27, 27, 96)
    tiling = tiles_simple.lrn_pool(
        targets.get(target), dtype, channels=x[2], size=5, kernel=(3, 3), output=y[:2], lrn_first=first == "lrn",
        batch=batch,
    )
    window = {"P": y[0], "Q": y[1], "R": 3, "S": 3, "STRIDE_H": 2, "STRIDE_W": 2, "PAD_TOP": 0, "PAD_LEFT": 0}
    constants = {**ACT, **window, "SIZE": 5, "ALPHA": 5e-4, "BETA": 0.75, "K": 2.0, "FIRST": first}
    return request("lrn_pool", "lrn_pool_kernel", target, tiling, x=x, y=y, dtype=dtype, **(constants | options))


def pointwise(target, kernel, pointers=(), **constants):
    x = (28, 28, 480)
    tiling = tiles_simple.pointwise(targets.get(target), "fp16", channels=x[2], image=x[:2], batch=16)
    return request("pointwise", kernel, target, tiling, x=x, y=x, pointers=pointers, **ACT, **constants)


def join(target, operands, residual=None, *, dtype="fp16", **constants):
    """Of maps; with "mul", the last operand is one pixel."""
    x = (28, 28, 480)
    tiling = tiles_simple.pointwise(targets.get(target), dtype, channels=x[2], image=x[:2], batch=16)
    inputs = [f"x{i}_ptr" for i in range(operands)] + ["r_ptr"] * (residual is not None)
    spread = {f"SPREAD_{i}": constants["OP"] == "mul" and i == operands - 1 for i in range(4)}
    constants |= {"COUNT": operands, "HAS_RESIDUAL": residual is not None, **spread, **ACT}
    absent = {name: None for name in ("x2_ptr", "x3_ptr", "r_ptr") if name not in inputs}
    made = request("pointwise", "join_kernel", target, tiling, x=x, y=x, dtype=dtype, inputs=inputs, **constants)
    made["pointers"] |= absent
    return made


def softmax(target, c):
    tiling = tiles_simple.softmax(targets.get(target), channels=c, batch=16)
    return request("softmax", "softmax_kernel", target, tiling, x=(1, 1, c), y=(1, 1, c))


def copy(target):
    x, y = (28, 28, 480), (30, 30, 480)
    tiling = tiles_simple.copy(targets.get(target), "fp16", channels=x[2], output=y[:2], batch=16)
    constants = {"P": 30, "Q": 30, "PAD_TOP": 1, "PAD_LEFT": 1, "VALUE": 0.0, "GROUPS": 1}
    return request("move", "copy_kernel", target, tiling, x=x, y=y, **constants)


def flatten(target):
    x = (6, 6, 256)
    tiling = tiles_simple.flatten(targets.get(target), channels=x[2], image=x[:2])
    return request("move", "flatten_kernel", target, tiling, x=x, y=(1, 1, 9216))


WIDE = {"LDG.E.128", "STG.E.128"}
# What a load or a store of one fp16 value is.
NARROW = {"LDG.E.U16", "STG.E.U16"}

# name: (request, what must be there, what must not)
CASES = {
    "alexnet pool1": (pool("sm_90", "max", (55, 55, 96), (27, 27, 96), pad=0), WIDE, NARROW),
    "resnet pool1 sm_80": (pool("sm_80", "max", (112, 112, 64), (56, 56, 64), pad=1), WIDE, NARROW),
    "average sm_80": (pool("sm_80", "avg", (28, 28, 480), (14, 14, 480), pad=1), WIDE, NARROW),
    # One value per channel leaves: 2048 of them against 100352 read.
    "resnet global average": (global_pool("sm_90", "avg"), {"LDG.E.128"}, {"LDG.E.U16"}),
    "adaptive average sm_80": (adaptive("sm_80"), WIDE, NARROW),
    "alexnet norm1": (lrn("sm_90"), WIDE, {*NARROW, "LDS", "SHFL"}),
    "alexnet norm1 fp32 sm_80": (lrn("sm_80", dtype="fp32"), WIDE, {"LDG.E", "STG.E", "LDS", "SHFL"}),
    # Of the groups on either side only the two channels are loaded that the window reaches.
    "alexnet norm1 and pool1": (lrn_pool("sm_90", "lrn"), {*WIDE, "LDG.E"}, {*NARROW, "LDG.E.64", "LDS", "SHFL"}),
    "alexnet norm1 and pool1, one picture": (lrn_pool("sm_90", "lrn", batch=1), WIDE, {*NARROW, "LDS", "SHFL"}),
    "alexnet norm1 and pool1 fp32 sm_80": (
        lrn_pool("sm_80", "lrn", dtype="fp32"), {*WIDE, "LDG.E.64"}, {"LDG.E", "STG.E", "LDS", "SHFL"},
    ),
    "alexnet pool1 and norm1": (lrn_pool("sm_90", "pool"), {*WIDE, "LDG.E"}, {*NARROW, "LDG.E.64", "LDS", "SHFL"}),
    "alexnet pool1 and norm1 fp32 sm_80": (
        lrn_pool("sm_80", "pool", dtype="fp32"), {*WIDE, "LDG.E.64"}, {"LDG.E", "STG.E", "LDS", "SHFL"},
    ),
    "batch norm": (
        pointwise("sm_90", "unary_kernel", ("scale_ptr", "shift_ptr"), HAS_AFFINE=True),
        WIDE,
        NARROW,
    ),
    "add": (join("sm_90", 2, OP="add"), WIDE, NARROW),
    "add of four, fp32 sm_80": (join("sm_80", 4, dtype="fp32", OP="add"), WIDE, {"LDG.E", "STG.E"}),
    "scale and residual": (join("sm_90", 2, "r", OP="mul"), WIDE, NARROW),
    "product of four and residual sm_80": (join("sm_80", 4, "r", OP="mul"), WIDE, NARROW),
    # Rows of 1000 start at multiples of 16 bytes, but Triton's launcher looks for 16 elements.
    "softmax": (softmax("sm_90", 1000), {"LDG.E.U16"}, {"LDG.E.128"}),
    "softmax of 1024": (softmax("sm_90", 1024), WIDE, NARROW),
    "pad sm_80": (copy("sm_80"), WIDE, NARROW),
    # 36 pixels of a channel are a multiple of 8 bytes, not of 16.
    "flatten": (flatten("sm_90"), {"LDG.E.128", "STG.E.64"}, NARROW),
}

# Kernels that must fail the checks, and how: they show that the checks can.
WRONG = {
    "channels that do not lie side by side": (
        pool("sm_90", "max", (55, 55, 96), (27, 27, 96), pad=0, channel_stride=2),
        WIDE,
        NARROW,
        {"missing LDG.E.128", "unwanted LDG.E.U16"},
    ),
    "more values than registers": (
        pool("sm_90", "avg", (55, 55, 96), (27, 27, 96), pad=0, dtype="fp32") | {"num_warps": 1},
        WIDE,
        NARROW,
        {"spills", "stack"},
    ),
}
WRONG["more values than registers"][0]["constants"] |= {"BLOCK_NPQ": 256, "UNROLL_R": 1, "UNROLL_S": 1}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The facts about every kernel above, compiled in two processes."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    requests = {name: case[0] for name, case in (CASES | WRONG).items()}

    def work(names):
        wanted = json.dumps([requests[name] for name in names])
        command = [sys.executable, WORKER]
        done = subprocess.run(
            command, input=wanted, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return dict(zip(names, json.loads(done.stdout), strict=True))

    names = list(requests)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(work, [names[::2], names[1::2]])
    return first | second


def complaints(wanted, unwanted, facts):
    present = set(facts["instructions"])
    present |= {name.split(".")[0] for name in present}
    return {
        *["stack"] * (facts["stack"] > 0),
        *["local memory"] * (facts["local"] > 0),
        *["spills"] * bool({"LDL", "STL"} & present),
        *(f"missing {name}" for name in wanted - present),
        *(f"unwanted {name}" for name in unwanted & present),
    }


@pytest.mark.parametrize("name", CASES)
def test_compiles_well(name, compiled):
    _, wanted, unwanted = CASES[name]
    assert complaints(wanted, unwanted, compiled[name]) == set()


@pytest.mark.parametrize("name", WRONG)
def test_slow_kernels_are_noticed(name, compiled):
    _, wanted, unwanted, expected = WRONG[name]
    assert expected <= complaints(wanted, unwanted, compiled[name])


def test_registers_leave_room_for_many_warps(compiled):
    """Where every tap is normalised, loading all nine at once would take 168 registers in fp32."""
    registers = {name: compiled[name]["registers"] for name in CASES if " and " in name}
    assert max(registers.values()) <= 80, registers
    assert compiled["alexnet norm1 and pool1 fp32 sm_80"]["registers"] <= 64


def test_a_maximum_of_16_bit_values_is_taken_two_at_a_time(compiled):
    """The kernel computes in fp32; the compiler sees that a maximum of widened values need not."""
    instructions = compiled["alexnet pool1"]["instructions"]
    assert any(name.startswith(("HMNMX2", "VHMNMX")) for name in instructions)
    assert not any(name.startswith("FMNMX") for name in instructions)
