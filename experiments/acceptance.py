"""The heavy proofs, run by hand; each writes its figures to experiments/benchmarks/results/.

make acceptance                                     all of them, one after another
python -m experiments.acceptance quickstart kills   some
python -m experiments.acceptance own_text           needs BERT_JAX_DATA
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bert_jax import config as configs
from bert_jax import finetune, inputs
from bert_jax.build import build_optimizer, encoder_config
from bert_jax.errors import EXIT_USER_ERROR, UserError
from bert_jax.parallel.step import init_state
from bert_jax.train.watch import read_metrics
from bert_jax.trained import open_trained
from experiments import faults
from experiments.benchmarks import measure

ROOT = Path(__file__).resolve().parent.parent
KILLS, MANY_KILLS, FAULTS = 5, 100, 1000
SMALL = {  # a run whose lives are short, over a vocabulary and a store made once
    "model.hidden_size": 32,
    "model.intermediate_size": 64,
    "data.num_eval_rows": 200,
    "train.num_train_steps": 1000,
    "train.log_every_steps": 7,
    "train.eval_every_steps": 50,
    "train.save_every_steps": 5,
    "train.keep_checkpoints": 3,
}
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
    "optim.learning_rate": 1e-3,
    "train.train_batch_size": 64,
    "train.num_train_steps": 6000,
    "train.eval_every_steps": 1000,
    "train.save_every_steps": 1000,
}
SENTENCES_COMPARED = {  # 4 minutes
    "objective.pooling": "mean",  # the [CLS] of so short a training holds little yet
    "optim.learning_rate": 3e-4,  # the paper's 3e-5 is for a width of 768
    "train.num_train_steps": 1000,
    "train.eval_every_steps": 500,
    "train.save_every_steps": 500,
}
POOLINGS = ("cls", "mean", "max")
DISTILLED = {"model.matmul_dtype": "bfloat16", "train.log_every_steps": 50}  # a quarter of an hour on two cores
STUDENT_STEPS, SEEDS = 400, (1, 2, 3)


def quickstart(scratch: Path) -> dict:
    """`make pretrain` in a fresh clone with an empty HOME, then the same command again."""
    clone, home = scratch / "clone", scratch / "home"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    home.mkdir()
    environment = {**os.environ, "HOME": str(home)}
    seconds, output = _timed(["make", "pretrain"], cwd=clone, env=environment)
    again_seconds, again = _timed(["make", "pretrain"], cwd=clone, env=environment)
    result = json.loads((clone / "runs" / "quickstart" / "result.json").read_text())
    metrics = result["metrics"]
    return {
        "seconds_first": seconds,
        "seconds_second": again_seconds,
        "nats_below_unigram": metrics["unigram_loss"] - metrics["masked_lm_loss"],
        "second_run_says_finished": "This run is finished" in again,
        "plots": result["plots"],
        "filled_sentences": output.count("guesses: "),
        **metrics,
    }


def kills(scratch: Path) -> dict:
    """The quickstart, SIGKILLed at random instants, against the unbroken one: metrics and parameters compared bit for bit."""
    _timed(_train(scratch / "unbroken"))
    steps = json.loads((scratch / "unbroken" / "result.json").read_text())["step"]
    done = faults.train_with_kills(
        _train(scratch / "killed"), scratch / "killed", kills=KILLS, steps=int(0.9 * steps), seed=int(time.time())
    )
    return {"kills": done, **_compared(scratch)}


def many_kills(scratch: Path) -> dict:
    """A small run SIGKILLed a hundred times, many of them in saves, against the unbroken one, bit for bit."""
    _small_run(scratch / "unbroken", scratch)
    command = _small(scratch / "killed", scratch)
    done = faults.train_with_kills(
        command, scratch / "killed", kills=MANY_KILLS, steps=int(0.9 * SMALL["train.num_train_steps"]), seed=int(time.time())
    )
    return {"kills": len(done), "when": Counter(kill["when"] for kill in done), **_compared(scratch)}


def injected_faults(scratch: Path) -> dict:
    """A thousand damages to checkpoint and store files: bits flipped, files truncated, deleted, swapped, steps emptied."""
    workdir = scratch / "run"
    _small_run(workdir, scratch)
    trained = open_trained(workdir)
    like = init_state(trained.objective, build_optimizer(trained.config)[0], 0)
    draw, unnoticed, kinds = random.Random(int(time.time())), [], Counter()
    for number in range(FAULTS):
        of_checkpoint = number % 2 == 0
        source = workdir / "checkpoints" if of_checkpoint else scratch / "first" / "store"
        copy = shutil.copytree(source, scratch / "damaged")
        damage = faults.damage_checkpoint if of_checkpoint else faults.damage_store
        what, noticed = damage(copy, like if of_checkpoint else trained.tokenizer, draw)
        kinds[f"{'checkpoint' if of_checkpoint else 'store'} {what.split(':')[0]}"] += 1
        unnoticed += [] if noticed else [what]
        shutil.rmtree(copy)
    return {"injected": FAULTS, "noticed_and_named": FAULTS - len(unnoticed), "unnoticed": unnoticed, "kinds": kinds}


def own_text(scratch: Path) -> dict:
    """The README's three commands on 40 MB of Wikipedia in `<doc>` blocks, compressed with xz."""
    pattern = _data() / "text" / "wiki_en" / "shard-*.txt.xz"
    figures = {}
    for verb in re.findall(
        r"^python -m bert_jax (vocab|prepare|train) .*runs/mine", (ROOT / "README.md").read_text(), re.MULTILINE
    ):
        command = [sys.executable, "-m", "bert_jax", verb, "--config=configs/quickstart.py", f"--workdir={scratch / 'mine'}"]
        figures[f"seconds_{verb}"], output = _timed([*command, f"--config.data.input_file={pattern}"])
    metrics = _result(scratch / "mine")
    lines = [line for line in output.splitlines() if line.startswith("step")]
    return {
        **figures,
        **metrics,
        "nats_below_unigram": metrics["unigram_loss"] - metrics["masked_lm_loss"],
        "progress_lines": len(lines),
    }


def learning(scratch: Path) -> dict:
    """4 x 256 on Wikipedia and books with the released vocabulary of 30,522 pieces; the plot is kept beside the figures."""
    figures = {}
    for verb in ("prepare", "train"):
        figures[f"seconds_{verb}"], _ = _timed(_mini(verb, scratch, LEARNING))
    metrics = _result(scratch / "run")
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

    _timed(_mini("prepare", scratch, LEARNING))
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


def distilled_student(scratch: Path) -> dict:
    """2 x 256 students of a 4 x 256 teacher, that start as two of its layers or from the seed, and the same student without a
    teacher, on the same batches: the held-out masked-LM losses."""
    teacher = scratch / "teacher"
    text = DISTILLED | {"data.input_file": _data() / "text" / "wiki_en" / "shard-*.txt.xz"}
    figures = {"seconds_teacher": _timed(_distill("tiny-teacher", teacher, text))[0], "teacher": _result(teacher)}
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
            seconds[name].append(_timed(_distill(row, workdir, text | shared | given | {"seed": seed}))[0])
            losses[name].append(_result(workdir)["masked_lm_loss"])
    gains = {name: [alone - loss for loss, alone in zip(losses[name], losses["alone"])] for name in students}
    return {**figures, "seeds": SEEDS, "steps": STUDENT_STEPS, "seconds": seconds, "masked_lm_loss": losses, "gain": gains}


def tokenisers(scratch: Path) -> dict:
    """All of the test text through the four BERT vocabularies; the comparison is a test marked as heavy."""
    seconds, output = _timed([sys.executable, "-m", "pytest", "-m", "acceptance", "tests/text", "-s"])
    return {"seconds": seconds, "lines_compared_and_different": re.findall(r"^(\S+): ([\d,]+) lines, (\d+) differ", output, re.M)}


def simcse(scratch: Path) -> dict:
    """An encoder pretrained with masked LM alone, then unsupervised SimCSE: Spearman on the dev set of STS-B before and after."""
    text = _data() / "text"
    given = {"data.input_file": f"{text / 'wiki_en' / 'shard-*.txt.xz'},{text / 'books_en' / '*.xz'}"}
    masked, compared = scratch / "masked", scratch / "compared"
    first = _train(masked, "bert.py:tiny", given | SENTENCES | SENTENCES_MASKED)
    start = {"init_checkpoint": masked, "data.store": masked / "store"}
    second = _train(compared, "simcse.py:unsup", given | SENTENCES | SENTENCES_COMPARED | start)
    seconds = [_timed(command)[0] for command in (first, second)]
    before, after = ({name: finetune.sts_of_trained(run_, name) for name in POOLINGS} for run_ in (masked, compared))
    return {
        "seconds_masked_lm": seconds[0],
        "seconds_simcse": seconds[1],
        "stsb_dev_spearman_before": before,
        "stsb_dev_spearman_after": after,
        "points_above_the_best_before": max(after.values()) - max(before.values()),
        "masked_lm": json.loads((masked / "result.json").read_text())["metrics"],
        "settings": {"both": SENTENCES, "masked_lm": SENTENCES_MASKED, "simcse": SENTENCES_COMPARED},
    }


def minilm(scratch: Path) -> dict:
    """A published sentence encoder on the whole dev set of STS-B beside torch; the comparison is a test marked as heavy."""
    seconds, output = _timed([sys.executable, "-m", "pytest", "-m", "acceptance", "tests/interop/test_minilm.py", "-s"])
    found = re.search(r"^\.?minilm: ([\d,]+) sentences, lowest cosine (\S+), Spearman (\S+), in torch (\S+)$", output, re.M)
    sentences, cosine, ours, torch = (float(number.replace(",", "")) for number in found.groups())
    return {
        "seconds": seconds,
        "sentences": int(sentences),
        "lowest_cosine": cosine,
        "spearman": ours,
        "spearman_in_torch": torch,
    }


PROOFS = {
    "quickstart": quickstart,
    "kills": kills,
    "many_kills": many_kills,
    "injected_faults": injected_faults,
    "own_text": own_text,
    "learning": learning,
    "beside_torch": beside_torch,
    "simcse": simcse,
    "distilled_student": distilled_student,
    "tokenisers": tokenisers,
    "minilm": minilm,
}


def _train(workdir: Path, config: str = "quickstart.py", settings: dict | None = None) -> list[str]:
    command = [sys.executable, "-m", "bert_jax", "train", f"--config=configs/{config}", f"--workdir={workdir}"]
    return [*command, *(f"--config.{key}={value}" for key, value in (settings or {}).items())]


def _data() -> Path:
    if "BERT_JAX_DATA" not in os.environ:
        raise UserError("BERT_JAX_DATA is not set", expected="the folder with text/wiki_en/shard-*.txt.xz")
    return Path(os.environ["BERT_JAX_DATA"])


def _mini(verb: str, scratch: Path, settings: dict) -> list[str]:
    command = [sys.executable, "-m", "bert_jax", verb, "--config=configs/bert.py:mini", f"--workdir={scratch / 'run'}"]
    return [*command, *_real_text(settings)]


def _distill(row: str, workdir: Path, settings: dict) -> list[str]:
    command = [sys.executable, "-m", "bert_jax", "train", f"--config=configs/distill.py:{row}", f"--workdir={workdir}"]
    return [*command, *(f"--config.{key}={value}" for key, value in settings.items())]


def _result(workdir: Path) -> dict:
    return json.loads((workdir / "result.json").read_text())["metrics"]


def _real_text(settings: dict) -> list[str]:
    text, vocabulary = _data() / "text", _data() / "vocab" / "bert-base-uncased-vocab.txt"
    files = {
        "data.input_file": f"{text / 'wiki_en' / 'shard-*.txt.xz'},{text / 'books_en' / '*.xz'}",
        "text.vocab_file": vocabulary,
    }
    return [f"--config.{key}={value}" for key, value in (files | settings).items()]


def _compared(scratch: Path) -> dict:
    ours, reference = faults.outcome(scratch / "killed"), faults.outcome(scratch / "unbroken")
    return {
        "metrics_equal": ours[0] == reference[0],
        "state_bitwise_equal": ours[1] == reference[1],
        "records": len(reference[0]),
        "arrays": len(reference[1]),
    }


def _small(workdir: Path, scratch: Path) -> list[str]:
    data = {"text.vocab_file": scratch / "first" / "vocab.txt", "data.store": scratch / "first" / "store"}
    return _train(workdir, settings=SMALL | data)


def _small_run(workdir: Path, scratch: Path) -> None:
    for verb in ("vocab", "prepare"):
        _timed([sys.executable, "-m", "bert_jax", verb, "--config=configs/quickstart.py", f"--workdir={scratch / 'first'}"])
    _timed(_small(workdir, scratch))


def _timed(command: list[str], **options) -> tuple[float, str]:
    before = time.time()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **({"cwd": ROOT} | options))
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} exited with {done.returncode}:\n{done.stdout[-3000:]}")
    print(done.stdout, flush=True)
    return round(time.time() - before, 1), done.stdout


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in PROOFS]
    if unknown:
        print(f"error: no proof is called {unknown[0]}; there are {', '.join(PROOFS)}", file=sys.stderr)
        return EXIT_USER_ERROR
    for name in names or PROOFS:
        with tempfile.TemporaryDirectory() as scratch:
            figures = PROOFS[name](Path(scratch))
        measure.write(name, figures)
        print(f"{name}: {json.dumps(figures, indent=2)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
