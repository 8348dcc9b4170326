"""How sure we are of a rate: exact one-sided Clopper-Pearson bounds, without scipy.

The lower bound of k successes in n trials at confidence c is the rate p at which k or more successes have
the probability 1 - c, that is I_p(k, n - k + 1) = 1 - c (Clopper and Pearson 1934). The binomial probability
comes from Loader's saddle-point form (2000), which keeps its relative precision at ten million trials, where
differences of log-gammas have lost half their digits.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

_EPSILON = 1e-15
_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
_NORMAL = NormalDist()


@lru_cache(maxsize=65536)
def lower_bound(successes: int, trials: int, confidence: float) -> float:
    """Return the rate (0..1) that the true one reaches at least, with probability `confidence`.

    0.0 without a success. More successes than trials (a lost count) are read as that many trials.
    ValueError unless 0.5 <= confidence < 1.
    """
    _check(confidence)
    if successes <= 0:
        return 0.0
    alpha = 1.0 - confidence
    if successes >= trials:
        return float(alpha ** (1.0 / successes))
    if successes == 1:
        return -math.expm1(math.log1p(-alpha) / trials)
    return _solve(successes, trials, alpha)


def exceeds(successes: int, trials: int, confidence: float, rate: float) -> bool:
    """Return whether the lower bound reaches `rate`: one look at the tail instead of a search for the bound.

    ValueError unless 0.5 <= confidence < 1.
    """
    _check(confidence)
    if rate <= 0.0:
        return True
    trials = max(trials, successes)
    if successes <= 0 or successes <= trials * rate:  # the bound is below the quotient
        return False
    return tail(successes, trials, rate) <= 1.0 - confidence


def tail(successes: int, trials: int, rate: float) -> float:
    """Return the probability of at least `successes` in `trials`, where successes > trials * rate."""
    if successes == trials:
        return float(rate**trials)
    return math.exp(_log_probability(successes, trials, rate)) * _tail_ratio(successes, trials, rate)


def _check(confidence: float) -> None:
    if not 0.5 <= confidence < 1.0:
        raise ValueError(f"confidence must be from 0.5 to below 1, not {confidence!r}")


def _solve(k: int, n: int, alpha: float) -> float:
    """Return the root of log tail(p) - log alpha by Newton in log p, where that function is concave."""
    target = math.log(alpha)
    p = _guess(k, n, alpha)
    while True:
        ratio = _tail_ratio(k, n, p)
        # d log tail / d log p = k * probability / tail = k / ratio
        step = (target - _log_probability(k, n, p) - math.log(ratio)) * ratio / k
        p = min(p * math.exp(step), k / n)
        if abs(step) < 1e-7:  # the next step would be its square
            return p


def _guess(k: int, n: int, alpha: float) -> float:
    """Return a first guess: the beta quantile of Abramowitz and Stegun 26.5.22."""
    z = -_NORMAL.inv_cdf(alpha)
    a, b = 2.0 * k - 1.0, 2.0 * (n - k) + 1.0
    skew = (z * z - 3.0) / 6.0
    mean = 2.0 / (1.0 / a + 1.0 / b)
    w = z * math.sqrt(mean + skew) / mean - (1.0 / b - 1.0 / a) * (skew + 5.0 / 6.0 - 2.0 / (3.0 * mean))
    return k / (k + (n - k + 1.0) * math.exp(2.0 * w))


def _tail_ratio(k: int, n: int, p: float) -> float:
    """Return P(X >= k) / P(X = k): the incomplete beta's continued fraction (DLMF 8.17.22), by Lentz."""
    a, total = float(k), n + 1.0
    b = total - a
    c = 1.0
    d = 1.0 / (1.0 - total * p / (a + 1.0))
    value = d
    m = 0.0
    while True:
        m += 1.0
        twice = a + m + m
        term = m * (b - m) * p / ((twice - 1.0) * twice)
        d = 1.0 / (1.0 + term * d)
        c = 1.0 + term / c
        value *= d * c
        term = -(a + m) * (total + m) * p / (twice * (twice + 1.0))
        d = 1.0 / (1.0 + term * d)
        c = 1.0 + term / c
        change = d * c
        value *= change
        if abs(change - 1.0) < _EPSILON:
            return value * (1.0 - p)


def _log_probability(k: int, n: int, p: float) -> float:
    """Return log P(X = k) of a binomial, 0 < k < n, in Loader's form."""
    rest = n - k
    return (
        0.5 * math.log(n / (k * rest))
        - _HALF_LOG_TWO_PI
        + _stirling_error(n)
        - _stirling_error(k)
        - _stirling_error(rest)
        - _deviance(k, n * p)
        - _deviance(rest, n * (1.0 - p))
    )


def _stirling_error(n: int) -> float:
    """Return log n! - log(sqrt(2 pi n) (n/e)^n)."""
    if n < 16:
        return math.lgamma(n + 1.0) - (n + 0.5) * math.log(n) + n - _HALF_LOG_TWO_PI
    square = float(n) * n
    return (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - 1 / (1188 * square)) / square) / square) / square) / n


def _deviance(x: float, mean: float) -> float:
    """Return x log(x / mean) + mean - x, without cancellation where x is near the mean."""
    difference = x - mean
    if abs(difference) >= 0.1 * (x + mean):
        return x * math.log(x / mean) - difference
    v = difference / (x + mean)
    total, power, odd = difference * v, 2.0 * x * v, 1.0
    while True:
        power *= v * v
        odd += 2.0
        following = total + power / odd
        if following == total:
            return total
        total = following
