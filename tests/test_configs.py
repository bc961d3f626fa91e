"""Every config file builds, trains one step, and has no key that nobody reads."""

from pathlib import Path

import jax
import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax import jobs, run
from bert_jax import workdir as workdirs
from bert_jax.build import (
    build_objective,
    build_optimizer,
    build_task_optimizer,
    encoder_config,
    loader_config,
    named_objective,
)
from bert_jax.errors import UserError
from tests import tiny

ROWS = (
    "tiny",
    "mini",
    "small",
    "medium",
    "base",
    "large",
    "L10_H256",
    "base-cased",
    "base-multilingual",
    "base-chinese-wwm",
    "d2l",
    "ltr",
    "tiny-ltr",
)
PRETRAINING = ["quickstart.py", "sweep_quickstart.py", *(f"bert.py:{row}" for row in ROWS)]
PRETRAINING += [f"roberta.py:{row}" for row in ("tiny", "base", "large")]
PRETRAINING += [
    f"electra.py:{row}"
    for row in ("tiny", "small", "base", "large", "base-replaced_at_masks", "base-all_tokens_mlm", "tiny-bert")
]
PRETRAINING += [f"spanbert.py:{row}" for row in ("tiny", "base", "large")]
PRETRAINING += [f"bert4rec.py:{row}" for row in ("tiny", "ml-1m", "ml-20m", "beauty", "steam")]
PRETRAINING += [f"lamb.py:{row}" for row in ("76min", "512", "32k", "4k-base")]
STUDENTS = ("distilbert", "tinybert", "tinybert-6x768", "minilm", "minilm-6x384", "minilm-6x768")
PRETRAINING += [f"distill.py:{row}" for row in (*STUDENTS, "tiny", "tiny-alone", "tiny-teacher")]
TASK_STEPS = ("tinybert-layers", "tinybert-prediction", "tiny-layers", "tiny-prediction", "student")
PRETRAINING += [f"domain.py:{row}" for row in ("tiny", "pubmedbert", "scibert", "finbert", "finbert-finvocab", "biobert")]
PRETRAINING += [f"word_place.py:{row}" for row in ("tiny", "base")]
PRETRAINING += [f"simcse.py:{row}" for row in ("tiny", "unsup", "unsup-large")]
PRETRAINING += [f"albert.py:{row}" for row in ("tiny", "base", "large", "xlarge", "xxlarge")]
PRETRAINING += [f"modern.py:{row}" for row in ("tiny", "base", "large")]
CROSSED = (
    "base-masked_lm-pieces-bert",
    "tiny-next_sentence-words-modern",
    "tiny-replaced-pieces-modern",
    "base-replaced-words-albert",
)
PRETRAINING += [f"equal_data.py:{row}" for row in CROSSED]


def load(name: str, *overrides: str):
    return configs.load(str(tiny.ROOT / "configs" / name), overrides)


def overrides(values: dict) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]


def objective_of(name: str):
    """As it is trained, a student with the teacher that its paper names."""
    teacher = "distill.py:tiny-teacher" if name == "distill.py:tiny" else "bert.py:base"
    return build_objective(load(name), vocab_size=30522, teacher_model=dict(load(teacher).model))


def test_every_config_file_is_tested_here():
    tested = {name.partition(":")[0] for name in PRETRAINING} | FINE_TUNING.keys() | {"sentence_bert.py"}
    assert tested == {path.name for path in (tiny.ROOT / "configs").glob("*.py")}


FINE_TUNING = {  # file -> a row of it for each objective and each form
    "finetune_glue.py": ("mrpc", "stsb", "sst2-short", "mrpc-sparse", "mrpc-int8"),
    "finetune_texts.py": ("chnsenticorp", "imdb-chunks"),
    "finetune_ner.py": ("conll2003", "resume_zh-crf", "conll2003-features", "conll2003-context"),
    "finetune_squad.py": ("squad1", "squad2", "cmrc2018"),
    "finetune_swag.py": ("swag",),
    "sweep_few_labels.py": ("sst2", "chnsenticorp"),
    "prune.py": ("sst2", "conll2003", "stsb"),
    "finetune_own.py": ("classification", "regression", "tagging", "answering", "answering_or_none", "choice", "ranking"),
}
ONE_STEP = ["quickstart.py", "bert.py:tiny-cased-wwm", "bert.py:d2l", "bert.py:tiny-ltr", "lamb.py:76min-base", "simcse.py:unsup"]
ONE_STEP += [f"{family}.py:tiny" for family in ("roberta", "albert", "electra", "spanbert", "modern", "bert4rec", "distill")]
ONE_STEP += ["word_place.py:tiny", "electra.py:tiny-replace_mlm", "electra.py:tiny-all_tokens_mlm"]
ONE_STEP += ["sweep_quickstart.py", "domain.py:tiny"]  # the rows of fine-tuning have theirs where their data is made


MODES = {
    "data": {},
    "fsdp_tensor": {"parallel.fsdp": 2, "parallel.tensor": 2},
    "pmap": {"parallel.mode": "pmap"},
}


def small(name: str, folder: Path) -> dict:
    """Overrides under which a config trains one step on eight devices within seconds."""
    config = load(name)
    found = {
        key: value
        for key, value in tiny.OVERRIDES.items()
        if key not in ("model.num_attention_heads", "model.hidden_size", "train.num_train_steps", "train.train_batch_size")
    } | {
        "model.hidden_size": 2 * config.model.num_attention_heads,
        "model.max_position_embeddings": 24 + config.model.get("position_offset", 0),
        "train.num_train_steps": 1,
        "train.train_batch_size": 8,
        "data.input_file": tiny.write_corpus(folder / "text.txt"),
    }
    if config.data.input_format == "histories":
        found["data.input_file"] = folder / "histories.txt"
        found["data.input_file"].write_text("".join(f"{n % 7} {n % 5} {n % 3} {n % 11} {n % 2}\n" for n in range(60)))
    if config.text.kind == "bytelevel":
        found["text.vocab_size"] = 300  # bytes alone are 256
    if "teacher" in config.objective:
        if not (folder / "T").exists():
            assert run.train(load("distill.py:tiny-teacher", *overrides(found)), folder / "T", quiet=True)
        found["objective.teacher"] = folder / "T"  # from the same text the same vocabulary is learned
    if name.startswith("domain.py"):  # with half the positions, as its own
        half = found | {"data.max_seq_length": 12, "model.max_position_embeddings": 12}
        found["init_checkpoint"] = tiny.untrained(load("quickstart.py", *overrides(half)), folder / "P")
    return found


def in_every_mode() -> list:
    """All pairs; each config runs here in one of the modes, and in the others as a heavy proof."""
    pairs = [(name, mode, place % len(MODES) == turn) for place, name in enumerate(ONE_STEP) for turn, mode in enumerate(MODES)]
    return [pytest.param(name, mode, marks=() if light else pytest.mark.acceptance) for name, mode, light in pairs]


@pytest.mark.parametrize(("name", "mode"), in_every_mode())
def test_one_step_is_trained_in_every_mode_and_every_key_read(name, mode, tmp_path):
    changes = small(name, tmp_path) | MODES[mode]
    recorder = configs.Recorder(load(name, *overrides(changes)))
    assert run.train(recorder, tmp_path / "W", quiet=True)
    assert workdirs.finished(tmp_path / "W")["step"] == 1
    # No vocabulary is learned for a model that goes on with another's.
    assert recorder.never_read() == ["text.vocab_size"] * ("init_checkpoint" in changes)


def test_no_row_has_a_key_that_none_of_the_trained_ones_has():
    def keys(name: str) -> set[str]:
        return set(dict(configs.flatten(load(name).to_dict())))

    trained = set().union(*map(keys, ONE_STEP))
    assert {name: keys(name) - trained for name in PRETRAINING if keys(name) - trained} == {}


@pytest.mark.parametrize("name", PRETRAINING)
def test_the_model_and_the_optimiser_build(name):
    config = load(name)
    loader_config(config)
    objective = objective_of(name)
    optimizer, _ = build_optimizer(config)
    params = jax.eval_shape(objective.init, jax.random.key(0))
    jax.eval_shape(optimizer.init, params)


def test_losses_weigh_what_the_config_says():
    objective = build_objective(load("bert.py:tiny", "objective.loss_weights=(('next_sentence_loss', 0.5),)"), vocab_size=9)
    assert {name: term.coefficient for name, term in objective.terms.items() if term.coefficient} == {
        "masked_lm_loss": 1.0,
        "next_sentence_loss": 0.5,
    }


@pytest.mark.parametrize(
    "name",
    ["finetune_glue.py:sst2", *(f"finetune_glue.py:mrpc-{step}" for step in TASK_STEPS), "finetune_texts.py:sick-tiny-layers"],
)
def test_the_objective_of_a_task_builds(name):
    config = load(name)
    student, teacher = (dict(load(name).model) | {"pooler": True} for name in ("distill.py:tinybert", "bert.py:base"))
    objectives = jobs.objectives(config.task, ("0", "1"))
    objective = named_objective(objectives, config.objective, encoder_config(student, 30522), teacher)
    build_task_optimizer(config, 10)
    heads = {"layers": {"projections"}, "student": {"projections", "classifier"}}
    parts = {"encoder"} | heads.get(name.split("-")[-1], {"classifier"})
    assert set(jax.eval_shape(objective.init, jax.random.key(0))) == parts


@pytest.mark.parametrize("name", [f"{file}:{row}" for file, rows in FINE_TUNING.items() for row in rows])
def test_a_row_of_fine_tuning_has_what_its_form_asks_for(name):
    """Every setting that the encoding and the answers take, the objective, and the optimiser; and files or a table to read."""
    config = load(name, *(["data.train_file=train.tsv"] if "own" in name else []))
    task = jobs.task_of(config)
    assert {"train", "dev"} <= task.files.keys() or "own" in name
    jobs.settings_of(task.form.encode, config.data)
    jobs.settings_of(task.form.answers, config.predict if "predict" in config else {})
    model = dict(load("bert.py:base").model) | dict(config.model) | {"pooler": task.form.pooler}
    labels = task.labels or ("O", "B-PER", "I-PER")
    objective = named_objective(jobs.objectives(config.task, labels), config.objective, encoder_config(model, 30522))
    build_task_optimizer(config, 10)
    assert "encoder" in jax.eval_shape(objective.init, jax.random.key(0))


@pytest.mark.parametrize(("size", "millions"), [("base", 110.1), ("medium", 41.7), ("tiny", 4.4)])
def test_the_sizes_are_the_published_ones(size, millions):
    """Parameters with both pretraining heads, computed from the released configurations."""
    shapes = jax.eval_shape(build_objective(load(f"bert.py:{size}"), vocab_size=30522).init, jax.random.key(0))
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize(("row", "millions"), zip(STUDENTS, (66, 14.5, 67.0, 33.0, 22.3, 65.9)))
def test_the_students_have_about_the_published_sizes(row, millions):
    """DistilBERT, section 3; TinyBERT, table 1; MiniLM, table 4, which leaves out positions and segments."""
    encoder = jax.eval_shape(objective_of(f"distill.py:{row}").init, jax.random.key(0))["encoder"]
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(encoder)) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("large-cased-wwm", {"text.vocab_size": 28996, "text.do_lower_case": False, "data.mask_unit": "whole_word"}),
        ("base-chinese", {"text.vocab_size": 21128, "data.mask_unit": "token", "data.segmenter": ""}),
        ("base-chinese-wwm", {"data.mask_unit": "whole_word", "data.segmenter": "jieba"}),
        ("small-multilingual", {"text.vocab_size": 119547, "text.do_lower_case": False, "model.hidden_size": 512}),
        ("ltr", {"model.left_to_right": True, "objective.name": "causal_lm", "model.hidden_size": 768}),
        ("d2l", {"model.hidden_act": "relu", "model.num_hidden_layers": 2, "model.hidden_size": 128}),
    ],
)
def test_a_row_of_bert_is_what_its_name_says(row, expected):
    config = dict(configs.flatten(load(f"bert.py:{row}").to_dict()))
    assert {key: config[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [("lamb.py:76min", 7037, 1562), ("lamb.py:76min-base", 7037, 1562), ("domain.py:scibert", 500_000, 800_000)],
)
def test_the_second_length_and_its_rates_begin_together_in_a_run_of_any_length(name, first, second):
    def begins(config) -> int:
        step = loader_config(config).phases[1].first_step
        schedule = build_optimizer(config)[1]
        assert float(schedule(step)) == 0 < float(schedule(step - 1)) and float(schedule(step + 1)) > 0
        return step

    published = load(name)
    assert (begins(published), published.train.num_train_steps) == (first, first + second)
    for steps in (10_007, 12_345, 99_999):
        assert begins(load(name, f"train.num_train_steps={steps}")) == round(first / (first + second) * steps)


def test_the_24_released_sizes_are_there():
    for layers in range(2, 13, 2):
        for width in (128, 256, 512, 768):
            model = load(f"bert.py:L{layers}_H{width}").model
            assert (model.num_hidden_layers, model.hidden_size, model.num_attention_heads) == (layers, width, width // 64)


@pytest.mark.parametrize("row", ["huge", "base-greek", "base-cased-uncased", "wwm", "d2l-cased"])
def test_a_row_that_is_not_there_is_refused(row):
    with pytest.raises(UserError, match="is no SIZE-KIND-wwm"):
        load(f"bert.py:{row}")


@pytest.mark.parametrize(
    "name", ["finetune_texts.py:sick-tiny", "finetune_texts.py:imdb-tail", "equal_data.py:tiny-masked_lm-words"]
)
def test_a_row_of_two_words_that_is_not_there_is_refused(name):
    with pytest.raises(UserError, match="refuses its argument"):
        load(name)


def test_headers_name_the_command_of_the_file():
    for path in (tiny.ROOT / "configs").glob("*.py"):
        assert f"--config=configs/{path.name}" in Path(path).read_text(encoding="utf-8").split('"""')[1], path
