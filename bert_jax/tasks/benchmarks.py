"""Every benchmark by the name that config.task gives it."""

from bert_jax.tasks import chinese, glue, reviews
from bert_jax.tasks.form import Task

TASKS: dict[str, Task] = glue.TASKS | chinese.TASKS | reviews.TASKS
