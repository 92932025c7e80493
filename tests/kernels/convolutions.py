"""Running the convolution kernels and their oracle on one description of a layer."""

import mmap
from dataclasses import dataclass, field
from typing import Any

import torch
from helpers import DTYPES, inside_nan, launch_grid, random_tensor
from torch.nn import functional

from cnndsl.tiles import Tiling, cdiv

ACTIVATIONS = {"none": lambda x: x, "relu": functional.relu, "silu": functional.silu}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution with bias, residual and activation, its data and its tiles."""

    n: int = 1
    channels: int = 5  # all groups together
    size: tuple[int, int] = (9, 7)
    filters: int = 6
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, bottom, left, right
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    bias: bool = True
    residual: bool = False
    scaled: bool = False
    pooled: bool = False
    act: str = "none"
    plain: int = 0  # filters that are not activated, the last ones
    dtype: str = "fp32"
    layout: str = "nhwc"
    wide_output: bool = False
    index64: bool = False
    blocks: tuple[tuple[str, int], ...] = field(default=())

    @property
    def acts(self) -> int:
        return self.filters - self.plain

    @property
    def output(self) -> tuple[int, int]:
        (h, w), (top, bottom, left, right) = self.size, self.pad
        return (
            (h + top + bottom - self.dilation[0] * (self.kernel[0] - 1) - 1) // self.stride[0] + 1,
            (w + left + right - self.dilation[1] * (self.kernel[1] - 1) - 1) // self.stride[1] + 1,
        )


@dataclass(frozen=True, kw_only=True)
class Data:
    x: torch.Tensor  # [n, C, H, W], any strides
    w: torch.Tensor  # [K, C / groups, R, S]
    b: torch.Tensor | None  # [K] fp32
    r: torch.Tensor | None  # [n, K, P, Q]
    s: torch.Tensor | None = None  # [n, C]


def make_data(layer: Layer, seed: int = 0) -> Data:
    dtype = DTYPES[layer.dtype]
    reduction = layer.channels // layer.groups * layer.kernel[0] * layer.kernel[1]
    x = random_tensor(layer.n, layer.channels, *layer.size, dtype=dtype, seed=seed)
    w = random_tensor(
        layer.filters, layer.channels // layer.groups, *layer.kernel, dtype=torch.float32, seed=seed + 1
    )
    return Data(
        x=x,
        w=(w / reduction**0.5).to(dtype),
        b=random_tensor(layer.filters, dtype=torch.float32, seed=seed + 2) if layer.bias else None,
        r=random_tensor(layer.n, layer.filters, *layer.output, dtype=dtype, seed=seed + 3)
        if layer.residual
        else None,
        s=random_tensor(layer.n, layer.channels, dtype=dtype, seed=seed + 4) if layer.scaled else None,
    )


def reference(layer: Layer, data: Data) -> torch.Tensor:
    """Compute the layer in fp64: [n, K, P, Q], or [n, K, 1, 1] where it is pooled.

    What is rounded: scaled inputs and averaged results, which are values of the network.
    """
    top, bottom, left, right = layer.pad
    x = data.x.double()
    if data.s is not None:
        x = (x * data.s.double()[:, :, None, None]).to(data.x.dtype).double()
    y = functional.conv2d(
        functional.pad(x, (left, right, top, bottom)),
        data.w.double(),
        data.b.double() if data.b is not None else None,
        stride=layer.stride,
        dilation=layer.dilation,
        groups=layer.groups,
    )
    if data.r is not None:
        y = y + data.r.double()
    first, rest = y.split([layer.acts, layer.filters - layer.acts], 1)
    y = torch.cat([ACTIVATIONS[layer.act](first), rest], 1)
    return y.to(data.x.dtype).double().mean((2, 3), keepdim=True) if layer.pooled else y


def arrange(x: torch.Tensor, layout: str) -> torch.Tensor:
    """Return the values of `x` [n, C, H, W] in memory as `layout` says; what lies around is NaN."""
    match layout:
        case "nchw":
            return x.contiguous()
        case "nhwc":
            return inside_nan(x.permute(0, 2, 3, 1), margin=0).permute(0, 3, 1, 2)
        case "slice":  # of the channels of a wider NHWC tensor, and of a larger picture
            return inside_nan(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        case "steps":  # every second element along every axis
            wide = torch.full([2 * size for size in x.shape], float("nan"), dtype=x.dtype)
            wide[::2, 1::2, ::2, 1::2] = x
            return wide[::2, 1::2, ::2, 1::2]
    raise AssertionError(layout)


def run(
    kernel: Any, layer: Layer, data: Data, *, device: str, tiling: Tiling | None = None, **changes: Any
) -> torch.Tensor:
    """Launch conv2d_kernel or depthwise_kernel and return [n, K, P, Q].

    The output is poisoned with NaN; what surrounds it must stay so. `changes` replaces kernel arguments.
    """
    dtype = DTYPES[layer.dtype]
    p, q = layer.output
    x = arrange(data.x, layer.layout).to(device)
    depthwise = "GROUPS" not in kernel.arg_names
    w = data.w.permute((2, 3, 0, 1) if depthwise else (0, 2, 3, 1)).contiguous().to(device)
    b = data.b.to(device) if data.b is not None else None
    r = arrange(data.r, "slice").to(device) if data.r is not None else None
    s = inside_nan(data.s).to(device) if data.s is not None else None
    margin = 3 if layer.wide_output else 0
    size = (1, 1) if layer.pooled else (p, q)
    buffer = torch.full((layer.n, *size, layer.filters + 2 * margin), float("nan"), dtype=dtype, device=device)
    y = buffer[..., margin : margin + layer.filters].permute(0, 3, 1, 2)
    arguments = {
        "x_ptr": x, "w_ptr": w, "b_ptr": b, "r_ptr": r, "s_ptr": s, "y_ptr": y, "n": layer.n,
        "s_sn": s.stride(0) if s is not None else 0, "HAS_SCALE": layer.scaled, "POOL": layer.pooled,
        "C": layer.channels // layer.groups, "H": layer.size[0], "W": layer.size[1],
        "K": layer.filters, "P": p, "Q": q, "R": layer.kernel[0], "S": layer.kernel[1],
        "STRIDE_H": layer.stride[0], "STRIDE_W": layer.stride[1],
        "PAD_TOP": layer.pad[0], "PAD_LEFT": layer.pad[2],
        "DILATION_H": layer.dilation[0], "DILATION_W": layer.dilation[1], "GROUPS": layer.groups,
        "HAS_BIAS": b is not None, "HAS_RESIDUAL": r is not None, "ACT": layer.act, "ACT_ARG": 0.0,
        "ACT_K": layer.acts,
        "PRECISION": "tf32" if layer.dtype == "tf32" else "ieee",
        "INDEX64": layer.index64, "EMULATE_BF16": layer.dtype == "bf16" and device == "cpu",
    }  # fmt: skip
    for name, tensor in (("x", x), ("y", y), ("r", r)):
        n_stride, c_stride, h_stride, w_stride = tensor.stride() if tensor is not None else (0, 0, 0, 0)
        arguments |= {f"{name}_sn": n_stride, f"{name}_sh": h_stride, f"{name}_sw": w_stride}
        if name == "x":
            arguments["x_sc"] = c_stride
    if depthwise:
        for name in ("GROUPS", "ACT_K", "PRECISION", "HAS_SCALE", "POOL", "s_ptr", "s_sn"):
            del arguments[name]
        arguments["C"] = layer.channels
    if tiling is not None:
        arguments |= dict(tiling.constants)
        grid = launch_grid(tiling, layer.n)
    else:
        blocks = dict(layer.blocks)
        arguments |= blocks
        programs = layer.n if layer.pooled else cdiv(layer.n * p * q, blocks["BLOCK_NPQ"])
        groups = layer.groups if "BLOCK_CRS" in blocks else 1
        grid = (programs * cdiv(layer.filters // groups, blocks["BLOCK_K"]), groups)
    kernel[grid](**arguments | changes)
    if margin:
        assert buffer[..., :margin].isnan().all()
        assert buffer[..., margin + layer.filters :].isnan().all()
    return y


def run_spread(kernel: Any, layer: Layer, data: Data, far: str, *, index64: bool) -> torch.Tensor:
    """Run in the interpreter with one stride ("x_sn", "y_sh" ...) so large that offsets pass 2^31."""
    name, axis = far.split("_")
    values = {"x": data.x, "y": torch.zeros(layer.n, layer.filters, *layer.output).half(), "r": data.r}[name]
    tensor = spread(values, axis)
    changes = {f"{name}_ptr": tensor} | dict(
        zip((f"{name}_sn", f"{name}_sc", f"{name}_sh", f"{name}_sw"), tensor.stride(), strict=True)
    )
    if name != "x":
        del changes[f"{name}_sc"]  # always 1
    y = run(kernel, layer, data, device="cpu", INDEX64=index64, **changes)
    return tensor if name == "y" else y


def spread(values: torch.Tensor, axis: str) -> torch.Tensor:
    """Return `values` [n, C, H, W] as NHWC, but with the last index of one axis 2^31 elements from the first.

    The memory is address space of which only the pages in use ever exist. It reaches as far to the left as to
    the right, so that an offset that wraps around at 32 bits reads zeros instead of crashing.
    """
    n, c, h, w = values.shape
    strides = {"sn": c * h * w, "sc": 1, "sh": w * c, "sw": c}
    sizes = {"sn": n, "sc": c, "sh": h, "sw": w}
    strides[axis] = 2**31 // (sizes[axis] - 1) + 1
    no_reserve = 0x4000  # MAP_NORESERVE of Linux, which Python 3.11 has no name for
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve
    memory = torch.frombuffer(mmap.mmap(-1, 2 * (2**32 + 2**20), flags=flags), dtype=values.dtype)
    return memory.as_strided(values.shape, tuple(strides.values()), 2**31).copy_(values)
