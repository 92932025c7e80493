"""What GPUs can do at most, as their makers' data sheets say: for estimates, which are no measurements.

Rates are dense, without structured sparsity; matrix rates of 16-bit types with fp32 accumulation, at boost clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnndsl.targets import Target
from cnndsl.tiles import DType


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The peaks of the board that a target is named for.

    board      the product.
    bandwidth  of its memory, in bytes a second.
    vector     FLOP/s in fp32 without matrix units, two for each multiply-accumulate.
    matrix     FLOP/s of products of tiles by their type; a type is missing where the sheet has no figure for it.
    source     the document.
    """

    board: str
    bandwidth: float
    vector: float
    matrix: Mapping[DType, float]
    source: str

    def arithmetic(self, dtype: DType, *, tiles: bool) -> tuple[float, str] | None:
        """FLOP/s that a kernel could reach and the name of what computes it; None where there is no figure.

        `tiles` is whether the kernel multiplies tiles (``tl.dot``), which is what matrix units take.
        """
        if not tiles:
            return self.vector, "fp32 units"
        rate = self.matrix.get(dtype)
        if rate is None:
            return None
        return rate, "fp32 units" if rate == self.vector else f"matrix units in {dtype}"


def _peak(
    board: str, gigabytes: float, vector: float, *, half: float, tf32: float | None, fp32: float, source: str
) -> Peak:
    """Rates in TFLOP/s, bandwidth in GB/s. `fp32` is for products of tiles: matrix units have it on AMD's boards."""
    rates: dict[DType, float | None] = {"fp16": half, "bf16": half, "tf32": tf32, "fp32": fp32}
    matrix = {dtype: rate * 1e12 for dtype, rate in rates.items() if rate is not None}
    return Peak(board=board, bandwidth=gigabytes * 1e9, vector=vector * 1e12, matrix=matrix, source=source)


PEAKS: Mapping[str, Peak] = {
    "sm_80": _peak(
        "A100 80GB SXM", 2039, 19.5, half=312, tf32=156, fp32=19.5,
        source="NVIDIA A100 Tensor Core GPU datasheet",
    ),
    "sm_86": _peak(
        "GeForce RTX 3090", 936, 35.6, half=71, tf32=35.6, fp32=35.6,
        source="NVIDIA Ampere GA102 whitepaper",
    ),
    "sm_89": _peak(
        "GeForce RTX 4090", 1008, 82.6, half=165.2, tf32=82.6, fp32=82.6,
        source="NVIDIA Ada GPU architecture whitepaper",
    ),
    "sm_90": _peak(
        "H100 SXM5", 3350, 66.9, half=989.4, tf32=494.7, fp32=66.9,
        source="NVIDIA H100 Tensor Core GPU architecture whitepaper",
    ),
    "sm_100": _peak(
        "B200 in HGX B200", 7700, 75, half=2250, tf32=1100, fp32=75,
        source="NVIDIA Blackwell datasheet, HGX B200",
    ),
    "sm_120": _peak(
        "GeForce RTX 5090", 1792, 104.8, half=209.5, tf32=104.8, fp32=104.8,
        source="NVIDIA RTX Blackwell GPU architecture whitepaper",
    ),
    "gfx90a": _peak(
        "MI250, one of its two dies", 1638.4, 22.6, half=181, tf32=None, fp32=45.3,
        source="AMD Instinct MI250 data sheet, halved",
    ),
    "gfx942": _peak(
        "MI300X", 5300, 163.4, half=1307.4, tf32=653.7, fp32=163.4,
        source="AMD Instinct MI300X data sheet",
    ),
    "gfx950": _peak(
        "MI350X", 8000, 144.2, half=2300, tf32=None, fp32=144.2,
        source="AMD Instinct MI350X data sheet",
    ),
}  # fmt: skip
"""By the name of the target."""


def of(target: Target) -> Peak | None:
    """The peaks of a target; None for the interpreter, which runs on whatever CPU there is."""
    return PEAKS.get(target.name)
