"""Colours for Python, Triton's IRs and assembly: only added, never a character changed, for a terminal alone."""

from __future__ import annotations

import re

_RESET = "\x1b[0m"
_STYLES = {
    "comment": "\x1b[2m",
    "string": "\x1b[32m",
    "keyword": "\x1b[1;34m",
    "value": "\x1b[36m",
    "place": "\x1b[35m",
    "number": "\x1b[33m",
    "added": "\x1b[32m",
    "removed": "\x1b[31m",
    "hunk": "\x1b[36m",
    "title": "\x1b[1m",
}
"""The sixteen colours that every terminal has, which its owner has chosen to be read on dark or light."""

_STRING = r'(?P<string>"(?:[^"\\\n]|\\.)*")'
_NUMBER = r"(?P<number>(?<![\w.%$])-?(?:0[xX][0-9a-fA-F]+|0[fd][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?!\w))"

_PYTHON_WORDS = (
    "and|as|assert|break|class|continue|def|del|elif|else|except|finally|for|from|global|if|import|in|is|lambda|not|or"
    "|pass|raise|return|try|while|with|None|True|False"
)

_GRAMMARS = {
    "python": (
        r'(?P<comment>\#[^\n]*)|(?P<string>"""(?:[^\\]|\\.)*?"""|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\')'
        rf"|(?P<place>^[ \t]*@[\w.]+)|(?P<keyword>\b(?:{_PYTHON_WORDS})\b)"
        rf"|(?P<value>\b(?:tl|triton|torch)\.[\w.]+)|{_NUMBER}"
    ),
    # MLIR: an operation is a word with a dot; values begin with %, blocks with ^, symbols with @ and attributes with #.
    "mlir": (
        rf"(?P<comment>//[^\n]*|\bloc\((?:[^()\n]|\([^()\n]*\))*\)|^\#loc\d*\b[^\n]*)|{_STRING}"
        r"|(?P<keyword>\b[a-z]\w*\.[a-z][\w.]*|\b(?:module|attributes|else|to|step|iter_args|return)\b)"
        rf"|(?P<value>%[\w.$-]+)|(?P<place>[\^@\#!][\w.$]+)|{_NUMBER}"
    ),
    "llvm": (
        rf"(?P<comment>;[^\n]*|,? ?!dbg !\d+)|{_STRING}"
        r"|(?P<keyword>\b(?:define|declare|target|source_filename|attributes|br|ret|call|tail|asm|sideeffect|phi|load"
        r"|store|getelementptr|inbounds|select|icmp|fcmp|extractvalue|insertvalue|extractelement|insertelement"
        r"|shufflevector|bitcast|addrspacecast|zext|sext|trunc|fpext|fptrunc|add|sub|mul|udiv|sdiv|urem|srem|and|or|xor"
        r"|shl|lshr|ashr|fadd|fsub|fmul|fdiv|fneg)\b)"
        rf"|(?P<value>%[\w.$-]+)|(?P<place>[@!\#][\w.$-]+|^[\w.$]+:)|{_NUMBER}"
    ),
    "ptx": (
        rf"(?P<comment>//[^\n]*|^[ \t]*\.(?:loc|file)\b[^\n]*)|{_STRING}"
        r"|(?P<place>^[ \t]*[$\w]+:|@!?%\w+|\$\w+)"
        r"|(?P<keyword>\b(?<![%.])[a-z]\w*(?:\.[\w:]+)+|\b(?:bra|ret|exit|trap)\b)"
        rf"|(?P<value>%[\w.]+)|(?P<title>(?<!\w)\.(?!loc)[a-z_]+\w*)|{_NUMBER}"
    ),
    "sass": (
        r"(?P<comment>//[^\n]*|^ +[0-9a-f]{4,}(?=  ))|(?P<place>^[ \t]*\.?[\w.$]+:|`\([^)\n]{0,99}\)|@!?U?P\w+)"
        r"|(?P<value>\b(?:U?R\d+|U?P\d|U?RZ|U?PT|SR_\w+|c\[)(?=\b|\.|\[|0))"
        rf"|(?P<keyword>\b[A-Z][A-Z0-9_]*[A-Z](?:\.[A-Za-z0-9_.]+)?\b|\b[A-Z][A-Z0-9]+(?:\.[A-Za-z0-9_.]+)*)|{_NUMBER}"
    ),
    "amdgcn": (
        rf"(?P<comment>;[^\n]*|//[^\n]*)|{_STRING}|(?P<place>^[ \t]*[\w.$]+:)"
        r"|(?P<keyword>\b(?:v|s|ds|global|buffer|flat|scratch)_[a-z]\w*)|(?P<value>\b[vsa](?:\d+\b|\[\d+:\d+\])|\b(?:vcc|exec|scc|m0)\b)"
        rf"|(?P<title>^[ \t]*\.[a-z]\w*)|{_NUMBER}"
    ),
}
_LANGUAGES = {"source": "python", "ttir": "mlir", "ttgir": "mlir", "llir": "llvm"}


def colored(text: str, stage: str) -> str:
    """The text of a stage with colours; without them, the same characters."""
    grammar = _GRAMMARS[_LANGUAGES.get(stage, stage)]
    return re.sub(grammar, _painted, text, flags=re.MULTILINE | (re.DOTALL if stage == "source" else 0))


def _painted(match: re.Match[str]) -> str:
    kind = match.lastgroup
    assert kind is not None
    # Each line by itself: a pager may begin in the middle.
    return "\n".join(painted(line, kind) for line in match[0].split("\n"))


def painted(text: str, style: str) -> str:
    """A piece of one line in a style."""
    return f"{_STYLES[style]}{text}{_RESET}" if text else text
