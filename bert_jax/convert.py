"""Models in and out: a directory of Hugging Face or a release of Google to a workdir; a workdir to the former."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from bert_jax import config as configs
from bert_jax import jobs
from bert_jax import workdir as workdirs
from bert_jax.build import build_objective, encoder_config
from bert_jax.checkpoint import Checkpoints
from bert_jax.errors import UserError
from bert_jax.interop import card, certificate, huggingface, released, vocabulary
from bert_jax.parallel.step import init_state
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.trained import Trained, open_trained

CERTIFICATE = "certificate.json"
OBJECTIVES = {  # heads -> the section of the config that says who computes them
    (): {"name": "encoder", "replaced": False},
    ("replaced",): {"name": "encoder", "replaced": True},
    ("masked_lm",): {"name": "bert", "next_sentence": False},
    ("masked_lm", "next_sentence"): {"name": "bert", "next_sentence": True},
    ("classifier",): {"name": "classify"},
}


def bring_in(source: Path, workdir: Path, *, num_strings: int, say: Callable[[str], None] = print) -> None:
    """Makes a workdir, with a checkpoint of step 0, from a directory of Hugging Face or one that Google released.

    Raises:
        UserError: what lies there cannot be read, or not all of it; the certificate fails; or the workdir holds something. None
            of these leaves a workdir.
    """
    is_release = released.is_one(source)
    model = released.read(source) if is_release else huggingface.read(source)
    with _made_whole(workdir) as folder, TemporaryDirectory() as scratch:
        kind, tokenizer = vocabulary.read(source, folder, guess_case=is_release)
        config = saved_config(model, kind, tokenizer)
        objective = build_objective(config, tokenizer.size)
        params = huggingface.params_of(model, jax.eval_shape(objective.init, jax.random.key(0)))
        facts = {"vocabulary": tokenizer.content_hash}
        _save(folder / "checkpoints", objective, params, facts)
        workdirs.write_config(config, folder, facts | {"source": str(source)})
        trained = open_trained(folder, say=say)
        peer = source
        if is_release:  # which transformers does not read: it is shown what the model is there
            peer = Path(scratch)
            _write(trained, peer)
        checked = certificate.certify(source, peer, model, trained.encoder, trained.params, tokenizer, num_strings)
        configs.write_json(folder / CERTIFICATE, checked)
    say(f"{model.kind} -> {workdir}\n{card.figures(checked)}")


def saved_config(model: huggingface.Model, kind: str, tokenizer: Tokenizer) -> ConfigDict:
    """What config.json of the workdir holds: all that is read of a run whose training is no concern any more.

    Raises:
        UserError: the vocabulary is not the one that the word table was made for.
    """
    if tokenizer.size != model.vocab_size:
        raise UserError(
            "the vocabulary does not fit the word table of the model",
            got=f"{tokenizer.size:,} pieces",
            expected=f"{model.vocab_size:,}, as vocab_size in config.json",
        )
    encoder = encoder_config(model.encoder | {"dtype": "auto"}, tokenizer.size)
    objective = OBJECTIVES[model.heads] | ({"num_classes": len(model.labels)} if model.labels else {})
    return ConfigDict(
        {
            "text": {"kind": kind, "vocab_file": "", "vocab_size": tokenizer.size, "do_lower_case": tokenizer.do_lower_case},
            "data": {"store": "", "max_seq_length": encoder.longest_row},
            "model": model.encoder | {"dtype": "auto"},
            "objective": objective,
            "labels": model.labels,
            "train": {"keep_checkpoints": 1},
        }
    )


def _save(folder: Path, objective, params: dict, facts: dict) -> None:
    """A checkpoint of step 0, without the state of any optimiser."""
    like = jax.eval_shape(lambda: init_state(objective, optax.identity(), 0))
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like._replace(params={}))
    checkpoints = Checkpoints(folder, keep=1)
    checkpoints.save(0, state._replace(params=params), facts)
    checkpoints.wait()
    checkpoints.close()


def take_out(workdir: Path, target: Path, *, num_strings: int, say: Callable[[str], None] = print) -> None:
    """Makes a directory that transformers loads from a workdir: pretrained, fine-tuned or brought in.

    Raises:
        UserError: there is no trained model, no class of transformers computes what it does, the certificate fails, or the target
            holds something. None of these leaves a target.
    """
    trained = open_trained(workdir, say=say)
    if "task" in trained.config:
        trained = trained._replace(params=_used(trained.params, jobs.named(trained.config.task).heads))
    encoder, tokenizer = trained.encoder, trained.tokenizer
    with _made_whole(target) as folder:
        _write(trained, folder)
        model = huggingface.read(folder)
        checked = certificate.certify(folder, folder, model, encoder, trained.params, tokenizer, num_strings)
        configs.write_json(folder / CERTIFICATE, checked)
        card.write(folder / "README.md", model, encoder, trained.step, checked)
    say(f"{workdir} -> {target}: {model.kind}\n{card.figures(checked)}")


def _used(params: dict, heads: Sequence[str]) -> dict:
    """Without what was only a help in training."""
    return {name: part for name, part in params.items() if name in ("encoder", *heads)}


def _write(trained: Trained, folder: Path) -> None:
    encoder, labels = trained.encoder, list(trained.config.get("labels", []))
    huggingface.write(folder, encoder, trained.params, labels, trained.tokenizer)
    vocabulary.write(folder, trained.tokenizer, longest_row=encoder.longest_row, segments=encoder.type_vocab_size > 1)


@contextmanager
def _made_whole(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its place when all went well, and is deleted when not."""
    target = Path(target).absolute()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UserError("there is something already", got=target, expected="a folder that does not exist, or an empty one")
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    workdirs.make_folder(temporary)
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
