"""What may be said about figures of several seeds, and about two systems on the same examples.

Everything drawn takes `rng`, a number or a numpy Generator: the same number draws the same. All p values are two-sided.
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from bert_jax.errors import UserError
from bert_jax.metrics import student

DRAWN_AT_ONCE = 2**22  # counts of a bootstrap in memory, 32 MiB


class Summary(NamedTuple):
    """Figures of the runs that came to an end; NaN where too few did (one for the mean, two for std and the interval)."""

    n: int  # runs that are counted
    failed: int  # runs without a finite figure
    mean: float
    median: float
    std: float  # of the sample, over n - 1
    low: float
    high: float
    min: float
    max: float


def summarise(values: Sequence[float | None], level: float = 0.95) -> Summary:
    """One figure per seed -> Summary, with Student's t interval of the mean at `level`.

    Not a bootstrap's: of five figures it knows five values, takes the spread with 1/n, and covers the mean in some 83 of 100
    cases where it says 95; the t interval pays for the few with its width (right where the figures are about normal).
    A run without a figure, None or NaN or infinite, is counted as failed and is in no mean.
    """
    figures, failed = finite(values)
    n = len(figures)
    if n == 0:
        return Summary(0, failed, *[math.nan] * 7)
    mean = float(np.mean(figures))
    std = float(np.std(figures, ddof=1)) if n > 1 else math.nan
    half = student.quantile(level, n - 1) * std / math.sqrt(n) if n > 1 else math.nan
    median, least, most = (float(of(figures)) for of in (np.median, np.min, np.max))
    return Summary(n, failed, mean, median, std, mean - half, mean + half, least, most)


def finite(values: Sequence[float | None]) -> tuple[np.ndarray, int]:
    """The finite figures, float64, and how many were not."""
    figures = np.array([math.nan if value is None else value for value in values], np.float64)
    kept = figures[np.isfinite(figures)]
    return kept, len(figures) - len(kept)


class Comparison(NamedTuple):
    """Of system a less system b."""

    difference: float
    low: float
    high: float
    p_value: float


def welch(a: Sequence[float | None], b: Sequence[float | None], level: float = 0.99) -> Comparison:
    """Means over the seeds of two systems, compared by Welch's t (1947), whose spreads and numbers may differ.

    Failed runs are left out, as by `summarise`, which counts them: say so beside the figure, for a system that fails at
    bad seeds looks better by it. Interval and p are NaN with less than two runs of a system, and where neither varies at
    all: nothing is known about the spread then.
    """
    figures = [finite(values)[0] for values in (a, b)]
    if min(map(len, figures)) == 0:
        return Comparison(*[math.nan] * 4)
    difference = float(np.mean(figures[0]) - np.mean(figures[1]))
    if min(map(len, figures)) < 2 or not any(map(np.ptp, figures)):
        return Comparison(difference, *[math.nan] * 3)
    squares = [float(np.var(values, ddof=1)) / len(values) for values in figures]
    error = math.sqrt(sum(squares))
    # Welch and Satterthwaite's, in shares of the sum: squares of very small variances would be 0.
    degrees = 1 / sum((square / sum(squares)) ** 2 / (len(values) - 1) for square, values in zip(squares, figures))
    half = student.quantile(level, degrees) * error
    return Comparison(difference, difference - half, difference + half, student.two_sided_p(difference / error, degrees))


def bootstrap_interval(
    metric: Callable,
    gold: Sequence,
    predicted: Sequence,
    rng: int | np.random.Generator,
    samples: int = 2000,
    level: float = 0.95,
) -> tuple[float, float]:
    """The percentile interval of metric(gold, predicted) -> float over examples drawn again (Efron and Tibshirani 1993, 13.3).

    It says how far another test set of this size might move the figure; other seeds are not in it.
    """
    drawn = (rows(gold, predicted, at=at) for at in resampled(len(gold), rng, samples))
    return percentiles(np.array([metric(*lists) for lists in drawn]), level)


def paired_bootstrap(
    metric: Callable,
    gold: Sequence,
    a: Sequence,
    b: Sequence,
    rng: int | np.random.Generator,
    samples: int = 2000,
    level: float = 0.95,
) -> Comparison:
    """metric(gold, a) - metric(gold, b) on the same examples, both scored on the same draws (Koehn 2004).

    The p value is that of the shift method: how often a draw lies as far from the difference as the difference from 0.
    For a metric that is a mean over the examples `paired_means` does the same some 25 times faster.
    """
    drawn = (rows(gold, a, b, at=at) for at in resampled(len(gold), rng, samples))
    draws = np.array([metric(true, one) - metric(true, other) for true, one, other in drawn])
    return compared(metric(gold, a) - metric(gold, b), draws, level)


def paired_means(
    a: np.ndarray, b: np.ndarray, rng: int | np.random.Generator, samples: int = 10_000, level: float = 0.95
) -> Comparison:
    """`paired_bootstrap` of a mean: float[N] each, what every example scored with a and with b (right or not, F1, NDCG)."""
    differences = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return compared(float(np.mean(differences)), resampled_means(differences, rng, samples), level)


def resampled(n: int, rng: int | np.random.Generator, samples: int):
    """`samples` times n examples drawn from n with replacement, int[n]."""
    rng = np.random.default_rng(rng)
    return (rng.integers(0, n, n) for _ in range(samples))


def rows(*lists: Sequence, at: np.ndarray) -> list:
    return [values[at] if isinstance(values, np.ndarray) else [values[row] for row in at] for values in lists]


def resampled_means(values: np.ndarray, rng: int | np.random.Generator, samples: int) -> np.ndarray:
    """float64[samples]: means of values float[N] drawn with replacement.

    How often each different value comes is multinomial, so right and wrong of any number of examples are two counts.
    """
    rng = np.random.default_rng(rng)
    kinds, counts = np.unique(values, return_counts=True)
    at_once = max(1, DRAWN_AT_ONCE // len(kinds))
    parts = [min(at_once, samples - done) for done in range(0, samples, at_once)]
    return np.concatenate([rng.multinomial(len(values), counts / len(values), part) @ kinds for part in parts]) / len(values)


def percentiles(draws: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def compared(difference: float, draws: np.ndarray, level: float) -> Comparison:
    # A hair less, for draws as far but for rounding. Not nearer, rather than farther: NaN must not look like a finding.
    as_far = np.sum(~(np.abs(draws - difference) < abs(difference) * (1 - 1e-9)))
    # The one added to both is the sample itself: no number of draws shows a p of 0 (Davison and Hinkley 1997, 4.2).
    return Comparison(float(difference), *percentiles(draws, level), float((1 + as_far) / (1 + len(draws))))


def mcnemar(a_right: np.ndarray, b_right: np.ndarray) -> float:
    """The exact p value of McNemar's test (1947): bool[N] each, whether a and b were right on the same examples.

    Of the examples that one alone got right, either would have half: a binomial test.
    """
    a_right, b_right = np.asarray(a_right, bool), np.asarray(b_right, bool)
    return sign_test(int(np.sum(a_right & ~b_right)), int(np.sum(b_right & ~a_right)))


def sign_test(one: int, other: int) -> float:
    """Twice the chance that the smaller number or fewer of one + other fair coins show heads, at most 1.

    In whole numbers up to the division, so that it is exact for any number of coins.
    """
    n = one + other
    ways = tail = 1
    for heads in range(min(one, other)):
        ways = ways * (n - heads) // (heads + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**n)


def smallest_difference(
    examples: int,
    *,
    discordant: float | None = None,
    accuracy: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    """The smallest true difference in accuracy, a fraction, that McNemar's test on so many examples shows with this power.

    Solves n d^2 = (z_alpha sqrt(s) + z_power sqrt(s - d^2))^2 for d (Connett, Smith and McHugh 1987, after Miettinen 1968),
    a normal approximation: the exact test needs a little more where few examples differ.

    Args:
        examples: how many the test set has.
        discordant: s, the share of examples that one system alone gets right.
        accuracy: in its place, of two systems whose mistakes are independent: s = 2 accuracy (1 - accuracy). Systems of one
            kind make the same mistakes, so that theirs is smaller and the answer too.
        alpha: of the two-sided test.

    Infinite where no difference would do, the whole share of discordant examples being too small for this set.
    """
    if (discordant is None) == (accuracy is None):
        raise UserError("smallest_difference needs one of discordant and accuracy", got=f"{discordant}, {accuracy}")
    share = 2 * accuracy * (1 - accuracy) if discordant is None else discordant
    at_level, at_power = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)
    low, high = 0.0, share
    if math.sqrt(examples) * high < at_level * math.sqrt(share) + at_power * math.sqrt(share - high**2):
        return math.inf
    while low < (middle := (low + high) / 2) < high:
        enough = math.sqrt(examples) * middle >= at_level * math.sqrt(share) + at_power * math.sqrt(share - middle**2)
        low, high = (low, middle) if enough else (middle, high)
    return high


def holm(p_values: Sequence[float]) -> np.ndarray:
    """float64[N], in the order given: p values to hold against alpha so that any false one among them has that chance.

    Holm 1979: the k-th smallest of m is multiplied by m - k + 1, none comes below a smaller one, none above 1.
    """
    p_values = np.asarray(p_values, np.float64)
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1)), 1)
    return adjusted
