"""A small corpus with something to learn in it, a config that trains on it within seconds, and runs without any training."""

from pathlib import Path

import pytest

from bert_jax import config as configs
from bert_jax import finetune, inputs
from bert_jax import workdir as workdirs
from bert_jax.build import build_objective, build_optimizer
from bert_jax.checkpoint import Checkpoints
from bert_jax.parallel.step import init_state
from bert_jax.train.watch import read_metrics

ROOT = Path(__file__).resolve().parent.parent
WHO = ("the cat", "a dog", "my aunt", "the old king")
VERB = ("sees", "likes", "draws", "eats")
WHAT = ("a fish", "the moon", "bread", "a red hat")
OVERRIDES = {
    "text.vocab_size": 120,
    "data.max_seq_length": 24,
    "data.max_predictions_per_seq": 4,
    "data.later_phases": (),
    "data.held_out_fraction": 0.2,
    "data.num_eval_rows": 20,
    "model.hidden_size": 16,
    "model.num_attention_heads": 2,
    "model.intermediate_size": 24,
    "model.max_position_embeddings": 24,
    "model.hidden_dropout_prob": 0.1,
    "optim.num_warmup_steps": 2,
    "train.train_batch_size": 8,
    "train.num_train_steps": 12,
    "train.log_every_steps": 3,
    "train.eval_every_steps": 6,
    "train.save_every_steps": 4,
}


def sentence(number: int) -> str:
    return f"{WHO[number % 4]} {VERB[number // 4 % 4]} {WHAT[number // 16 % 4]}."


def write_corpus(path: Path, documents: int = 40) -> Path:
    """One sentence per line, an empty line between documents; every document is about another stretch of sentences."""
    texts = ["\n".join(sentence(5 * document + line + document // 13) for line in range(8)) for document in range(documents)]
    path.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    return path


def arguments(corpus: Path, **changes) -> list[str]:
    """Command-line overrides; changes are written with __ for the dot."""
    values = OVERRIDES | {"data.input_file": corpus} | {key.replace("__", "."): value for key, value in changes.items()}
    return [f"--config.{key}={value}" for key, value in values.items()]


def config(corpus: Path, **changes):
    return configs.load(str(ROOT / "configs" / "quickstart.py"), arguments(corpus, **changes))


def untrained(config, workdir: Path, **facts) -> Path:
    """The workdir of a run that ended with what was drawn for it, as a checkpoint of step 1: for those who take it over."""
    workdirs.make_folder(workdir)
    tokenizer, text = inputs.open_data(config, workdir, say=str)
    workdirs.write_config(config, workdir, {})
    objective = build_objective(config, tokenizer.size, facts.get("teacher_model"))
    state = init_state(objective, build_optimizer(config)[0], config.seed)
    checkpoints = Checkpoints(workdir / "checkpoints", keep=1)
    checkpoints.save(1, state, {"vocabulary": tokenizer.content_hash, "store": text.content_hash, **facts})
    checkpoints.wait()
    checkpoints.close()
    return workdir


def given_to_fit(monkeypatch, module, begin) -> dict:
    """What begin() hands to `fit` of this module by name, without any training."""
    given = {}

    def taken(*arguments, **named):
        given.update(named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "fit", taken)
        with pytest.raises(KeyboardInterrupt):
            begin()
    return given


def same_step_in_every_mode(load, folder: Path) -> None:
    """Asserts that a step of fine-tuning is one and the same in both modes, without dropout, which each device draws for itself.

    Args:
        load: changes -> the config.
    """
    rates = {"model__hidden_dropout_prob": 0.0, "model__attention_probs_dropout_prob": 0.0}
    found = {}
    for mode in ("jit", "pmap"):
        config = load(**rates, data__max_train_examples=8, train__log_every_steps=1, parallel__mode=mode)
        assert finetune.finetune(config, folder / mode, quiet=True)["step"] == 1
        found[mode], *_ = [record for record in read_metrics(folder / mode) if record["kind"] == "train"]
    for name in ("loss", "grad_norm"):
        assert found["pmap"][name] == pytest.approx(found["jit"][name], rel=2e-5)
