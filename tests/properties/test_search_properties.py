"""What holds of a search on every convex curve: the bound is true, and no order, stop or batch changes what it does."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from robust_lr.search import LearningRateSearch, SearchOptions
from robust_lr.search._convex_bound import ConvexBound, Point, height_above_chord

LOW, HIGH = -7.0, 2.0
TOLERANCE = 0.005


class Curve:
    """A convex loss over x = log(lr): lines and parabolas, added up or the highest of them, up to an edge."""

    def __init__(self, lines, parabolas, edge):
        self.lines, self.parabolas, self.edge = lines, parabolas, edge

    def __call__(self, x):
        if x >= self.edge:
            return math.inf
        lines = max((slope * (x - at) + height for slope, at, height in self.lines), default=0.0)
        return lines + sum(bend * (x - at) ** 2 for bend, at in self.parabolas)

    def least(self, low=LOW, high=HIGH):
        """A little above the least value, which is attained between the points of a mesh."""
        return min(self(x) for x in np.linspace(low, high, 9001).tolist())

    def __repr__(self):
        return f"Curve({self.lines}, {self.parabolas}, {self.edge})"


PLACES = st.floats(LOW - 2, HIGH + 2)
CURVES = st.builds(
    Curve,
    st.lists(st.tuples(st.floats(-0.3, 0.3), PLACES, st.floats(-0.2, 0.2)), max_size=5),
    st.lists(st.tuples(st.floats(0, 0.1), PLACES), max_size=2),
    st.one_of(st.just(math.inf), st.floats(LOW + 0.5, HIGH)),
)


def new_search(**options):
    tolerance = options.pop("tolerance", TOLERANCE)
    return LearningRateSearch(
        math.exp(LOW), math.exp(HIGH), tolerance=tolerance, options=SearchOptions(**{"extend": False} | options)
    )


def tell(search, lr, curve):
    loss = curve(math.log(lr))
    search.tell(lr, loss, status="ok" if math.isfinite(loss) else "diverged")


@given(CURVES, st.integers(1, 5))
def test_the_bound_is_true_after_every_trial_and_the_search_ends_by_it(curve, n):
    search, least = new_search(), curve.least()
    while asked := search.ask(n):
        for lr in asked:
            assert math.exp(LOW) <= lr <= math.exp(HIGH)
            tell(search, lr, curve)
            result = search.result
            assert result.assumption_violation is None
            assert result.n_trials <= 60
            if result.excess_bound is not None:
                assert result.loss - least <= result.excess_bound + 1e-9
    assert search.done
    # "steps": where the curve is flat, losses are equal to the last bit.
    # "edge": with two points before the cliff, and the better one on the end of the range, nothing bounds their gap.
    assert result.stop in ("tolerance", "steps", "resolution", "diverged", "edge")
    if result.stop == "tolerance":
        assert result.excess_bound <= TOLERANCE


@given(CURVES, st.floats(LOW, HIGH), st.integers(1, 3))
def test_the_bound_is_true_from_any_start(curve, start, n):
    search, least = new_search(start=math.exp(start)), curve.least()
    while asked := search.ask(n):
        for lr in asked:
            tell(search, lr, curve)
            assert search.result.n_trials <= 60
    result = search.result
    if result.excess_bound is not None:
        assert result.loss - least <= result.excess_bound + 1e-9


@given(CURVES)
def test_with_an_extension_the_bound_speaks_of_the_range_that_the_result_names(curve):
    search = new_search(extend=True)
    while asked := search.ask():
        for lr in asked:
            tell(search, lr, curve)
            assert search.result.n_trials <= 80
    result = search.result
    low, high = (math.log(lr) for lr in result.lr_range)
    assert low >= LOW - (HIGH - LOW) - 1e-3
    assert high <= HIGH + (HIGH - LOW) + 1e-3
    if result.excess_bound is not None:
        assert result.loss - curve.least(low, high) <= result.excess_bound + 1e-9


@given(CURVES)
def test_the_good_interval_is_within_the_tolerance_of_the_best(curve):
    search = new_search()
    while asked := search.ask(2):
        for lr in asked:
            tell(search, lr, curve)
    result = search.result
    if result.good_interval is not None:
        low, high = np.log(result.good_interval)
        assert low <= math.log(result.lr) + 1e-12
        assert high >= math.log(result.lr) - 1e-12
        losses = [curve(x) for x in np.linspace(low, high, 51).tolist()]
        assert max(losses) <= result.loss + result.tolerance + 1e-9


@settings(max_examples=30)
@given(CURVES, st.data())
def test_any_order_of_tells_and_a_stop_at_any_moment_lead_to_the_same_trials(curve, data):
    search, twin = new_search(), new_search()
    for _ in range(40):
        asked = search.ask(data.draw(st.integers(1, 4), label="n"))
        assert twin.ask(max(len(asked), 1)) == asked
        if not search.in_flight:
            break
        assert len(set(search.in_flight)) == len(search.in_flight)
        told = data.draw(st.lists(st.sampled_from(search.in_flight), min_size=1, unique=True), label="told")
        for lr in told:
            tell(search, lr, curve)
        for lr in data.draw(st.permutations(told), label="order"):
            tell(twin, lr, curve)
        twin = LearningRateSearch.from_dict(json.loads(json.dumps(twin.to_dict(), allow_nan=False)))
    ours, theirs = search.result, twin.result
    assert (ours.loss, ours.excess_bound, ours.stop) == (theirs.loss, theirs.excess_bound, theirs.stop)


@given(st.lists(st.tuples(st.floats(1e-4, 10.0), st.floats(-1, 1) | st.none(), st.booleans()), max_size=12))
def test_whatever_it_is_told_a_search_answers_ends_and_prints_as_json(tells):
    search = new_search(max_trials=40)
    for lr, loss, ask in tells:
        search.tell(lr, math.inf if loss is None else loss, status="diverged" if loss is None else "ok", external=True)
        if ask:
            search.ask(2)
    for lr in search.in_flight:
        search.forget(lr)
    curve = Curve([], [(0.02, -3.0)], math.inf)
    while asked := search.ask(3):
        for lr in asked:
            tell(search, lr, curve)
    assert search.done
    json.dumps(search.to_dict(), allow_nan=False)
    assert (search.result.assumption_violation is None) or (search.result.excess_bound is None)


@st.composite
def convex_points(draw):
    widths = draw(st.lists(st.floats(0.05, 3), min_size=2, max_size=6))
    slopes = sorted(draw(st.lists(st.floats(-2, 2), min_size=len(widths), max_size=len(widths))))
    xs = np.concatenate([[0.0], np.cumsum(widths)])
    losses = np.concatenate([[0.0], np.cumsum(np.array(slopes) * widths)])
    return xs, losses


@given(convex_points(), st.floats(0, 1), st.floats(0, 1))
def test_no_smaller_bound_is_true_since_a_convex_curve_attains_it(data, left, right):
    xs, losses = data
    points = tuple(Point(float(x), float(y)) for x, y in zip(xs, losses, strict=True))
    valley = ConvexBound(points, -left, float(xs[-1]) + right)
    assume(valley.core == (0, len(points) - 1))
    for gap in valley.gaps:
        if 0 < gap.max_improvement < math.inf:
            hidden = Point(gap.at, points[valley.best].loss - gap.max_improvement)
            # On a point itself the bound is a limit: the curve may fall at once beside it.
            if min(abs(gap.at - p.x) for p in points) > 1e-6:
                curve = sorted([*points, hidden])
                heights = [height_above_chord(*curve[i : i + 3]) for i in range(len(curve) - 2)]
                assert max(heights) <= 1e-9


@given(convex_points(), st.floats(0, 0.1), st.data())
def test_the_bound_is_true_when_every_loss_is_wrong_by_up_to_its_error(data, error, draws):
    xs, losses = data
    wrong = [draws.draw(st.floats(-error, error)) for _ in xs]
    points = tuple(Point(float(x), float(y + e), error) for x, y, e in zip(xs, losses, wrong, strict=True))
    valley = ConvexBound(points, float(xs[0]), float(xs[-1]))
    assume(valley.core == (0, len(points) - 1))
    # The losses are those of the lines between them, whose least value is at one of the points.
    assert losses[valley.best] - losses.min() <= valley.excess_bound + 1e-9


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_the_search_does_not_depend_on_the_unit_of_the_loss(size):
    search = new_search(tolerance=TOLERANCE * size)
    curve = Curve([], [(0.03 * size, -3.0)], math.inf)
    while asked := search.ask():
        for lr in asked:
            tell(search, lr, curve)
    assert search.result.n_trials <= 8
    assert search.result.loss <= TOLERANCE * size


@example([math.inf, -1.0, 0.0, math.inf, math.inf, math.inf], 1, False)  # diverges at the low end of the range
@given(
    st.lists(st.one_of(st.just(math.inf), st.floats(-3, 3)), min_size=1, max_size=30), st.integers(1, 4), st.booleans()
)
def test_whatever_the_trials_say_the_search_ends_and_asks_twice_only_after_a_contradiction(losses, n, extend):
    search, seen, n_again = new_search(extend=extend, noise=0), set(), 0  # told the noise, it need not measure it
    while asked := search.ask(n):
        if again := [lr for lr in asked if lr in seen]:
            assert search.result.assumption_violation is not None
            n_again += len(again)
        seen.update(asked)
        for lr in asked:
            at = (math.log(lr) - LOW) / (HIGH - LOW) * len(losses)
            loss = losses[min(max(int(at), 0), len(losses) - 1)]
            search.tell(lr, loss, status="ok" if math.isfinite(loss) else "diverged")
        assert search.result.n_trials <= 200
    assert search.result.stop is not None
    assert n_again <= 2


FATES = st.lists(st.sampled_from(["ok", "ok", "diverged", "failed"]), min_size=1, max_size=20)


@given(CURVES, FATES, st.integers(1, 4), st.sampled_from([None, 1, 5]), st.sampled_from([None, 0.01]), st.booleans())
def test_a_search_whose_trials_fail_at_random_ends_and_never_asks_for_what_was_given_up(
    curve, fates, n, max_trials, noise, extend
):
    search, given_up, n_asked = new_search(max_trials=max_trials, noise=noise, extend=extend), set(), 0
    while asked := search.ask(n):
        assert not given_up & set(asked)
        for lr in asked:
            fate, n_asked = fates[n_asked % len(fates)], n_asked + 1
            loss = curve(math.log(lr)) if fate == "ok" else math.inf
            status = fate if fate == "failed" else "ok" if math.isfinite(loss) else "diverged"
            search.tell(lr, loss, status=status)
            given_up |= {lr} if status == "failed" else set()
        assert n_asked <= 200
    result = search.result
    assert search.done
    assert result.stop is not None
    assert set(result.failed) == given_up
    assert len(given_up) <= 2 + n
    assert result.n_trials + len(given_up) <= (max_trials or 200)


TOLD = st.lists(
    st.tuples(st.floats(LOW - 1, HIGH + 1), st.sampled_from(["ok", "ok", "ok", "diverged", "failed"])),
    max_size=8,
    unique_by=lambda told: round(told[0], 3),
)


@given(CURVES, TOLD, st.sampled_from([None, 0.01]), st.booleans(), st.data())
def test_the_same_observations_in_any_order_give_the_same_step(curve, told, noise, extend, data):
    moves = []
    for order in (told, data.draw(st.permutations(told), label="order")):
        search = new_search(noise=noise, extend=extend)
        for x, fate in order:
            loss = curve(x) if fate == "ok" else math.inf
            status = fate if fate == "failed" else "ok" if math.isfinite(loss) else "diverged"
            search.tell(math.exp(x), loss, status=status, external=True)
        moves.append(
            (search.ask(2), search.result.stop, search.result.reason, search.result.failed, str(search.result))
        )
    assert moves[0] == moves[1]
