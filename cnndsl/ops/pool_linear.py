"""Global average pooling and a dense layer, or a convolution on one pixel, in one kernel: when that pays, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnndsl import tiles_pooled as tiles
from cnndsl.ops.fusion import Edge, Obstacle

if TYPE_CHECKING:
    from cnndsl.ops.binding import Constant, Launch, Site


def obstacle(units: int, edge: Edge) -> Obstacle | None:
    """Why a layer of so many units does not average what it reads itself; None where it does."""
    (x,) = edge.before
    if x.channels > tiles.MOST_CHANNELS:
        most = f"{tiles.MOST_CHANNELS:,}"
        return Obstacle("registers", f"the registers of {edge.reader} would hold the means of {most} channels at most")
    image, (batch, dtype) = (x.height, x.width), (edge.aim.batch, edge.aim.dtype)
    together = tiles.fused_ns(dtype, channels=x.channels, image=image, units=units, batch=batch)
    apart = tiles.apart_ns(dtype, channels=x.channels, image=image, units=units, batch=batch)
    if together < apart:
        return None
    return Obstacle(
        "read again",
        f"every program of {edge.reader} would read all that {edge.source} averages: expected are "
        f"{together / 1000:.1f} us for one kernel, {apart / 1000:.1f} us for two",
    )


def lower(site: Site, *, units: int, has_bias: bool) -> Launch:
    """y = act(w mean(x) + b + residual), with rows of weights as they lie."""
    (x,) = site.xs
    channels, image = x.type.channels, (x.type.height, x.type.width)
    constants: dict[str, Constant] = {
        "C": channels, "H": image[0], "W": image[1], "K": units, "HAS_BIAS": has_bias,
        "HAS_RESIDUAL": site.residual is not None, **site.epilogue(),
    }
    tiling = tiles.pool_linear(
        site.target, site.dtype, channels=channels, image=image, units=units, batch=site.batch
    )
    return site.launch(
        "pool_linear", "pool_linear_kernel", pointers=site.weighted_pointers(has_bias=has_bias), tiling=tiling,
        constants=constants, strided={"x": x, "y:1": site.y, "r:1": site.residual or site.y},
        weight_sizes=(units * channels,),
    )
