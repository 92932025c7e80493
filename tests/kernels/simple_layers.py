"""Runs the kernels without matrix products on torch tensors, tiled as the compiler tiles them.

Tensors are indexed [n, c, h, w], as torch does, whatever their strides. Every layer takes these keywords:

y          where to write; without it, into a new buffer full of NaN, and the result is returned
index64    offsets in 64 bits; by default with the interpreter's tiles only, so that both ways are tested
target     whose tiles to use: "interpreter" takes whole images, a GPU's are many small ones
overrides  constants in place of the right ones: that is how the tests make a kernel wrong
"""

import torch
from cnndsl.kernels.lrn import lrn_kernel
from cnndsl.kernels.lrn_pool import lrn_pool_kernel
from cnndsl.kernels.move import copy_kernel, flatten_kernel
from cnndsl.kernels.pointwise import join_kernel, unary_kernel
from cnndsl.kernels.pool2d import adaptive_avg_pool2d_kernel, global_pool_kernel, pool2d_kernel
from cnndsl.kernels.softmax import softmax_kernel
from helpers import launch_grid
from hypothesis import strategies as st

from cnndsl import targets
from cnndsl import tiles_simple as tiles

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TORCH_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items()}

# Of ||y - r|| / ||r||. Rounding once to 11 or 8 bits costs at most 4.9e-4 and 3.9e-3.
TOLERANCE = {torch.float32: 1e-6, torch.float16: 5e-4, torch.bfloat16: 4e-3}

target_names = st.sampled_from(("interpreter", "sm_90"))
dtypes = st.sampled_from(tuple(TORCH_DTYPES.values()))
layouts = st.sampled_from(("nchw", "channels_last", "strided"))
batches = st.sampled_from((1, 3))
seeds = st.integers(0, 2**16)

SPECIAL = (float("nan"), float("inf"), float("-inf"), -0.0, 0.0, 1.5, -2.0, 3.0)


def get(target):
    """Return the target of a name. On a GPU no registers would hold the interpreter's tiles: an A100's stand in."""
    return targets.get("sm_80" if (target, DEVICE) == ("interpreter", "cuda") else target)


def arrange(x, layout):
    """Return the values of `x` in memory as `layout` says; "strided" has gaps in every dimension."""
    if layout == "nchw":
        return x.contiguous()
    if layout == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    n, c, h, w = x.shape
    wide = torch.full((w + 1, n + 1, 2 * h, 3 * c), float("nan"), dtype=x.dtype, device=x.device)
    view = wide[1:, :n, ::2, 2::3].permute(1, 3, 2, 0)
    view.copy_(x)
    return view


def random_input(shape, *, dtype=torch.float32, layout="channels_last", seed=0):
    """Return normally distributed values."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return arrange(values.to(DEVICE), layout)


def special_input(shape, *, dtype=torch.float32, layout="channels_last", seed=0, values=SPECIAL):
    """Return values drawn from a few: NaN, infinities, both zeros and ordinary numbers."""
    indices = torch.randint(len(values), shape, generator=torch.Generator().manual_seed(seed))
    return arrange(torch.tensor(values)[indices].to(dtype).to(DEVICE), layout)


def huge(c, h, w, *, of="images"):
    """Return a tensor of NaN whose third image, or third channel, starts beyond 2^31 elements.

    Its storage takes address space, not memory, as only a few pages of it are touched. An offset that wraps
    around at 32 bits stays within it, so a kernel that gets this wrong gives a wrong result and does not
    crash.
    """
    big = 2**30 + 64
    storage = torch.empty(2**32 + 4096, dtype=torch.float16, device=DEVICE)
    if of == "images":
        x = storage.as_strided((3, c, h, w), (big, 1, w * c, c), 2**31)
    else:
        x = storage.as_strided((1, 3, h, w), (0, big, w, 1), 2**31)
    for part in x.flatten(0, 1) if of == "channels" else x:
        part.fill_(float("nan"))
    return x


def relative_error(y, reference):
    """Return ||y - reference|| / ||reference|| in fp64; inf where it is not finite."""
    reference = reference.cpu().double()
    error = (y.cpu().double() - reference).norm() / reference.norm()
    return float(error) if error.isfinite() else float("inf")


def close(y, reference):
    """Whether `y` differs from the fp64 reference by no more than rounding to its type explains.

    A sum that happens to cancel has a larger error: tests of sums compare 16 values or more.
    """
    assert y.shape == reference.shape
    if not reference.any():
        return not y.any()
    return relative_error(y, reference) < TOLERANCE[y.dtype]


def identical(y, reference, *, zero_signs=True):
    """Whether NaNs lie in the same places and all else is equal; with `zero_signs`, -0.0 differs from 0.0."""
    y = y.cpu()
    reference = reference.cpu().to(y.dtype)
    assert y.shape == reference.shape
    number = ~reference.isnan()
    if not torch.equal(~y.isnan(), number) or not torch.equal(y[number], reference[number]):
        return False
    return not zero_signs or torch.equal(y[number].signbit(), reference[number].signbit())


def run(kernel, tiling, inputs, shape, constants, *, parameters=(), y=None, index64=None, target, overrides):
    """Launch a kernel on `inputs` and an output of `shape`; see the module's docstring for the rest."""
    n, c = shape[:2]
    x = inputs[0]
    buffer, y = (None, y) if y is not None else empty(shape, x)
    strides = []
    for tensor in (*inputs, y):
        s_n, s_c, s_h, s_w = tensor.stride()
        strides += [s_n, s_h, s_w, s_c]
    assert strides.pop() == 1, "the output's channel stride is no argument"
    constants = {
        "C": x.shape[1],
        "H": x.shape[2],
        "W": x.shape[3],
        "INDEX64": target == "interpreter" if index64 is None else index64,
        "EMULATE_BF16": DEVICE == "cpu" and x.dtype == torch.bfloat16,
        **constants,
        **dict(tiling.constants),
        **(overrides or {}),
    }
    options = {"num_warps": tiling.num_warps, "num_stages": tiling.num_stages}
    kernel[launch_grid(tiling, n)](*inputs, *parameters, y, n, *strides, **constants, **options)
    check_border(buffer, c)
    return y.contiguous().cpu()


def empty(shape, like):
    """Return an output full of NaN, a slice of the channels of a wider buffer: the rest must stay as it is."""
    n, c, h, w = shape
    buffer = torch.full((n, h, w, c + 16), float("nan"), dtype=like.dtype, device=like.device)
    return buffer, buffer[..., 8 : 8 + c].permute(0, 3, 1, 2)


def check_border(buffer, c):
    if buffer is not None:
        assert buffer[..., :8].isnan().all()
        assert buffer[..., 8 + c :].isnan().all()


def pool2d(
    x,
    *,
    mode,
    kernel,
    stride,
    output,
    pads=(0, 0, 0, 0),
    count_pad=True,
    act=("none", 0.0),
    target="interpreter",
    overrides=None,
    **options,
):
    n, c = x.shape[:2]
    tiling = tiles.pool2d(get(target), NAMES[x.dtype], channels=c, kernel=kernel, output=output, batch=n)
    constants = {
        **dict(zip(("P", "Q"), output, strict=True)),
        **dict(zip(("R", "S"), kernel, strict=True)),
        **dict(zip(("STRIDE_H", "STRIDE_W"), stride, strict=True)),
        **dict(zip(("PAD_TOP", "PAD_BOTTOM", "PAD_LEFT", "PAD_RIGHT"), pads, strict=True)),
        **dict(zip(("ACT", "ACT_ARG"), act, strict=True)),
        "MODE": mode,
        "COUNT_PAD": count_pad,
    }
    options |= {"target": target, "overrides": overrides}
    return run(pool2d_kernel, tiling, (x,), (n, c, *output), constants, **options)


def global_pool(x, *, mode, act=("none", 0.0), target="interpreter", overrides=None, **options):
    n, c, h, w = x.shape
    tiling = tiles.global_pool(get(target), NAMES[x.dtype], channels=c, image=(h, w))
    constants = {"MODE": mode, "ACT": act[0], "ACT_ARG": act[1]}
    options |= {"target": target, "overrides": overrides}
    return run(global_pool_kernel, tiling, (x,), (n, c, 1, 1), constants, **options)


def adaptive_avg_pool2d(x, *, output, act=("none", 0.0), target="interpreter", overrides=None, **options):
    n, c = x.shape[:2]
    tiling = tiles.adaptive_avg_pool2d(get(target), NAMES[x.dtype], channels=c, output=output, batch=n)
    constants = {"P": output[0], "Q": output[1], "ACT": act[0], "ACT_ARG": act[1]}
    options |= {"target": target, "overrides": overrides}
    return run(adaptive_avg_pool2d_kernel, tiling, (x,), (n, c, *output), constants, **options)


def lrn(x, *, size, alpha, beta, k, act=("none", 0.0), target="interpreter", overrides=None, **options):
    n, c, h, w = x.shape
    tiling = tiles.lrn(get(target), NAMES[x.dtype], channels=c, size=size, image=(h, w), batch=n)
    constants = {"SIZE": size, "ALPHA": alpha, "BETA": beta, "K": k, "ACT": act[0], "ACT_ARG": act[1]}
    options |= {"target": target, "overrides": overrides}
    return run(lrn_kernel, tiling, (x,), x.shape, constants, **options)


def lrn_pool(
    x,
    *,
    first,
    size,
    alpha,
    beta,
    k,
    kernel,
    stride,
    output,
    pads=(0, 0),
    act=("none", 0.0),
    target="interpreter",
    overrides=None,
    **options,
):
    n, c = x.shape[:2]
    tiling = tiles.lrn_pool(
        get(target), NAMES[x.dtype], channels=c, size=size, kernel=kernel, output=output, lrn_first=first == "lrn",
        batch=n,
    )
    constants = {
        **dict(zip(("P", "Q"), output, strict=True)),
        **dict(zip(("R", "S"), kernel, strict=True)),
        **dict(zip(("STRIDE_H", "STRIDE_W"), stride, strict=True)),
        **dict(zip(("PAD_TOP", "PAD_LEFT"), pads, strict=True)),
        **dict(zip(("ACT", "ACT_ARG"), act, strict=True)),
        "SIZE": size,
        "ALPHA": alpha,
        "BETA": beta,
        "K": k,
        "FIRST": first,
    }
    options |= {"target": target, "overrides": overrides}
    return run(lrn_pool_kernel, tiling, (x,), (n, c, *output), constants, **options)


def unary(x, *, affine=None, act=("none", 0.0), target="interpreter", overrides=None, **options):
    n, c, h, w = x.shape
    tiling = tiles.pointwise(get(target), NAMES[x.dtype], channels=c, image=(h, w), batch=n)
    constants = {"HAS_AFFINE": affine is not None, "ACT": act[0], "ACT_ARG": act[1]}
    options |= {"target": target, "overrides": overrides, "parameters": affine or (None, None)}
    return run(unary_kernel, tiling, (x,), x.shape, constants, **options)


def join(*xs, op, residual=None, act=("none", 0.0), y=None, index64=None, target="interpreter", overrides=None):
    shape = torch.broadcast_shapes(*(x.shape for x in xs))
    n, c, h, w = shape
    tiling = tiles.pointwise(get(target), NAMES[xs[0].dtype], channels=c, image=(h, w), batch=n)
    buffer, y = (None, y) if y is not None else empty(shape, xs[0])
    named = {**{f"x{i}": xs[i] if i < len(xs) else None for i in range(4)}, "r": residual, "y": y}
    strides = {
        f"{name}_{axis}": x.stride()[i] if x is not None else 0
        for name, x in named.items()
        for axis, i in (("sn", 0), ("sh", 2), ("sw", 3), ("sc", 1))
        if (name, axis) not in {("y", "sc"), ("r", "sc")}
    }
    constants = {
        **dict(zip("CHW", (c, h, w), strict=True)),
        **{f"SPREAD_{i}": i < len(xs) and xs[i].shape != shape for i in range(4)},
        "OP": op, "COUNT": len(xs), "HAS_RESIDUAL": residual is not None, "ACT": act[0], "ACT_ARG": act[1],
        "INDEX64": target == "interpreter" if index64 is None else index64,
        "EMULATE_BF16": DEVICE == "cpu" and xs[0].dtype == torch.bfloat16,
        **dict(tiling.constants),
        **(overrides or {}),
    }  # fmt: skip
    pointers = {f"{name}_ptr": x for name, x in named.items()}
    options = {"num_warps": tiling.num_warps, "num_stages": tiling.num_stages}
    join_kernel[launch_grid(tiling, n)](**pointers, n=n, **strides, **constants, **options)
    check_border(buffer, c)
    return y.contiguous().cpu()


def softmax(x, *, target="interpreter", overrides=None, **options):
    n, c, h, w = x.shape
    tiling = tiles.softmax(get(target), channels=c, image=(h, w), batch=n)
    options |= {"target": target, "overrides": overrides}
    return run(softmax_kernel, tiling, (x,), x.shape, {}, **options)


def copy(x, *, pads=(0, 0, 0, 0), value=0.0, groups=1, target="interpreter", overrides=None, **options):
    n, c, h, w = x.shape
    output = h + pads[0] + pads[1], w + pads[2] + pads[3]
    tiling = tiles.copy(get(target), NAMES[x.dtype], channels=c, output=output, batch=n)
    constants = {
        **dict(zip(("P", "Q"), output, strict=True)),
        "PAD_TOP": pads[0],
        "PAD_LEFT": pads[2],
        "VALUE": value,
        "GROUPS": groups,
    }
    options |= {"target": target, "overrides": overrides}
    return run(copy_kernel, tiling, (x,), (n, c, *output), constants, **options)


def flatten(x, *, target="interpreter", overrides=None, **options):
    n, c, h, w = x.shape
    tiling = tiles.flatten(get(target), channels=c, image=(h, w))
    options |= {"target": target, "overrides": overrides}
    return run(flatten_kernel, tiling, (x,), (n, c * h * w, 1, 1), {}, **options)
