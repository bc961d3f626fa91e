"""Learning rates as functions of the step (0 first); all but "bert" rise linearly from 0, then take their shape."""

import inspect
from collections.abc import Callable

import jax.numpy as jnp

from bert_jax.errors import UserError
from bert_jax.ranges import NOT_NEGATIVE, PART, PART_OR_ALL, POSITIVE, require, whole

RANGES = {
    "learning_rate": NOT_NEGATIVE,
    "num_warmup_steps": whole(0),
    "end_learning_rate": NOT_NEGATIVE,
    "power": POSITIVE,
    "decay_fraction": PART_OR_ALL,
    "second_begins": PART,
    "second_learning_rate": NOT_NEGATIVE,
    "second_num_warmup_steps": whole(0),
}


def make_schedule(name: str, learning_rate: float, num_warmup_steps: int, num_train_steps: int, **shape: float) -> Callable:
    """The schedule of that name in SCHEDULES; `shape` are the further arguments of its function.

    Raises:
        UserError: an unknown name, an argument that this schedule has no use for, or one out of range.
    """
    if name not in SCHEDULES:
        raise UserError("optim.schedule is unknown", got=name, expected=" or ".join(SCHEDULES))
    known = list(inspect.signature(SCHEDULES[name]).parameters)[3:]
    unread = sorted(shape.keys() - set(known))
    if unread:
        expected = f"only {', '.join(known)}" if known else "nothing more"
        raise UserError(f"the schedule {name} does not read optim.{unread[0]}", got=shape[unread[0]], expected=expected)
    require("optim", {"learning_rate": learning_rate, "num_warmup_steps": num_warmup_steps, **shape}, RANGES)
    return SCHEDULES[name](learning_rate, num_warmup_steps, num_train_steps, **shape)


def bert(learning_rate: float, num_warmup_steps: int, num_train_steps: int) -> Callable:
    """google-research/bert optimization.create_optimizer: linear to 0 from step 0 on, overridden during warm-up.

    The decay does not wait for the warm-up, so the rate drops by num_warmup_steps / num_train_steps of its peak where the two
    meet, and the very first update (step 0 of the warm-up) has rate 0.
    """

    def schedule(step):
        step = jnp.minimum(step, num_train_steps)
        decayed = learning_rate * (1.0 - step / num_train_steps)
        warming = learning_rate * step / max(num_warmup_steps, 1)
        return jnp.where(step < num_warmup_steps, warming, decayed)

    return schedule


def linear(learning_rate: float, num_warmup_steps: int, num_train_steps: int, end_learning_rate: float = 0.0) -> Callable:
    return polynomial(learning_rate, num_warmup_steps, num_train_steps, end_learning_rate, power=1.0)


def linear_twice(
    learning_rate: float,
    num_warmup_steps: int,
    num_train_steps: int,
    second_begins: float,
    second_learning_rate: float,
    second_num_warmup_steps: int,
) -> Callable:
    """`linear` for the share second_begins of the steps, then once more with a warm-up and a peak of its own to the end (LAMB's
    mixed batches, You et al. 2020, arXiv 1904.00962, section 4.1)."""
    begins = round(second_begins * num_train_steps)  # as a phase of data.later_phases, with which it is to begin
    first = linear(learning_rate, num_warmup_steps, begins)
    second = linear(second_learning_rate, second_num_warmup_steps, num_train_steps - begins)
    return lambda step: jnp.where(step < begins, first(step), second(step - begins))


def polynomial(
    learning_rate: float, num_warmup_steps: int, num_train_steps: int, end_learning_rate: float = 0.0, power: float = 1.0
) -> Callable:
    """From the peak to the end as (1 - share of the steps after warm-up) ** power (TensorFlow's polynomial_decay)."""
    return _warmed_up(learning_rate, end_learning_rate, num_warmup_steps, num_train_steps, lambda done: (1 - done) ** power)


def cosine(learning_rate: float, num_warmup_steps: int, num_train_steps: int, end_learning_rate: float = 0.0) -> Callable:
    """Half a period of a cosine (Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5, without restarts)."""
    half = lambda done: (1 + jnp.cos(jnp.pi * done)) / 2  # noqa: E731
    return _warmed_up(learning_rate, end_learning_rate, num_warmup_steps, num_train_steps, half)


def constant(learning_rate: float, num_warmup_steps: int, num_train_steps: int) -> Callable:
    return _warmed_up(learning_rate, 0.0, num_warmup_steps, num_train_steps, jnp.ones_like)


def warmup_stable_decay(
    learning_rate: float,
    num_warmup_steps: int,
    num_train_steps: int,
    end_learning_rate: float = 0.0,
    decay_fraction: float = 0.1,
) -> Callable:
    """At the peak until the last decay_fraction of the steps after warm-up, then down as 1 - sqrt(share of it that is done).

    The shape "1-sqrt" is that of Hägele et al. 2024, arXiv 2405.18392, section 3, and of ModernBERT, arXiv 2412.13663.
    """

    def shape(done):
        return 1 - jnp.sqrt(jnp.clip((done - (1 - decay_fraction)) / decay_fraction, 0, 1))

    return _warmed_up(learning_rate, end_learning_rate, num_warmup_steps, num_train_steps, shape)


def _warmed_up(peak: float, end: float, num_warmup_steps: int, num_train_steps: int, shape: Callable) -> Callable:
    """`shape` goes from 1 to 0 over the share, 0 to 1, of the steps after warm-up that are done."""

    def schedule(step):
        done = jnp.clip((step - num_warmup_steps) / max(num_train_steps - num_warmup_steps, 1), 0.0, 1.0)
        warming = peak * step / max(num_warmup_steps, 1)
        return jnp.where(step < num_warmup_steps, warming, end + (peak - end) * shape(done))

    return schedule


SCHEDULES = {
    "bert": bert,
    "linear": linear,
    "linear_twice": linear_twice,
    "polynomial": polynomial,
    "cosine": cosine,
    "constant": constant,
    "warmup_stable_decay": warmup_stable_decay,
}
