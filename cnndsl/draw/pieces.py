"""What the layout puts together: pieces with ports, from single boxes up to the whole network.

A layout knows two axes, whatever the drawing's direction: *main*, along which values flow, and *cross*. A piece is a
rectangle in which everything has its place. Values enter at its *heads*, on the edge where main is 0, and leave at
its *tails*, on the edge across; a value is called by the number of the box that makes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cnndsl.draw.diagram import Frame

Point = tuple[float, float]
"""Main, cross."""

Target = tuple[int, int]
"""Where a wire within a piece ends: the number of a child, and of its slot."""

OUT: Target = (-1, 0)
"""The end of a wire that leaves the piece."""

GAP = 14.0
"""Between the end of a piece and the arrow's tip at the next."""
LEAD = 7.0
"""Between the end of a piece and the first track of a channel."""
TRACK = 10.0
"""Between two tracks of a channel."""
ARROW = 13.0
"""Between the last track and an arrow's tip."""
PORT = 14.0
"""The least distance between two arrows into one box, and between two values side by side."""
MARGIN = 9.0
"""Between an arrow and the corner of its box."""
BESIDE = 26.0
"""Between two boxes side by side."""
ALONG = 16.0
"""Between a box and a value that passes by."""


@dataclass(slots=True)
class Piece:
    """A rectangle of size `main` x `cross`.

    A *leaf* is one box: `slots` are the values that enter it at its head, `sides` those that enter it from its side
    (value, slot, main), and `body` is its size along main without the room for its label. Any other piece has
    `children` with their places, and `wires`: for a value and an end, the points from where the value is made, or
    enters the piece, to that end. `lead` is the room between a piece's edge and the first arrow's tip within it.
    """

    main: float
    cross: float
    heads: dict[int, float] = field(default_factory=dict)
    tails: dict[int, float] = field(default_factory=dict)
    lead: float = 0.0
    box: int | None = None
    body: float = 0.0
    slots: tuple[tuple[int, int], ...] = ()
    sides: tuple[tuple[int, int, float], ...] = ()
    frame: Frame | None = None
    children: list[tuple[float, float, Piece]] = field(default_factory=list)
    wires: dict[tuple[int, Target], list[Point]] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether every value that enters has one head, at a place that is settled."""
        return self.box is None or (not self.sides and len(self.slots) <= 1)
