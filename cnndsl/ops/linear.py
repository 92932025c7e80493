"""Matrix products of vectors: dense layers, and convolutions of 1x1 on one pixel. How they are launched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnndsl import tiles

if TYPE_CHECKING:
    from cnndsl.ops.binding import Constant, Launch, Site


def lower(site: Site, *, units: int, has_bias: bool) -> Launch:
    """y = act(w x + b + residual) for an input whose values lie side by side, with rows of weights as they lie."""
    (x,) = site.xs
    assert x.dense
    assert site.first is site.last is None
    constants: dict[str, Constant] = {
        "F": x.type.size, "K": units, "HAS_BIAS": has_bias, "HAS_RESIDUAL": site.residual is not None,
        **site.epilogue(),
    }
    choose, name = tiles.linear, "linear_kernel"
    if tiles.linear_is_small(site.target, site.batch):
        choose, name = tiles.linear_small, "linear_small_kernel"
    else:
        constants["PRECISION"] = site.precision
    return site.launch(
        "linear",
        name,
        pointers=site.weighted_pointers(has_bias=has_bias),
        tiling=choose(site.target, site.dtype, features=x.type.size, units=units, batch=site.batch),
        constants=constants,
        strided={"x:1": x, "y:1": site.y, "r:1": site.residual or site.y},
        weight_sizes=(units * x.type.size,),
    )
