"""Student's t distribution without scipy: its two-sided tail and the quantile of an interval."""

import math


def two_sided_p(t: float, degrees: float) -> float:
    """P(|T| >= |t|) = I_x(degrees / 2, 1 / 2) at x = degrees / (degrees + t^2) (Abramowitz and Stegun 26.7.1)."""
    return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


def quantile(level: float, degrees: float) -> float:
    """The t with P(|T| < t) = level, by bisection down to neighbouring numbers; 0 < level < 1, degrees at least 1."""
    low, high = 0.0, 1.0
    while two_sided_p(high, degrees) > 1 - level:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if two_sided_p(middle, degrees) > 1 - level else (low, middle)
    return middle


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised I_x(a, b), 0 <= x <= 1, by the continued fraction on the side where it converges fast.

    Abramowitz and Stegun 26.5.8, evaluated by Lentz's method (Press et al., Numerical Recipes, 6.4).
    """
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)) / a
    fraction, c, d = 1.0, 1.0, 0.0
    for step in range(10_000):
        m = step // 2
        if step == 0:
            term = 1.0
        elif step % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / (1 + term * d)
        c = 1 + term / c
        fraction *= c * d
        if step and abs(c * d - 1) < 1e-15:
            break
    return front * (fraction - 1)
