from __future__ import annotations

import math
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from policies.statistics import exceeds, lower_bound, tail

CONFIDENCES = (0.5, 0.6, 0.9, 0.95, 0.99, 0.999, 0.9999, 1 - 1e-6, 1 - 1e-9)


def exact(successes: int, trials: int, confidence: float) -> float:
    return float(beta.ppf(1 - confidence, successes, trials - successes + 1))


def assert_near(found: float, expected: float) -> None:
    assert abs(found - expected) <= 1e-9
    assert abs(found - expected) <= 1e-9 * expected


@pytest.mark.parametrize("confidence", CONFIDENCES)
@pytest.mark.parametrize(
    ("successes", "trials"),
    [
        (1, 1),
        (1, 2),
        (2, 2),
        (2, 3),
        (1, 10**7),
        (2, 10**7),
        (3, 2000),
        (5, 200),
        (15, 16),
        (16, 17),
        (18, 2000),
        (40, 2000),
        (100, 10_000),
        (10**5, 10**7),
        (5 * 10**6, 10**7),
        (10**7 - 1, 10**7),
        (10**7, 10**7),
    ],
)
def test_bounds_agree_with_scipy(successes: int, trials: int, confidence: float) -> None:
    assert_near(lower_bound(successes, trials, confidence), exact(successes, trials, confidence))


def test_bounds_agree_with_scipy_anywhere() -> None:
    source = random.Random(7)  # noqa: S311 - a fixed seed
    for _ in range(3000):
        trials = int(10 ** source.uniform(0, 7))
        successes = source.choice(
            (
                source.randint(1, trials),
                max(1, int(trials ** source.random())),
                source.randint(1, min(trials, 30)),
            )
        )
        confidence = source.choice(CONFIDENCES)
        assert_near(lower_bound(successes, trials, confidence), exact(successes, trials, confidence))


def test_no_success_proves_nothing() -> None:
    assert lower_bound(0, 10, 0.95) == 0.0
    assert lower_bound(0, 0, 0.95) == 0.0
    assert lower_bound(-1, 10, 0.95) == 0.0


def test_more_successes_than_trials_are_read_as_that_many_trials() -> None:
    assert lower_bound(5, 3, 0.95) == lower_bound(5, 5, 0.95)
    assert lower_bound(5, 0, 0.95) == pytest.approx(0.05 ** (1 / 5), rel=1e-12)
    assert exceeds(5, 0, 0.95, 0.5)


@pytest.mark.parametrize("confidence", [0.49, 1.0, 95.0, -1.0, math.nan])
def test_a_confidence_that_is_none_is_an_error(confidence: float) -> None:
    with pytest.raises(ValueError, match=r"confidence must be from 0\.5 to below 1, not"):
        lower_bound(1, 10, confidence)
    with pytest.raises(ValueError, match=r"confidence must be from 0\.5 to below 1, not"):
        exceeds(1, 10, confidence, 0.1)


def test_one_half_is_a_confidence() -> None:
    assert_near(lower_bound(3, 10, 0.5), exact(3, 10, 0.5))
    assert exceeds(3, 10, 0.5, 0.2)


@pytest.mark.parametrize(("successes", "trials"), [(1, 10), (3, 10), (10, 10), (18, 2000), (300, 10_000)])
def test_the_tail_is_the_binomials(successes: int, trials: int) -> None:
    for rate in (successes / trials * share for share in (0.1, 0.5, 0.9, 0.99)):
        assert tail(successes, trials, rate) == pytest.approx(
            float(binom.sf(successes - 1, trials, rate)), rel=1e-11
        )


@given(st.integers(0, 3000), st.integers(0, 3000), st.sampled_from(CONFIDENCES), st.floats(0.0001, 0.9999))
def test_exceeds_says_what_the_bound_says(
    successes: int, trials: int, confidence: float, rate: float
) -> None:
    bound = lower_bound(successes, trials, confidence)
    if abs(bound - rate) > 1e-9:
        assert exceeds(successes, trials, confidence, rate) is (bound >= rate)


@pytest.mark.parametrize(
    ("successes", "trials", "confidence", "rate", "expected"),
    [
        (0, 10, 0.95, 0.0, True),
        (1, 1, 0.5, 0.5, True),
        (0, 10, 0.95, -1.0, True),
        (0, 10, 0.95, 1e-9, False),
        (5, 248, 0.999, 0.003, True),
        (5, 249, 0.999, 0.003, False),
        (18, 2558, 0.999, 0.003, True),
        (18, 2559, 0.999, 0.003, False),
        (10, 10, 0.5, 1.0, False),
        (3, 10, 0.5, 0.3, False),
        (4, 10, 0.5, 0.3, True),
    ],
)
def test_exceeds_on_each_side_of_its_edges(
    successes: int, trials: int, confidence: float, rate: float, *, expected: bool
) -> None:
    assert exceeds(successes, trials, confidence, rate) is expected


@given(st.integers(1, 500), st.integers(1, 10**6), st.sampled_from(CONFIDENCES))
def test_a_bound_rises_with_successes_and_falls_with_trials(k: int, n: int, confidence: float) -> None:
    trials = max(n, k + 1)
    bound = lower_bound(k, trials, confidence)
    assert 0.0 < bound < k / trials
    assert lower_bound(k + 1, trials, confidence) > bound
    assert lower_bound(k, trials + 1, confidence) < bound


def test_a_bound_takes_microseconds() -> None:
    bound = lower_bound.__wrapped__
    best = 1.0
    for _ in range(20):
        started = time.perf_counter()
        for votes in range(5, 25):
            bound(votes, 2000, 0.999)
        best = min(best, (time.perf_counter() - started) / 20)
    assert best < 100e-6  # 14 µs on a quiet core; the rest is for busy ones
