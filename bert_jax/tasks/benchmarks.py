"""Every benchmark by the name that config.task gives it."""

from bert_jax.tasks import chinese, choices, glue, ner, ranked, reviews, squad
from bert_jax.tasks.form import Task

TASKS: dict[str, Task] = glue.TASKS | chinese.TASKS | reviews.TASKS | squad.TASKS | choices.TASKS | ranked.TASKS | ner.TASKS
