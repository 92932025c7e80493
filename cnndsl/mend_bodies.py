"""Naming and mending slips in bodies: layers, labels, arms and keywords."""

from __future__ import annotations

from lark import Token

from cnndsl.cursor import Cursor
from cnndsl.errors import Span, did_you_mean
from cnndsl.mend_values import arguments, expression, input_shape, shape
from cnndsl.tokens import DEFINITIONS, KEYWORD_TYPES, placed, span_of

_VALUES = frozenset({"INT", "FLOAT", "DIMS", "STRING", "TRUE", "FALSE"})
_LABELS = frozenset({"NAME", "INT", "STRING"})
_LABELLED = frozenset((kind, "COLON") for kind in _LABELS)
_JOINS = frozenset({"add", "mul", "concat"})
_LOOPS = {"for": "repeat", "loop": "repeat", "times": "repeat", "while": "repeat"}


def misspelt(c: Cursor, *words: str) -> None:
    """Report a misspelt keyword and put the right one (or two, `else if`) in its place."""
    text = " ".join(words)
    c.error("E0105", f"`{c.token()}` is not a keyword", c.span(), hint=f"did you mean `{text}`?")
    c.tokens[c.at] = placed(words[-1].upper(), words[-1], c.token())
    for word in words[:-1]:
        c.insert(word.upper(), word)


def body(c: Cursor, owner: str) -> Span:
    """`{ ... }`: layers; where it ends."""
    c.take()
    empty, arrow = True, False
    while c.kind() != "RBRACE":
        if c.kind() == "ARROW":
            if arrow:
                c.error(
                    "E0113", "two `->` follow each other", c.span(),
                    hint="drop one, or write the layer between"
                )
                c.drop()
            elif empty:
                c.error(
                    "E0113", "nothing stands before this `->`", c.span(),
                    hint="the first layer takes the current tensor by itself",
                )
                c.drop()
            else:
                arrow = True
                c.take()
        elif c.kind() == "COMMA":
            c.error(
                "E0115", "layers are parted by `->` or a new line, not by a comma", c.span(),
                hint="write `->`"
            )
            c.drop()
        else:
            before = len(c.out)
            element(c, owner)
            if len(c.out) > before:
                empty, arrow = False, False
    if arrow:
        c.error("E0113", "nothing follows this `->`", span_of(c.source, c.out[-1]), hint="drop it")
        c.out.pop()
    return span_of(c.source, c.take())


def element(c: Cursor, owner: str) -> None:
    """One element of a body."""
    match c.kinds(2):
        case (kind, "COLON") if kind in _LABELS or kind in KEYWORD_TYPES:
            labelled(c)
        case (kind, "EQUAL") if kind == "NAME":
            labelled(c)
        case ("NAME", _):
            layer(c)
        case ("REF", following):
            c.take()
            if following == "LPAR" and c.on_same_line():
                c.error("E0106", "a reference takes no arguments", c.span())
                c.skip()
        case ("LSQB", _):
            shape(c)
        case ("INPUT", _):
            input_(c)
        case ("OUTPUT", _):
            output(c)
        case ("REPEAT", _):
            repeat(c)
        case ("IF", _):
            if_(c)
        case ("ELSE", _):
            stray_else(c)
        case (kind, _) if kind in DEFINITIONS:
            inner_definition(c, owner)
        case ("LBRACE", _):
            hint = "write label: { ... } for a group, repeat n { ... }, or add { { ... } { ... } } for arms"
            c.error("E0106", "a body in braces needs a label or a keyword in front", c.span(), hint=hint)
            c.insert("INT", "0")
            c.insert("COLON", ":")
            body(c, owner)
        case ("SCALE", _) if str(c.token()) in {"//", "/"}:
            c.error("E0115", "a comment begins with `#`", c.span())
            c.drop()
            while c.on_same_line() and c.kind() != "RBRACE":
                c.at = c.partner.get(c.at, c.at) + 1
        case _:
            c.error("E0106", f"expected a layer, found {c.found()}", c.span())
            placeholder(c)


def placeholder(c: Cursor) -> None:
    """Leave the rest of a layer out, and let something stand for it."""
    c.invent("NAME", "identity")
    c.skip_element()


def labelled(c: Cursor) -> None:
    """`label: layer`, `label: { ... }` or `label: repeat n { ... }`."""
    if c.kind() in KEYWORD_TYPES:
        c.keyword("a label")
    else:
        c.take()
    label = c.out[-1]
    if c.kind() == "EQUAL":
        c.error("E0115", "a label ends with a colon", c.span(), hint=f"write {label}: ...")
        c.take_as("COLON", ":")
    else:
        c.take()
    match c.kind():
        case "NAME" if c.kind(1) not in {"COLON", "EQUAL"}:
            layer(c)
        case "LBRACE":
            body(c, f"`{label}`")
        case "REPEAT":
            repeat(c)
        case "NAME" | "INT" | "STRING":
            c.error("E0106", "a layer has one label", c.span(), hint="drop one of the two")
            del c.out[-2:]
            c.sure = False
        case "RBRACE" | "ARROW" | "COMMA" | "":
            c.error("E0106", f"nothing follows the label `{label}`", c.span(-2).to(c.span(-1)))
            c.invent("NAME", "identity")
        case "LSQB" | "IF" | "INPUT" | "OUTPUT" | "REF":
            what = "a label names a layer, a group in braces or a repeat"
            c.error("E0106", f"{what}; found {c.found()}", c.span(), hint=f"drop `{label}:`")
            del c.out[-2:]
        case _:
            c.error("E0106", f"expected a layer behind `{label}:`, found {c.found()}", c.span())
            placeholder(c)


def layer(c: Cursor) -> None:
    """`name`, `name(...)`, `name { arms }`."""
    if misspelt_keyword(c):
        return
    name = c.take()
    if c.kind() == "LPAR":
        if c.kind(1) == "LBRACE":
            hint = f"write {name} {{ {{ ... }} {{ ... }} }}"
            c.error("E0115", "arms stand in braces, without parentheses", c.span(), hint=hint)
            c.skip()
            return
        arguments(c)
    elif c.kind() in _VALUES and c.on_same_line() and c.kinds(2) not in _LABELLED:
        without_parentheses(c, str(name))
    elif c.kind() == "DOT":
        c.error(
            "E0106", f"expected a layer, found {c.found()}", c.span(),
            hint="`@a.b` refers to a layer's output"
        )
        c.skip_element()
    if c.kind() == "LBRACE":
        arms(c, name)


def without_parentheses(c: Cursor, name: str) -> None:
    """`conv 96, 3x3`."""
    start = c.at
    c.insert("LPAR", "(")
    span = c.span()
    while c.kind() not in {"ARROW", "LSQB", "LBRACE", "RBRACE"}:
        span = span.to(c.span())
        c.at = c.partner.get(c.at, c.at) + 1
        if not c.on_same_line():
            break
    c.error("E0115", "arguments stand in parentheses", span, hint=f"write {name}({span.text})")
    c.out.extend([*c.tokens[start : start + 1], placed("RPAR", ")", c.tokens[start])])
    c.sure = False


def misspelt_keyword(c: Cursor, *, after_if: bool = False) -> bool:
    """`repaet 3 {` and its like: a name that is nearly a keyword, where only that keyword fits."""
    word = str(c.token())
    match c.kinds(3):
        case ("NAME", "INT", "LBRACE") | ("NAME", "DIMS", "LBRACE"):
            options: tuple[str, ...] = ("repeat",)
        case ("NAME", "NAME", "LBRACE") if c.on_same_line(1) and not arms_stand_here(c, ahead=2):
            options = ("repeat", "if", "output")
        # `inptu image [32x32x3]` reads as two layers and an assertion: see `cnndsl.passes.names`.
        case ("NAME", "NAME", "COMPARE" | "SIGN" | "SCALE" | "AND" | "OR" | "DOT") if c.on_same_line(1):
            options = ("if", "repeat")
        case ("NAME", "NOT" | "TRUE" | "FALSE", _):
            options = ("if",)
        case ("NAME", "LBRACE", _) if after_if and not arms_stand_here(c, ahead=1):
            options = ("else",)
        case _:
            return False
    if word in {"elif", "elsif", "elseif"} and after_if:
        misspelt(c, "else", "if")
        if_(c)
        return True
    guess = did_you_mean(word, options) or (_LOOPS.get(word.lower()) if "repeat" in options else None)
    if guess is None:
        return False
    misspelt(c, guess)
    match guess:
        case "repeat":
            repeat(c)
        case "if":
            if_(c)
        case "output":
            output(c)
        case "else":
            else_(c)
    return True


def arms(c: Cursor, name: Token) -> None:
    """`{ { ... } label: { ... } }` behind a join."""
    if not arms_stand_here(c):
        if str(name) in _JOINS:
            hint = f"write {name} {{ {{ ... }} {{ ... }} }}; an empty arm {{ }} is the tensor as it is"
            c.error("E0106", f"each arm of {name} stands in braces of its own", c.span(1), hint=hint)
        else:
            span = Span(c.source, span_of(c.source, name).end, span_of(c.source, name).end + 1)
            c.error("E0106", f"missing `:` behind the label `{name}`", span, hint=f"write {name}: {{ ... }}")
        c.insert("LBRACE", "{")
        body(c, f"`{name}`")
        c.insert("RBRACE", "}")
        c.sure = False
        return
    c.take()
    while c.kind() != "RBRACE":
        match c.kinds(2):
            case ("NAME" | "INT" | "STRING", "COLON"):
                c.take()
                c.take()
                if c.kind() != "LBRACE":
                    hint = "each arm stands in braces: label: { ... }"
                    c.error(
                        "E0106", f"expected the arm `{c.tokens[c.at - 2]}`, found {c.found()}", c.span(),
                        hint=hint
                    )
                    del c.out[-2:]
                    skip_to_arm(c)
            case ("LBRACE", _):
                body(c, f"{name}")
            case ("NAME", "LBRACE"):
                label = c.take()
                c.error(
                    "E0106", f"missing `:` behind the label `{label}`", c.gap(),
                    hint=f"write {label}: {{ ... }}"
                )
                c.insert("COLON", ":")
            case ("COMMA", _):
                c.error("E0115", "arms follow each other without commas", c.span(), hint="drop the comma")
                c.drop()
            case ("ARROW", _):
                c.error("E0113", "arms stand side by side: no `->` joins them", c.span(), hint="drop it")
                c.drop()
            case _:
                hint = "arms stand in braces each: { { ... } { ... } }"
                c.error("E0106", f"expected an arm of {name}, found {c.found()}", c.span(), hint=hint)
                skip_to_arm(c)
    c.take()


def arms_stand_here(c: Cursor, *, ahead: int = 0) -> bool:
    """Whether the braces that open here hold arms rather than layers."""
    match tuple(c.kind(ahead + n) for n in range(4)):
        case ("LBRACE", "LBRACE" | "RBRACE", _, _) | ("LBRACE", "NAME" | "INT" | "STRING", "COLON", "LBRACE"):
            return True
        case ("LBRACE", "NAME", "LBRACE", "LBRACE" | "RBRACE"):
            return False
        case ("LBRACE", "NAME", "LBRACE", _):
            return str(c.token(ahead + 1)) not in _JOINS
    return False


def skip_to_arm(c: Cursor) -> None:
    while c.kind() not in {"LBRACE", "RBRACE"} and c.kinds(2) not in _LABELLED:
        c.skip()



def braces(c: Cursor, what: str) -> None:
    """The body of a keyword's header."""
    if c.kind() == "LBRACE":
        body(c, what)
        return
    if c.kind() in {"", "RBRACE"} or not c.on_same_line():
        c.error("E0102", f"{what} has no body", c.gap(), label="expected `{`")
    else:
        c.error(
            "E0106", f"expected `{{`, found {c.found()}", c.span(), hint=f"{what} is followed by {{ ... }}"
        )
        while c.kind() not in {"LBRACE", "RBRACE", ""} and c.on_same_line():
            c.skip()
        if c.kind() == "LBRACE":
            body(c, what)
            return
    c.invent("LBRACE", "{")
    c.invent("RBRACE", "}")


def repeat(c: Cursor) -> None:
    c.take()
    if c.kind() == "LBRACE":
        c.error("E0106", "`repeat` needs a number of passes", c.span(-1), hint="write repeat 2 { ... }")
        c.invent("INT", "1")
    else:
        expression(c)
    braces(c, "`repeat`")


def if_(c: Cursor) -> None:
    c.take()
    if c.kind() == "LBRACE":
        c.error("E0106", "`if` needs a condition", c.span(-1), hint="write if stride != 1 { ... }")
        c.invent("TRUE", "true")
    else:
        expression(c, condition=True)
    braces(c, "`if`")
    if c.kind() == "NAME" and misspelt_keyword(c, after_if=True):
        return
    if c.kind() == "ELSE":
        else_(c)


def else_(c: Cursor) -> None:
    c.take()
    if c.kind() == "IF":
        if_(c)
    elif c.kind() == "LBRACE":
        body(c, "`else`")
    else:
        c.error("E0106", f"expected `{{` or `if` behind `else`, found {c.found()}", c.span())
        if c.on_same_line() and c.kind() not in {"RBRACE", "ARROW", ""}:
            c.insert("IF", "if")
            expression(c, condition=True)
        braces(c, "`else`")


def stray_else(c: Cursor) -> None:
    hint = "`else` stands directly behind the closing brace of an `if`"
    c.error("E0106", "this `else` belongs to no `if`", c.span(), hint=hint)
    for type_, text in (("IF", "if"), ("TRUE", "true"), ("LBRACE", "{"), ("RBRACE", "}")):
        c.invent(type_, text)
    else_(c)


def output(c: Cursor) -> None:
    c.take()
    if c.kind() == "NAME":
        c.take()
    elif c.kind() in KEYWORD_TYPES and c.kind(1) == "LBRACE":
        c.keyword("the name of an output")
    else:
        c.error("E0106", "this `output` has no name", c.span(-1), hint="write output aux { ... }")
        c.insert("NAME", "_unnamed")
    braces(c, "`output`")


def input_(c: Cursor) -> None:
    c.take()
    if c.kind() == "NAME":
        c.take()
    elif c.kind() in KEYWORD_TYPES and c.kind(1) in {"LSQB", "DIMS"}:
        c.keyword("the name of an input")
    else:
        c.error("E0106", "this `input` has no name", c.span(-1), hint="write input image [224x224x3]")
        c.insert("NAME", "_unnamed")
    input_shape(c)
    if c.kind() == "LPAR":
        arguments(c)


def inner_definition(c: Cursor, owner: str) -> None:
    what = str(c.token())
    hint = "move it to the top of the file" if what == "use" else "move it out of the braces"
    c.error("E0114", f"`{what}` stands at the top of a file, not inside {owner}", c.span(), hint=hint)
    c.skip()
    if c.kind() in {"NAME", "STRING"}:
        c.skip()
    if what != "use":
        for bracket in ("LPAR", "LBRACE"):
            if c.kind() == bracket:
                c.skip()
