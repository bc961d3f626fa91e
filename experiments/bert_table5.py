"""BERT paper, table 5: what each pre-training task contributes. Here its first two rows, and the columns that have a task."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from bert_jax import config as configs
from bert_jax import finetune, inputs, jobs, run
from experiments.tables import Run, published, side_by_side
from launch.table import NOT_RUN

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
ROWS = {"BERT-base": {"objective.next_sentence": True}, "No NSP": {"objective.next_sentence": False}}
TASKS = {"mrpc_acc": "mrpc", "sst2": "sst2"}  # column -> task, scored by its accuracy


class Scale(NamedTuple):
    """What is changed in the config files: configs/quickstart.py for pretraining, configs/finetune_glue.py for the tasks."""

    pretraining: dict[str, object]
    finetuning: dict[str, object]


SCALES = {
    "smoke": Scale(
        pretraining={
            "text.vocab_size": 4000,
            "data.max_seq_length": 64,
            "data.max_predictions_per_seq": 10,
            "data.num_eval_rows": 320,
            "model.max_position_embeddings": 64,
            "model.hidden_size": 64,
            "model.intermediate_size": 256,
            "optim.learning_rate": 5e-4,  # 2e-3 within 300 steps was seen to leave an encoder that ignores its input
            "optim.num_warmup_steps": 100,
            "train.num_train_steps": 300,
            "train.log_every_steps": 100,
            "train.save_every_steps": 100,
        },
        finetuning={
            "data.max_seq_length": 64,
            "data.max_train_examples": 6400,
            "optim.learning_rate": 1e-3,  # the paper's 5e-5 is for encoders hundreds of times larger: here it would move nothing
            "train.num_train_epochs": 1.0,
            "train.save_every_steps": 100,
        },
    )
}


def runs(scale: Scale, folder: Path) -> list[Run]:
    """Every run of the table, in an order in which each finds what it needs."""
    found = []
    for row in ROWS:
        found += [pretraining(scale, folder, row), *(finetuning(scale, folder, row, column) for column in TASKS)]
    return found


def pretraining(scale: Scale, folder: Path, row: str) -> Run:
    """The rows differ in the objective alone: same seed, so same rows, masks and first weights of the encoder."""
    shared = folder / "shared"
    paths = {"text.vocab_file": shared / "vocab.txt", "data.store": shared / "store"}
    config = _load("quickstart.py", scale.pretraining | ROWS[row] | paths)

    def start(config, workdir: Path) -> bool:
        inputs.make_vocabulary(config, shared)
        inputs.prepare_store(config, shared)
        return run.train(config, workdir)

    return Run(f"{row}, pretraining", folder / _slug(row) / "pretraining", config, start)


def finetuning(scale: Scale, folder: Path, row: str, column: str) -> Run:
    task = TASKS[column]
    pretrained = pretraining(scale, folder, row).folder
    config = _load(f"finetune_glue.py:{task}", scale.finetuning | {"init_checkpoint": pretrained})
    return Run(
        f"{row}, {task}", folder / _slug(row) / task, config, lambda config, workdir: bool(finetune.finetune(config, workdir))
    )


def check(scale: Scale, folder: Path) -> None:
    """Raises UserError when the data of a task is absent or broken, before any run is paid for."""
    for column in TASKS:
        jobs.read_examples(finetuning(scale, folder, next(iter(ROWS)), column).config)


def render(name: str, folder: Path) -> str:
    """The table in Markdown at the scale of this name, with what it was made from, out of the folders of the runs alone."""
    scale, theirs = SCALES[name], published("bert", "table5")
    results = {
        (row, column): result
        for row in ROWS
        if pretraining(scale, folder, row).result()
        for column in TASKS
        if (result := finetuning(scale, folder, row, column).result())
    }
    ours = {row: {column: 100 * r["metrics"]["accuracy"] for (at, column), r in results.items() if at == row} for row in ROWS}
    commonest = {column: 100 * result["metrics"]["majority_accuracy"] for (_, column), result in results.items()}
    table = side_by_side(theirs, ours, {"always the commonest class": commonest})
    lines = [f"# BERT table 5 at scale {name}: {theirs.title}", "", *_made_from(name, folder, results), "", table]
    return "\n".join([*lines, "", f"Published: {theirs.source}. All numbers are percent."])


def _made_from(name: str, folder: Path, results: Mapping[tuple[str, str], Mapping]) -> Iterator[str]:
    scale, row = SCALES[name], next(iter(ROWS))
    model = pretraining(scale, folder, row).config
    task = finetuning(scale, folder, row, next(iter(TASKS))).config
    yield (
        f"- Values at scale {name} are not comparable with the published ones, and one seed cannot tell two rows apart: "
        "this shows that the way from text to table works."
    )
    yield (
        f"- Shrunk: {model.model.num_hidden_layers} layers x {model.model.hidden_size} instead of 12 x 768; "
        f"{model.text.vocab_size:,} word pieces; length {model.data.max_seq_length}; {model.train.num_train_steps:,} pretraining "
        f"steps of {model.train.train_batch_size} rows on docstrings instead of 1,000,000 of 256 on Wikipedia and books; "
        f"fine-tuning on at most {task.data.max_train_examples:,} examples for {task.train.num_train_epochs:g} of 3 epochs at "
        f"the one rate {task.optim.learning_rate:g}."
    )
    sizes = {column: result["num_examples"]["dev"] for (_, column), result in results.items()}
    dev_sets = [f"{TASKS[column]} dev ({sizes[column]:,} examples)" if column in sizes else "" for column in TASKS]
    yield f"- Seeds: 1. Scored on: {', '.join(filter(None, dev_sets)) or NOT_RUN}."
    for row in ROWS:
        yield f"- {row}, pretraining, held out: {_held_out(pretraining(scale, folder, row).result())}."


def _held_out(result: Mapping | None) -> str:
    if not result:
        return NOT_RUN
    metrics = result["metrics"]
    text = f"masked-LM loss {metrics['masked_lm_loss']:.2f} (unigram baseline {metrics['unigram_loss']:.2f})"
    if "next_sentence_accuracy" in metrics:
        text += f", next-sentence accuracy {100 * metrics['next_sentence_accuracy']:.1f}"
    return text


def _load(name: str, changes: Mapping[str, object]):
    return configs.load(str(CONFIGS / name), [f"{key}={value}" for key, value in changes.items()])


def _slug(row: str) -> str:
    return row.lower().replace(" ", "-")
