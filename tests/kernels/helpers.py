"""What the kernel tests share: tolerances, checks, deliberately wrong kernels."""

import importlib.util
import itertools
from pathlib import Path
from types import ModuleType

import torch

from cnndsl.tiles import Tiling, cdiv

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

# Relative error ||y - r|| / ||r|| against fp64 on the same (already rounded) inputs. Seen in the interpreter:
# fp32 and tf32 1e-7, fp16 2e-4, bf16 1.7e-3; tf32 differs on a GPU only.
TOLERANCES = {"fp32": 2e-6, "tf32": 1e-3, "fp16": 5e-4, "bf16": 4e-3}

_numbers = itertools.count()


def check_close(y: torch.Tensor, reference: torch.Tensor, dtype: str) -> None:
    """Hold the result `y` against the fp64 `reference` of the same shape; NaN anywhere fails."""
    error = ((y.double().cpu() - reference).norm() / reference.norm()).item()
    assert error < TOLERANCES[dtype], f"relative error {error}"


def check_special(y: torch.Tensor, reference: torch.Tensor, dtype: str) -> None:
    """As `check_close`, but NaN and infinities must stand exactly where they stand in the reference."""
    y = y.double().cpu()
    assert torch.equal(y.isnan(), reference.isnan())
    assert torch.equal(y.isposinf(), reference.isposinf())
    assert torch.equal(y.isneginf(), reference.isneginf())
    finite = reference.isfinite()
    assert finite.any()
    check_close(y[finite], reference[finite], dtype)


def launch_grid(tiling: Tiling, n: int) -> tuple[int, ...]:
    """Evaluate a tiling's grid for batch size `n`."""
    return tuple(eval(axis, {"cdiv": cdiv, "n": n}) for axis in tiling.grid)


def mutated(module: ModuleType, old: str, new: str, folder: Path) -> ModuleType:
    """Import a copy of a kernel module in which `old`, which must occur, is replaced by `new`."""
    source = Path(module.__file__).read_text()
    assert old in source
    number = next(_numbers)
    path = folder / f"mutant_{number}.py"
    path.write_text(source.replace(old, new))
    # A name inside the package, so that the kernel's relative imports find its siblings.
    spec = importlib.util.spec_from_file_location(f"cnndsl.kernels.mutant_{number}", path)
    mutant = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mutant)
    return mutant


def random_tensor(*shape: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Standard normal numbers, the same for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def inside_nan(x: torch.Tensor, *, margin: int = 3) -> torch.Tensor:
    """Return a view equal to `x`, in a buffer with `margin` NaN on both sides along every axis."""
    buffer = torch.full([size + 2 * margin for size in x.shape], float("nan"), dtype=x.dtype)
    view = buffer[tuple(slice(margin, margin + size) for size in x.shape)]
    view.copy_(x)
    return view
