"""Numbers as people read them."""

from __future__ import annotations


def grouped(number: int) -> str:
    """``62,378,344``."""
    return f"{number:,}"


def compact(number: int) -> str:
    """``3.2M``: at most four figures; thousands are K, as in the literature's tables."""
    return _scaled(number, 1000, ("", "K", "M", "G", "T", "P", "E"))


def binary(count: int) -> str:
    """``12.2 MiB``."""
    return _scaled(count, 1024, (" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"))


def counted(number: int, noun: str) -> str:
    """``1 error``, ``2 errors``, ``3 launches``."""
    ending = "" if number == 1 else "es" if noun.endswith("ch") else "s"
    return f"{number:,} {noun}{ending}"


def _scaled(number: int, step: int, units: tuple[str, ...]) -> str:
    scale, unit = 1, units[0]
    for unit in units:  # noqa: B007 - the unit that the loop ends with
        # Half a tenth below the next unit prints as that unit: 1.0 MiB, never 1024.0 KiB.
        if number < (step - 0.05) * scale:
            break
        scale *= step
    else:
        scale //= step
    return f"{number}{unit}" if scale == 1 else f"{number / scale:.1f}{unit}"
