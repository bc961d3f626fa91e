"""Learning rates as functions of the step (0 at the first update)."""

from collections.abc import Callable

import jax.numpy as jnp


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
