"""What convolution and dense kernels compile to, with the tiles that `tiles` picks. Needs no GPU.

None of this says that they are fast: only that nothing known to be slow has crept in.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cnndsl import targets, tiles

ELEMENTS = {"fp32": "fp32", "tf32": "fp32", "fp16": "fp16", "bf16": "bf16"}
WORKER = Path(__file__).with_name("compile_worker.py")


def conv(
    target: str, channels: int, size: int, filters: int, kernel: int, *,
    stride: int = 1, pad: int = 0, dtype: str = "fp16", batch: int = 1,
    nchw: bool = False, residual: bool = False,
) -> dict[str, Any]:  # fmt: skip
    out = (size + 2 * pad - kernel) // stride + 1
    tiling = tiles.conv2d(
        targets.get(target), dtype, channels=channels, filters=filters, kernel=(kernel, kernel),
        output=(out, out), batch=batch,
    )  # fmt: skip
    constants = {
        "C": channels, "K": filters, "P": out, "Q": out, "R": kernel, "S": kernel, "GROUPS": 1,
        "ACT_K": filters, "PRECISION": "tf32" if dtype == "tf32" else "ieee", "HAS_SCALE": False, "POOL": False,
    }  # fmt: skip
    request = image_request(
        target, tiling, size=size, stride=stride, pad=pad, dtype=dtype, constants=constants
    )
    request |= {"module": "conv2d", "kernel": "conv2d_kernel"}
    request["pointers"]["s_ptr"] = None
    request["integers"] |= {"n": batch, "x_sn": channels * size * size, "s_sn": 0}
    if nchw:
        request["integers"] |= {"x_sh": size, "x_sw": 1, "x_sc": size * size}
    else:
        request["integers"] |= {"x_sh": size * channels, "x_sw": channels, "x_sc": 1}
    if residual:
        request["pointers"]["r_ptr"] = ELEMENTS[dtype]
        request["constants"]["HAS_RESIDUAL"] = True
    return request


def depthwise(target: str, channels: int, size: int, kernel: int) -> dict[str, Any]:
    tiling = tiles.depthwise(targets.get(target), "fp16", filters=channels, output=(size, size))
    constants = {"C": channels, "K": channels, "P": size, "Q": size, "R": kernel, "S": kernel}
    request = image_request(
        target, tiling, size=size, stride=1, pad=kernel // 2, dtype="fp16", constants=constants
    )
    request |= {"module": "depthwise", "kernel": "depthwise_kernel"}
    request["integers"] |= {
        "n": 1, "x_sn": channels * size * size, "x_sh": size * channels, "x_sw": channels, "x_sc": 1,
    }  # fmt: skip
    return request


def image_request(
    target: str,
    tiling: tiles.Tiling,
    *,
    size: int,
    stride: int,
    pad: int,
    dtype: str,
    constants: dict[str, Any],
) -> dict[str, Any]:
    row = constants["Q"] * constants["K"]
    return {
        "arch": targets.get(target).arch,
        "pointers": {
            "x_ptr": ELEMENTS[dtype], "w_ptr": ELEMENTS[dtype], "b_ptr": "fp32", "r_ptr": None,
            "y_ptr": ELEMENTS[dtype],
        },
        "integers": {
            f"{name}_{axis}": step
            for name in ("y", "r")
            for axis, step in (("sn", constants["P"] * row), ("sh", row), ("sw", constants["K"]))
        },
        "constants": {
            "H": size, "W": size, "STRIDE_H": stride, "STRIDE_W": stride, "PAD_TOP": pad, "PAD_LEFT": pad,
            "DILATION_H": 1, "DILATION_W": 1, "HAS_BIAS": True, "HAS_RESIDUAL": False, "ACT": "relu",
            "ACT_ARG": 0.0, "INDEX64": False, "EMULATE_BF16": False, **constants, **dict(tiling.constants),
        },
        "num_warps": tiling.num_warps,
        "num_stages": tiling.num_stages,
    }  # fmt: skip


def dense(target: str, features: int, units: int, batch: int) -> dict[str, Any]:
    small = tiles.linear_is_small(targets.get(target), batch)
    plan = tiles.linear_small if small else tiles.linear
    tiling = plan(targets.get(target), "fp16", features=features, units=units, batch=batch)
    return {
        "module": "linear",
        "kernel": "linear_small_kernel" if small else "linear_kernel",
        "arch": targets.get(target).arch,
        "pointers": {"x_ptr": "fp16", "w_ptr": "fp16", "b_ptr": "fp32", "r_ptr": None, "y_ptr": "fp16"},
        "integers": {"n": batch, "x_sn": features, "y_sn": units, "r_sn": units},
        "constants": {
            "F": features, "K": units, "HAS_BIAS": True, "HAS_RESIDUAL": False, "ACT": "relu", "ACT_ARG": 0.0,
            "INDEX64": False, "EMULATE_BF16": False, **dict(tiling.constants),
        } | ({} if small else {"PRECISION": "ieee"}),
        "num_warps": tiling.num_warps,
        "num_stages": tiling.num_stages,
    }  # fmt: skip


# name: (request, what must be there, what must not)
WIDE_COPIES = {"LDGSTS.E.BYPASS.128", "STG.E.128"}
NARROW = {"LDG.E.U16", "STG.E.U16", "LDGSTS.E", "LDGSTS.E.64", "STS.U16"}
CASES = {
    "vgg conv3_2 sm_90": (conv("sm_90", 256, 56, 256, 3, pad=1), {"HGMMA", *WIDE_COPIES}, NARROW),
    "vgg conv4_2 batch 64": (
        conv("sm_90", 512, 28, 512, 3, pad=1, batch=64), {"HGMMA", *WIDE_COPIES}, NARROW
    ),
    "alexnet conv2 sm_90": (conv("sm_90", 96, 27, 256, 5, pad=2), {"HGMMA", *WIDE_COPIES}, NARROW),
    "alexnet conv3 bf16": (
        conv("sm_90", 256, 13, 384, 3, pad=1, dtype="bf16"), {"HGMMA", *WIDE_COPIES}, NARROW
    ),
    # A single step of the reduction: there is no pipeline to copy for.
    "resnet expand": (
        conv("sm_90", 64, 56, 256, 1, residual=True), {"HGMMA", "LDG.E.128", "STG.E.128"}, NARROW
    ),
    "vgg conv3_2 tf32": (
        conv("sm_90", 256, 56, 256, 3, pad=1, dtype="tf32"), {"HGMMA", *WIDE_COPIES}, NARROW
    ),
    "vgg conv3_2 fp32": (
        conv("sm_90", 256, 56, 256, 3, pad=1, dtype="fp32"), {"FFMA", *WIDE_COPIES}, {*NARROW, "HGMMA"}
    ),
    "vgg conv3_2 sm_80": (conv("sm_80", 256, 56, 256, 3, pad=1), {"HMMA", *WIDE_COPIES}, NARROW),
    # A picture of three planes is gathered value by value; the results leave in full width all the same.
    "vgg conv1_1": (conv("sm_90", 3, 224, 64, 3, pad=1, nchw=True), {"HGMMA", "STG.E.128"}, {"STG.E.U16"}),
    "alexnet conv1": (
        conv("sm_90", 3, 227, 96, 11, stride=4, nchw=True), {"HGMMA", "STG.E.128"}, {"STG.E.U16"}
    ),
    "depthwise": (depthwise("sm_90", 96, 56, 3), {"LDG.E.128", "STG.E.128"}, {"LDG.E.U16", "STG.E.U16"}),
    # Eight results per program are stored two bytes at a time, against 64 KiB of weights read.
    "fc7 batch 1": (dense("sm_90", 4096, 4096, 1), {"LDG.E.128", "FFMA"}, {"LDSM.16.M88.4"}),
    "fc6 batch 16": (dense("sm_90", 9216, 4096, 16), {"HMMA", "LDGSTS.E.BYPASS.128"}, NARROW),
}  # fmt: skip


def with_unknown_channel_stride(request: dict[str, Any]) -> dict[str, Any]:
    return request | {"integers": request["integers"] | {"x_sc": 2}}


# Kernels that must fail the checks, and how: they show that the checks can.
WRONG = {
    "values one by one": (
        (with_unknown_channel_stride(conv("sm_90", 96, 27, 256, 5, pad=2)), WIDE_COPIES, NARROW),
        ["unwanted LDG.E.U16", "unwanted STS.U16"],
    ),
    "too many values at once": (
        (
            with_unknown_channel_stride(conv("sm_90", 256, 56, 256, 3, pad=1)) | {"num_warps": 4},
            WIDE_COPIES,
            NARROW,
        ),
        ["stack", "spills", "unwanted LDG.E.U16"],
    ),
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> dict[str, dict[str, Any]]:
    """The facts about every kernel above, compiled in two processes."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    everything = CASES | {name: case for name, (case, _) in WRONG.items()}

    def work(names: list[str]) -> dict[str, dict[str, Any]]:
        requests = json.dumps([everything[name][0] for name in names])
        done = subprocess.run(
            [sys.executable, WORKER],
            input=requests,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return dict(zip(names, json.loads(done.stdout), strict=True))

    names = list(everything)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(work, [names[::2], names[1::2]])
    return first | second


def complaints(case: tuple[dict[str, Any], set[str], set[str]], facts: dict[str, Any]) -> list[str]:
    request, wanted, unwanted = case
    (limit,) = (t.shared_memory_bytes for t in targets.TARGETS if t.arch == request["arch"])
    instructions = set(facts["instructions"])
    present = instructions | {name.split(".")[0] for name in instructions}
    return [
        *["stack"] * (facts["stack"] > 0),
        *["local memory"] * (facts["local"] > 0),
        *["shared memory"] * (facts["shared"] > limit - 1024),  # 1 KiB of it is the driver's on sm_90
        *["spills"] * bool({"LDL", "STL"} & present),
        *sorted(f"missing {name}" for name in wanted - present),
        *sorted(f"unwanted {name}" for name in unwanted & instructions),
    ]


@pytest.mark.parametrize("name", CASES)
def test_compiles_well(name, compiled):
    assert complaints(CASES[name], compiled[name]) == []


@pytest.mark.parametrize("name", WRONG)
def test_slow_kernels_are_noticed(name, compiled):
    case, expected = WRONG[name]
    assert set(expected) <= set(complaints(case, compiled[name]))


def test_missing_instructions_and_memory_are_noticed(compiled):
    request, _, _ = CASES["vgg conv3_2 fp32"]
    facts = compiled["vgg conv3_2 fp32"] | {"shared": 227 * 1024}
    assert complaints((request, {"HGMMA"}, set()), facts) == ["shared memory", "missing HGMMA"]
