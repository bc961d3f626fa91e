"""Every benchmark by the name that config.task gives it."""

from bert_jax.tasks import chinese, choices, glue, ner, ranked, reviews, squad, stand_ins
from bert_jax.tasks.form import Task

TASKS: dict[str, Task] = (
    glue.TASKS | stand_ins.TASKS | chinese.TASKS | reviews.TASKS | squad.TASKS | choices.TASKS | ranked.TASKS | ner.TASKS
)
