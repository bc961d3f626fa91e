"""Real text learned."""

import shutil
import sys
from pathlib import Path

from bert_jax import config as configs
from bert_jax import inputs
from bert_jax.build import build_optimizer, encoder_config
from bert_jax.train.watch import read_metrics
from experiments.benchmarks import measure
from experiments.proofs.commands import data, result, timed

LEARNING = {  # half an hour on two cores
    "data.later_phases": "()",
    "data.rows": "full_sentences",
    "data.short_seq_prob": 0.0,
    "data.dupe_factor": 1,  # less than one pass over the text
    "data.max_seq_length": 64,
    "data.max_predictions_per_seq": 10,
    "objective.next_sentence": False,
    "model.initializer_range": 0.05,  # 0.02 suits a width of 768
    "model.hidden_dropout_prob": 0.0,
    "model.attention_probs_dropout_prob": 0.0,
    "model.matmul_dtype": "bfloat16",
    "optim.learning_rate": 5e-4,  # with 1e-3 the loss stays at that of guessing by frequency
    "optim.num_warmup_steps": 500,
    "train.train_batch_size": 32,
    "train.num_train_steps": 5000,
    "train.log_every_steps": 50,
    "train.eval_every_steps": 500,
    "train.save_every_steps": 1000,
}
SAME_STEPS, SAME_EVERY = 300, 50


def learning(scratch: Path) -> dict:
    """4 x 256 on Wikipedia and books with the released vocabulary of 30,522 pieces; the plot is kept beside the figures."""
    figures = {}
    for verb in ("prepare", "train"):
        figures[f"seconds_{verb}"], _ = timed(_mini(verb, scratch, LEARNING))
    metrics = result(scratch / "run")
    shutil.copy(scratch / "run" / "report" / "loss.png", measure.RESULTS / "learning.png")
    return {
        **figures,
        **metrics,
        "nats_below_unigram": metrics["unigram_loss"] - metrics["masked_lm_loss"],
        "settings": LEARNING,
        "curve": read_metrics(scratch / "run"),
    }


def beside_torch(scratch: Path) -> dict:
    """The first three hundred steps of `learning` in torch too, from the same start: the losses at every fiftieth."""
    from experiments.beside_torch import compare

    timed(_mini("prepare", scratch, LEARNING))
    config = configs.load("configs/bert.py:mini", _real_text(LEARNING))
    batches, tokenizer = inputs.open_batches(config, scratch / "run")
    encoder = encoder_config(dict(config.model), tokenizer.size)
    schedule = build_optimizer(config)[1]
    losses = compare(encoder, config.optim, schedule, [batches.batch(step) for step in range(SAME_STEPS)])
    apart = {name: float(max(abs(a - b) for a, b in zip(curve, losses["torch_float32"]))) for name, curve in losses.items()}
    kept = slice(SAME_EVERY - 1, None, SAME_EVERY)
    reference = losses["torch_float32"][kept]
    return {
        "at_steps": list(range(1, SAME_STEPS + 1))[kept],
        "losses": {name: curve[kept] for name, curve in losses.items()},
        "largest_difference_there": {
            name: max(abs(a - b) for a, b in zip(curve[kept], reference)) for name, curve in losses.items()
        },
        "largest_difference_of_all_steps": apart,
        "first_losses": {name: curve[0] for name, curve in losses.items()},
    }


def _mini(verb: str, scratch: Path, settings: dict) -> list[str]:
    command = [sys.executable, "-m", "bert_jax", verb, "--config=configs/bert.py:mini", f"--workdir={scratch / 'run'}"]
    return [*command, *_real_text(settings)]


def _real_text(settings: dict) -> list[str]:
    text, vocabulary = data() / "text", data() / "vocab" / "bert-base-uncased-vocab.txt"
    files = {
        "data.input_file": f"{text / 'wiki_en' / 'shard-*.txt.xz'},{text / 'books_en' / '*.xz'}",
        "text.vocab_file": vocabulary,
    }
    return [f"--config.{key}={value}" for key, value in (files | settings).items()]
