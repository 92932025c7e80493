"""The steps of a layered drawing, each by itself."""

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from cnndsl.draw.layered import layered
from cnndsl.draw.order import order
from cnndsl.draw.pieces import OUT, PORT, Piece
from cnndsl.draw.place import Segment, place
from cnndsl.draw.route import SLANTED, STRAIGHT, Net, assign_tracks
from cnndsl.draw.series import series


def segment(upper: int, lower: int, rank: int = 0) -> Segment:
    return Segment(upper, lower, upper, 0, 5.0, 5.0, rank)


def test_order_undoes_crossings() -> None:
    """Three chains, given as if crossed: 0-5, 1-4, 2-3, and on to 8, 7, 6."""
    segments = [segment(0, 5), segment(1, 4), segment(2, 3), segment(3, 6), segment(4, 7), segment(5, 8)]
    found = order([[0, 1, 2], [3, 4, 5], [6, 7, 8]], segments, widths=[10.0] * 9, owner={}, rank=lambda v: (v,))
    assert found == [[0, 1, 2], [5, 4, 3], [8, 7, 6]]


def test_order_keeps_the_text_where_nothing_crosses_and_pairs_together() -> None:
    segments = [segment(0, 1), segment(0, 2), segment(0, 3), segment(0, 4)]
    found = order([[0], [1, 2, 3, 4]], segments, widths=[10.0] * 5, owner={4: 1}, rank=lambda v: (v,))
    assert found == [[0], [1, 4, 2, 3]]


@st.composite
def layerings(draw) -> tuple[list[list[int]], list[Segment], list[float]]:
    sizes = draw(st.lists(st.integers(1, 5), min_size=2, max_size=5))
    layers, count = [], 0
    for size in sizes:
        layers.append([*range(count, count + size)])
        count += size
    widths = draw(st.lists(st.sampled_from([0.0, 10.0, 40.0]), min_size=count, max_size=count))
    segments = []
    for above, below in pairwise(layers):
        for v in below:
            for u in sorted(draw(st.sets(st.sampled_from(above), max_size=2))):
                rank = draw(st.integers(0, 2))
                segments.append(Segment(u, v, u, 0, widths[u] / 2, widths[v] / 2, rank))
    return layers, segments, widths


@given(layerings())
def test_nodes_keep_their_order_and_their_distance(case) -> None:
    layers, segments, widths = case
    x = place(layers, segments, widths=widths, apart=lambda a, b: 7.0)
    for layer in layers:
        for a, b in pairwise(layer):
            assert x[b] >= x[a] + widths[a] + 7.0 - 1e-6
    assert min(x) == 0


def test_a_spine_is_straight_where_others_give_way() -> None:
    """0 leads to 2 by the spine and to 1 besides; a long way crosses the spine."""
    segments = [segment(0, 2, 2), segment(0, 1), segment(2, 5, 2), segment(3, 4, 1)]
    x = place([[0, 3], [1, 2, 4], [5]], segments, widths=[10.0] * 6, apart=lambda a, b: 5.0)
    assert x[0] == x[2] == x[5]
    assert x[3] == x[4]
    even = place([[0], [1, 2], [3]], [segment(0, 1), segment(0, 2), segment(1, 3), segment(2, 3)],
                 widths=[10.0] * 4, apart=lambda a, b: 5.0)  # fmt: skip
    assert even[0] == even[3] == (even[1] + even[2]) / 2


def test_tracks_of_values_that_change_places() -> None:
    """Each comes down where the other goes down: none can turn first, so one goes aslant."""
    tracks, count = assign_tracks([Net(0, (100,)), Net(100, (0,))])
    assert sorted(tracks) == [SLANTED, 0]
    assert count == 1


def test_tracks_that_are_needed() -> None:
    assert assign_tracks([Net(5, (5,)), Net(50, (50,))]) == ([STRAIGHT, STRAIGHT], 0)
    assert assign_tracks([Net(0, (30,)), Net(100, (130,))]) == ([0, 0], 1), "side by side"
    assert assign_tracks([Net(0, (60,)), Net(60, (90,))]) == ([1, 0], 2), "the second has to make way"
    assert assign_tracks([Net(0, (60,)), Net(40, (100,))]) == ([1, 0], 2), "without a crossing"
    assert assign_tracks([Net(60, (0,)), Net(100, (40,))]) == ([0, 1], 2), "nor to the left"


@given(st.lists(st.tuples(st.integers(0, 30), st.lists(st.integers(0, 30), min_size=1, max_size=3)), max_size=8))
def test_no_two_values_share_a_stretch(found) -> None:
    """Places are a port apart, as a layout gives them; no value begins or ends where another does."""
    tops: set[int] = set()
    bottoms: set[int] = set()
    nets = []
    for top, ends in found:
        free = sorted(set(ends) - bottoms)
        if top not in tops and free:
            tops.add(top)
            bottoms.update(free)
            nets.append(Net(top * PORT, tuple(b * PORT for b in free)))
    tracks, count = assign_tracks(nets)
    for (a, one), (b, other) in combinations(zip(nets, tracks, strict=True), 2):
        if one >= 0 and one == other:
            assert a.right < b.left or b.right < a.left
        for (upper, above), (lower, below) in (((a, one), (b, other)), ((b, other), (a, one))):
            if upper.top in lower.bottoms and above >= 0 and below >= 0:
                assert above < below, "one comes down through the other"
    assert all(track < count for track in tracks)


def test_a_fork_and_its_join_by_hand() -> None:
    """One value, two arms, of which one is empty, and a join: sizes to the pixel."""
    arm = Piece(40, 100, {0: 50.0}, {1: 50.0}, box=1, body=30, slots=((0, 0),))
    join = Piece(20, 60, {1: 30.0, 0: 30.0}, {2: 30.0}, box=2, body=20, slots=((1, 0), (0, 1)))
    piece = layered([arm, join], [0], [2])
    (top, left, _), (bottom, inner, _) = piece.children
    assert piece.heads == {0: left + 50} == {0: piece.tails[2]}
    assert (top, bottom) == (20.0, 20 + 40 + 20)
    assert inner == left + 20
    assert piece.wires[1, (1, 0)] == [(60, left + 50), (80, left + 50)]
    skip = piece.wires[0, (1, 1)]
    assert skip[0] == (0.0, left + 50)
    assert skip[-1][0] == bottom
    assert max(cross for _, cross in skip) > left + 100
    assert piece.wires[2, OUT][-1] == (piece.main, left + 50)


def test_columns_are_few_and_of_like_lengths() -> None:
    pieces = [Piece(100, 50, {i: 25.0}, {i + 1: 25.0}, box=i, body=90, slots=((i, 0),)) for i in range(9)]
    single = series(pieces)
    assert {cross for _, cross, _ in single.children} == {0.0}
    wrapped = series(pieces, limit=420)
    columns: dict[float, int] = {}
    for _, cross, _ in wrapped.children:
        columns[cross] = columns.get(cross, 0) + 1
    assert list(columns.values()) == [3, 3, 3]
    assert wrapped.main < single.main / 2
    way = wrapped.wires[3, (3, 0)]
    assert len(way) == 6
    assert way[0][0] > way[-1][0], "back to the top"
