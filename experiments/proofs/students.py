"""What comes after pretraining learns: a student from its teacher, an encoder of sentences."""

from pathlib import Path

from bert_jax import finetune
from experiments.proofs.commands import data, result, timed, train

DISTILLED = {"model.matmul_dtype": "bfloat16", "train.log_every_steps": 50}  # a quarter of an hour on two cores
STUDENT_STEPS, SEEDS = 400, (1, 2, 3)
SENTENCES = {  # of both runs of `simcse`
    "data.max_seq_length": 32,
    "data.later_phases": "()",
    "data.num_eval_rows": 640,
    "model.num_hidden_layers": 2,
    "model.hidden_size": 128,
    "model.num_attention_heads": 2,
    "model.intermediate_size": 512,
    "model.initializer_range": 0.05,
    "model.matmul_dtype": "bfloat16",
    "optim.num_warmup_steps": 200,
    "train.log_every_steps": 100,
}
SENTENCES_MASKED = {  # 8 minutes on two cores
    "text.vocab_size": 8000,
    "data.rows": "full_sentences",
    "data.short_seq_prob": 0.0,
    "data.dupe_factor": 1,
    "data.max_predictions_per_seq": 5,
    "objective.next_sentence": False,
    "model.hidden_dropout_prob": 0.0,
    "model.attention_probs_dropout_prob": 0.0,
    "optim.name": "adamw",  # at this rate bert_adam stays at guessing by frequency
    "optim.b2": 0.98,
    "optim.learning_rate": 2e-3,
    "train.train_batch_size": 64,
    "train.num_train_steps": 6000,
    "train.eval_every_steps": 1000,
    "train.save_every_steps": 1000,
}
SENTENCES_COMPARED = {  # 4 minutes
    "objective.pooling": "mean",  # the [CLS] of so short a training holds little yet
    "optim.learning_rate": 1e-4,  # the paper's 3e-5 is for a width of 768; at 3e-4 the vectors get worse again
    "train.num_train_steps": 1000,
    "train.eval_every_steps": 500,
    "train.save_every_steps": 500,
}
POOLINGS = ("cls", "mean", "max")


def distilled_student(scratch: Path) -> dict:
    """2 x 256 students of a 4 x 256 teacher, that start as two of its layers or from the seed, and the same student without a
    teacher, on the same batches: the held-out masked-LM losses."""
    teacher = scratch / "teacher"
    text = DISTILLED | {"data.input_file": data() / "text" / "wiki_en" / "shard-*.txt.xz"}
    figures = {"seconds_teacher": timed(train(teacher, "distill.py:tiny-teacher", text))[0], "teacher": result(teacher)}
    shared = {"data.store": teacher / "store", "text.vocab_file": teacher / "vocab.txt", "train.num_train_steps": STUDENT_STEPS}
    students = {
        "distilled": ("tiny", {"objective.teacher": teacher}),
        "distilled_from_the_seed": ("tiny", {"objective.teacher": teacher, "objective.teacher_layers": "()"}),
        "alone": ("tiny-alone", {}),
    }
    losses, seconds = {name: [] for name in students}, {name: [] for name in students}
    for seed in SEEDS:
        for name, (row, given) in students.items():
            workdir = scratch / f"{name}-{seed}"
            seconds[name].append(timed(train(workdir, f"distill.py:{row}", text | shared | given | {"seed": seed}))[0])
            losses[name].append(result(workdir)["masked_lm_loss"])
    gains = {name: [alone - loss for loss, alone in zip(losses[name], losses["alone"])] for name in students}
    return {**figures, "seeds": SEEDS, "steps": STUDENT_STEPS, "seconds": seconds, "masked_lm_loss": losses, "gain": gains}


def simcse(scratch: Path) -> dict:
    """An encoder pretrained with masked LM alone, then unsupervised SimCSE: Spearman on the dev set of STS-B before and after."""
    text = data() / "text"
    given = {"data.input_file": f"{text / 'wiki_en' / 'shard-*.txt.xz'},{text / 'books_en' / '*.xz'}"}
    masked, compared = scratch / "masked", scratch / "compared"
    first = train(masked, "bert.py:tiny", given | SENTENCES | SENTENCES_MASKED)
    start = {"init_checkpoint": masked, "data.store": masked / "store"}
    second = train(compared, "simcse.py:unsup", given | SENTENCES | SENTENCES_COMPARED | start)
    seconds = [timed(command)[0] for command in (first, second)]
    before, after = ({name: finetune.sts_of_trained(run_, name) for name in POOLINGS} for run_ in (masked, compared))
    return {
        "seconds_masked_lm": seconds[0],
        "seconds_simcse": seconds[1],
        "stsb_dev_spearman_before": before,
        "stsb_dev_spearman_after": after,
        "points_above_the_best_before": max(after.values()) - max(before.values()),
        "masked_lm": result(masked),
        "settings": {"both": SENTENCES, "masked_lm": SENTENCES_MASKED, "simcse": SENTENCES_COMPARED},
    }
