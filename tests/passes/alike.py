"""Random networks around one tensor that several convolutions read, as texts: arms of concats and sums, and outputs."""

from __future__ import annotations

from hypothesis import strategies as st

WIDTHS = st.sampled_from((8, 8, 16, 24, 40, 3, 5, 12))
"""Filters: multiples of eight, behind which a vector can begin, and others."""


@st.composite
def branches(draw: st.DrawFn) -> str:
    """The body of a network: an input, mostly a layer, then convolutions side by side, and what reads them."""
    return _Writer(draw).body()


class _Writer:
    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.count = 0

    def label(self) -> str:
        self.count += 1
        return f"l{self.count}"

    def body(self) -> str:
        height, width = self.draw(st.sampled_from(((1, 1), (4, 5), (6, 6))))
        text = f"input x [{height}x{width}x{self.draw(st.sampled_from((3, 8)))}]\n"
        if self.draw(st.integers(0, 4)):
            text += f"{self.label()}: conv(8, 1) -> relu\n"
        for _ in range(self.draw(st.integers(1, 2))):
            label = self.label()
            text += f"{label}: relu\n"
            for _ in range(self.draw(st.integers(0, 2))):
                end = self.draw(st.sampled_from(("", "", " -> dense(4)")))
                text += f"output {self.label()} {{ @{label} {self.arm(1)}{end} }}\n"
            text += self.join(label, 0)
        if self.draw(st.booleans()):
            text += self.draw(st.sampled_from(("dense(3)", "globalavgpool -> dense(3)", "conv(3, 1)", "flatten")))
        return text

    def conv(self, filters: int | None = None) -> str:
        """A convolution that others may be like; `filters` None draws a number."""
        draw = self.draw
        words = [str(filters or draw(WIDTHS)), *draw(st.sampled_from((("1",), ("1",), ("1",), ("3", "pad=1"))))]
        words += [] if draw(st.booleans()) else ["bias=false"]
        norm = draw(st.sampled_from(("", "", " -> batchnorm")))
        return f"{self.label()}: conv({', '.join(words)}){norm}"

    def activation(self) -> str:
        return self.draw(st.sampled_from((" -> relu", " -> relu", "", " -> tanh")))

    def arm(self, depth: int) -> str:
        """One or two convolutions, or another layer, or a join."""
        kind = self.draw(st.sampled_from(("one", "one", "two", "two", "pool", "none", "join", "shared")))
        if kind == "pool":
            return f"maxpool(3, stride=1, pad=1) -> {self.conv()}{self.activation()}"
        if kind == "none":
            return ""
        if kind == "join" and depth < 3:
            label = self.label()
            return f"{label}: identity\n{self.join(label, depth)}"
        text = f"{self.conv()}{self.activation()}"
        if kind == "shared":
            # Its result has two readers.
            label = self.label()
            return f"{label}: {{ {text} }} concat {{ {{ conv(8, 3, pad=1) }} {{ {self.conv()} }} {{ @{label} }} }}"
        return f"{text} -> {self.conv()}{self.activation()}" if kind == "two" else text

    def join(self, label: str, depth: int) -> str:
        """A concat of arms, a sum of two, or two results of which one is an output; all read what `label` names."""
        kind = self.draw(st.sampled_from(("concat", "concat", "concat", "add", "add", "head")))
        if kind == "concat":
            arms = [self.arm(depth + 1) for _ in range(self.draw(st.integers(2, 5)))]
            return f"concat {{ {' '.join(f'{{ @{label} {arm} }}' for arm in arms)} }}\n"
        if kind == "add":
            filters = self.draw(WIDTHS)
            first = self.draw(st.sampled_from(("", f"{self.conv()}{self.activation()} -> "))) + self.conv(filters)
            arms = [first, self.conv(filters)][:: self.draw(st.sampled_from((1, -1)))]
            return f"add {{ {' '.join(f'{{ @{label} {arm} }}' for arm in arms)} }} {self.activation()[4:]}\n"
        return f"{self.conv()}{self.activation()} dense(4) @{label} {self.conv()}{self.activation()} lrn\n"
