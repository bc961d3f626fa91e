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
SENTENCES_MASKED = {  # 4 minutes on two cores; an encoder trained for longer is better at STS-B before, and SimCSE makes it worse
    "text.vocab_size": 8000,
    "data.rows": "full_sentences",
    "data.short_seq_prob": 0.0,
    "data.dupe_factor": 1,
    "data.max_predictions_per_seq": 5,
    "objective.next_sentence": False,
    "model.hidden_dropout_prob": 0.0,
    "model.attention_probs_dropout_prob": 0.0,
    "optim.learning_rate": 1e-3,
    "train.train_batch_size": 64,
    "train.num_train_steps": 2500,
    "train.eval_every_steps": 500,
    "train.save_every_steps": 500,
}
SENTENCES_COMPARED = {  # 2 minutes
    "objective.pooling": "mean",  # the [CLS] of so short a training holds little yet
    "optim.learning_rate": 1e-4,  # the paper's 3e-5 is for a width of 768
    "train.num_train_steps": 400,
    "train.eval_every_steps": 400,
    "train.save_every_steps": 400,
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
    """Encoders pretrained with masked LM alone, then unsupervised SimCSE: Spearman on STS-B dev before and after, under each
    pooling, for each seed of both."""
    text = data() / "text"
    given = {"data.input_file": f"{text / 'wiki_en' / 'shard-*.txt.xz'},{text / 'books_en' / '*.xz'}"}
    shared, seconds = {}, {"masked_lm": [], "simcse": []}
    spearman = {when: {pooling: [] for pooling in POOLINGS} for when in ("before", "after")}
    for seed in SEEDS:
        masked, compared = scratch / f"masked-{seed}", scratch / f"compared-{seed}"
        first = given | SENTENCES | SENTENCES_MASKED | shared | {"seed": seed}
        seconds["masked_lm"].append(timed(train(masked, "bert.py:tiny", first))[0])
        shared = shared or {"data.store": masked / "store", "text.vocab_file": masked / "vocab.txt"}
        start = {"init_checkpoint": masked, "data.store": shared["data.store"], "seed": seed}
        seconds["simcse"].append(timed(train(compared, "simcse.py:unsup", given | SENTENCES | SENTENCES_COMPARED | start))[0])
        for when, run_ in (("before", masked), ("after", compared)):
            for pooling in POOLINGS:
                spearman[when][pooling].append(finetune.sts_of_trained(run_, pooling))
    return {
        "seeds": SEEDS,
        "seconds": seconds,
        "stsb_dev_spearman": spearman,
        "gain": {
            pooling: [after - before for before, after in zip(spearman["before"][pooling], spearman["after"][pooling])]
            for pooling in POOLINGS
        },
        "settings": {"both": SENTENCES, "masked_lm": SENTENCES_MASKED, "simcse": SENTENCES_COMPARED},
    }
