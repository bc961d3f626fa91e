"""The tiny row of each family, trained on the same text in the same number of places, and compared by one mask rule."""

import math
from pathlib import Path

from bert_jax import inputs, run
from bert_jax import workdir as workdirs
from bert_jax.data import sources
from bert_jax.data.report import Report
from bert_jax.train.watch import read_metrics
from experiments.benchmarks import measure
from experiments.proofs.commands import data, result, timed, train

STEPS, TOKENS = 5000, 2048  # of each run; of each step
BERT = {  # as the tiny rows of the others
    "text.vocab_size": 8000,
    "data.max_seq_length": 64,
    "data.max_predictions_per_seq": 10,
    "data.later_phases": "()",
    "data.dupe_factor": 2,
    "data.num_eval_rows": 1000,
    "model.initializer_range": 0.05,
    "model.hidden_dropout_prob": 0.0,
    "model.attention_probs_dropout_prob": 0.0,
    "optim.name": "adamw",  # at this rate bert_adam, whose first updates are large, stays at guessing by frequency
    "optim.b2": 0.98,
    "optim.learning_rate": 2e-3,
    "optim.num_warmup_steps": 100,
    "train.train_batch_size": 32,
    "train.eval_every_steps": 1000,
    "train.save_every_steps": 1000,
}
ONE_RULE = {  # BERT's: what each was trained to fill in is another task, of spans, of n-grams or of twice as many places
    "mask_unit": "token",
    "masked_lm_prob": 0.15,
    "mask_token_prob": 0.8,
    "random_token_prob": 0.1,
}
SHARED = {"model.matmul_dtype": "bfloat16", "train.num_train_steps": STEPS, "train.log_every_steps": 50}
RUNS = {  # name -> (row of configs/, whose vocabulary and store it has, settings)
    "bert": ("bert.py:tiny", "bert", BERT),
    "electra": ("electra.py:tiny", "bert", {}),
    "albert": ("albert.py:tiny", "albert", {}),
    "spanbert": ("spanbert.py:tiny", "spanbert", {}),
    "roberta": ("roberta.py:tiny", "roberta", {}),
    "modern": ("modern.py:tiny", "roberta", {}),
}


def family(scratch: Path) -> dict:
    """Held-out masked-LM loss beside guessing by frequency, with the masks that each was trained with and with the same for all,
    per piece and per byte, since a piece of one vocabulary holds more text than one of another; and how ELECTRA's encoder tells
    replaced pieces, beside always answering as is commoner."""
    text = data() / "text"
    patterns = f"{text / 'wiki_en' / 'shard-*.txt.xz'},{text / 'books_en' / '*.xz'}"
    documents = sources.documents(patterns, "auto", Report("stop"))
    num_bytes = sum(len(sentence.encode()) for document in documents for sentence in document)
    found = {}
    for name, (row, owner, settings) in RUNS.items():
        given = {"data.input_file": patterns} | SHARED | settings
        if owner != name:
            vocabulary = inputs.vocabulary_path(workdirs.read_trained_config(scratch / owner), scratch / owner)
            given |= {"data.store": scratch / owner / "store", "text.vocab_file": vocabulary}
        seconds, _ = timed(train(scratch / name, row, given))
        found[name] = {"seconds": seconds} | _figures(scratch / name, num_bytes)
    _plot(scratch, {name: figures["bytes_per_piece"] for name, figures in found.items()})
    return {"steps": STEPS, "tokens_each_step": TOKENS, "text_bytes": num_bytes, "runs": found}


def _figures(workdir: Path, num_bytes: int) -> dict:
    config = workdirs.read_trained_config(workdir)
    text = inputs.open_store(config, workdir, inputs.open_vocabulary(config, workdir))
    bytes_per_piece = num_bytes / (text.train.num_tokens + text.held_out.num_tokens)
    metrics, same_masks = result(workdir), run.evaluate_trained(workdir, ONE_RULE)
    found = {
        "bytes_per_piece": bytes_per_piece,
        "nats_below_unigram_per_piece": metrics["unigram_loss"] - metrics["masked_lm_loss"],
        "same_masks": {
            "masked_lm_nats_per_piece": same_masks["masked_lm_loss"],
            "masked_lm_nats_per_byte": same_masks["masked_lm_loss"] / bytes_per_piece,
            "unigram_nats_per_byte": same_masks["unigram_loss"] / bytes_per_piece,
            "masked_lm_accuracy": same_masks["masked_lm_accuracy"],
        },
        **metrics,
    }
    if "replaced_share" in metrics:
        share = metrics["replaced_share"]
        found["majority_accuracy"] = max(share, 1 - share)
        found["majority_loss"] = -share * math.log(share) - (1 - share) * math.log(1 - share)
    return found


def _plot(scratch: Path, bytes_per_piece: dict[str, float]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, size in bytes_per_piece.items():
        records = [record for record in read_metrics(scratch / name) if record["kind"] == "held_out"]
        label = "electra, its generator" if name == "electra" else name
        axes.plot(
            [record["step"] for record in records], [record["masked_lm_loss"] / size for record in records], "o-", label=label
        )
    axes.set(xlabel="step", ylabel="held-out masked LM, nats per byte", title="each with the masks it is trained with")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    measure.RESULTS.mkdir(parents=True, exist_ok=True)
    figure.savefig(measure.RESULTS / "family.png", dpi=120)
    plt.close(figure)
