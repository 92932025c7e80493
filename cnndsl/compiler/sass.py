"""Machine code of NVIDIA's GPUs for reading: without encodings, with the line of the kernel that each part is from."""

from __future__ import annotations

import re
from collections.abc import Sequence

PTX = ".nv_debug_ptx_txt"
"""What the disassembler calls the PTX that the code was assembled from."""

_PLACE = re.compile(r'\s*//## File "(.*)", line (\d+)')
_INSTRUCTION = re.compile(r"\s*/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;?\s*$")
_LABEL = re.compile(r"([\w.$]+):$")


def readable(disassembly: str, *, ptx_lines: Sequence[int | None], file: str) -> str:
    """What ``nvdisasm -c -g -gp`` prints, for people.

    Markers ``// conv1.py:24`` stand before the instructions that come from that line of the kernel's `file`, or
    from another file where no line of it is known. `ptx_lines` has the kernel's line for each line of the PTX, which
    knows more than the machine code: where an inlined function of another file was called.
    """
    lines: list[str] = []
    place: dict[bool, tuple[str, int]] = {}
    marked = ""
    for line in disassembly.splitlines():
        if found := _PLACE.match(line):
            place[found[1] == PTX] = (found[1], int(found[2]))
        elif found := _INSTRUCTION.match(line):
            marker = _marker(place, ptx_lines, file)
            if marker != marked:
                lines.append(f"    {marker}")
                marked = marker
            lines.append(f"        {found[1]}  {found[2]}")
        elif (found := _LABEL.match(line)) and not found[1].startswith(".text"):
            lines.append(line)
            place, marked = ({}, "") if not found[1].startswith(".L") else (place, marked)
    # The code is filled up to a multiple of 128 bytes.
    while lines and re.search(r"  NOP$|^\.L\w+:$", lines[-1]):
        lines.pop()
    return "\n".join(lines) + "\n"


def _marker(place: dict[bool, tuple[str, int]], ptx_lines: Sequence[int | None], file: str) -> str:
    _, number = place.get(True, ("", 0))
    line = ptx_lines[number - 1] if 1 <= number <= len(ptx_lines) else None
    name, own = place.get(False, ("", 0))
    if name == file:
        return f"// {file}:{own}"
    if line is not None:
        return f"// {file}:{line}"
    return f"// {name}:{own}" if name else "// unknown"
