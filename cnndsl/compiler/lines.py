"""From the lines of a compiled stage to the lines of the kernel's file that they come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Lines = list[int | None]


def source_lines(stage: str, text: str, file: str) -> Lines:
    """For each line of a stage's text, the line of the kernel's `file` that it comes from, counted from 1.

    stage  ttir, ttgir, llir, ptx, sass or amdgcn.
    file   as the stage calls it: "conv1.py".

    Of a function that was inlined it is the innermost line in the file: a helper's own where the helper stands in
    it, the call's where it belongs to Triton. None for lines that come from nowhere, as braces and labels do.
    """
    return _READERS[stage](text, file)


def without_locations(stage: str, text: str, file: str) -> tuple[str, Lines]:
    """The text without what only says where code comes from, and the source line of each line that is left."""
    kept: list[str] = []
    lines: Lines = []
    for line, number in zip(text.splitlines(), source_lines(stage, text, file), strict=True):
        if _ENDS[stage].match(line):
            break
        if not _NOISE[stage].match(line):
            kept.append(_DECORATION[stage].sub("", line))
            lines.append(number)
    while kept and not kept[-1].strip():
        kept.pop()
        lines.pop()
    return "\n".join(kept) + "\n", lines


_NEVER = re.compile(r"(?!)")
_NOISE = {
    "ttir": re.compile(r"#loc\d* = "),
    "ttgir": re.compile(r"#loc\d* = "),
    "llir": _NEVER,
    "ptx": re.compile(r"\s+(\.loc|\.file)\b|\$L__tmp\d+:|//$"),
    "sass": re.compile(r"\s*// "),
    "amdgcn": re.compile(r"\s+\.(loc|file|cfi_\w+)\b|\.Ltmp\d+:|\.Lfunc_\w+:"),
}
_DECORATION = {
    "ttir": re.compile(r" loc\((?:[^()]|\([^()]*\))*\)"),
    "ttgir": re.compile(r" loc\((?:[^()]|\([^()]*\))*\)"),
    "llir": re.compile(r",? !dbg !\d+"),
    "ptx": _NEVER,
    "sass": _NEVER,
    "amdgcn": _NEVER,
}
_ENDS = {
    "ttir": _NEVER,
    "ttgir": _NEVER,
    "llir": re.compile(r"!"),
    "ptx": re.compile(r"\s+\.(file|section)\b"),
    "sass": _NEVER,
    "amdgcn": re.compile(r"\s+\.section\s+\.debug"),
}


# --- MLIR -----------------------------------------------------------------------------------------------------------

_ALIAS = re.compile(r"#(loc\d*) = loc\((.*)\)$")
_FILE = re.compile(r'"([^"]*)":(\d+):\d+')
_TOKEN = re.compile(r'callsite\(|"[^"]*":\d+:\d+(?: to [^()\s]*)?|"[^"]*"\(|#loc\d*|\bat\b|unknown|[()]')


def _mlir(text: str, file: str) -> Lines:
    lines = text.splitlines()
    aliases = {found[1]: found[2] for line in lines if (found := _ALIAS.match(line))}
    known: dict[str, int | None] = {}

    def resolve(location: str) -> int | None:
        if location not in known:
            known[location] = None  # against a location that names itself
            known[location] = _innermost(location, file, lambda alias: resolve(aliases.get(alias, "")))
        return known[location]

    result: Lines = []
    opened: list[list[int]] = []
    for number, line in enumerate(lines):
        location = _last_location(line)
        at = resolve(location) if location is not None and not line.startswith("#loc") else None
        result.append(at)
        # An operation with regions has its location behind the last of them.
        closed = opened.pop() if line.lstrip().startswith("}") and opened else []
        if line.endswith("{"):
            opened.append([*closed, number])
        else:
            for start in closed:
                result[start] = result[start] or at
    return result


def _last_location(line: str) -> str | None:
    """What stands in the last ``loc(...)`` of a line."""
    start = line.rfind(" loc(")
    if start < 0:
        return None
    return line[start + 5 : line.rfind(")")]


def _innermost(location: str, file: str, resolve: Callable[[str], int | None]) -> int | None:
    """The first place in `file` among a location's parts, which stand from the innermost to the outermost."""
    for token in _TOKEN.findall(location):
        if token.startswith("#"):
            if (line := resolve(token[1:])) is not None:
                return line
        elif (found := _FILE.match(token)) and found[1] == file:
            return int(found[2]) or None
    return None


# --- LLVM's IR ------------------------------------------------------------------------------------------------------

_METADATA = re.compile(r"!(\d+) = (?:distinct )?!(DI\w+)\((.*)\)$")
_FIELD = re.compile(r'(\w+): (?:"([^"]*)"|!?(\w+))')
_ATTACHED = re.compile(r"!dbg !(\d+)")


def _llir(text: str, file: str) -> Lines:
    lines = text.splitlines()
    nodes: dict[str, Mapping[str, str]] = {}
    for line in lines:
        if found := _METADATA.match(line):
            nodes[found[1]] = {"kind": found[2]} | {name: a or b for name, a, b in _FIELD.findall(found[3])}

    def place(number: str | None) -> int | None:
        while number is not None and (node := nodes.get(number)) is not None:
            scope = node if node["kind"] == "DISubprogram" else nodes.get(node.get("scope", ""), {})
            if nodes.get(scope.get("file", ""), {}).get("filename") == file and node["line"] != "0":
                return int(node["line"])
            number = node.get("inlinedAt")
        return None

    attached = (None if line.startswith("!") else _ATTACHED.search(line) for line in lines)
    return [place(found[1]) if found is not None else None for found in attached]


# --- assembler ------------------------------------------------------------------------------------------------------

_FILE_ENTRY = re.compile(r'\s+\.file\s+(\d+)\s+"([^"]*)"(?:\s+"([^"]*)")?')
_LOC = re.compile(r"\s+\.loc\s+(\d+)\s+(\d+)\s+\d+[^/;]*(?:(?://|;)\s*(.*))?$")


def _assembler(text: str, file: str) -> Lines:
    """PTX and AMD's: a ``.loc`` is for all instructions up to the next; its comment has the calls that were inlined."""
    lines = text.splitlines()
    files = {found[1]: found[3] or found[2] for line in lines if (found := _FILE_ENTRY.match(line))}
    own = re.compile(rf"@\[ {re.escape(file)}:(\d+):\d+")
    result: Lines = []
    at: int | None = None
    for line in lines:
        if found := _LOC.match(line):
            if files.get(found[1]) == file:
                at = int(found[2]) or None
            else:
                called = own.search(found[3] or "")
                at = int(called[1]) if called is not None else None
            result.append(at)
        elif re.match(r"\s+\.(section|file|amdgpu_metadata|rodata|p2align)\b|\.Lfunc_end|\}", line):
            at = None
            result.append(None)
        else:
            is_code = re.match(r"\s+[@{}a-z]", line) is not None
            result.append(at if is_code else None)
    return result


_MARKER = re.compile(r"\s*// (.*):(\d+)$")
_CODE = re.compile(r"\s+[0-9a-f]{4,}  ")


def _sass(text: str, file: str) -> Lines:
    """As `sass.readable` writes it."""
    result: Lines = []
    at: int | None = None
    for line in text.splitlines():
        if line.lstrip().startswith("//"):
            found = _MARKER.match(line)
            at = int(found[2]) if found is not None and found[1] == file else None
            result.append(at)
        elif _CODE.match(line):
            result.append(at)
        else:
            if not line.startswith(".L"):
                at = None
            result.append(None)
    return result


_READERS: Mapping[str, Callable[[str, str], Lines]] = {
    "ttir": _mlir, "ttgir": _mlir, "llir": _llir, "ptx": _assembler, "sass": _sass, "amdgcn": _assembler,
}
