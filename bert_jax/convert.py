"""Models in and out: a directory of Hugging Face, a release of Google or a file of word vectors to a workdir; a workdir to a
directory of Hugging Face, to StableHLO or to ONNX."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
from ml_collections import ConfigDict

from bert_jax import config as configs
from bert_jax import workdir as workdirs
from bert_jax.build import build_objective, encoder_config
from bert_jax.compress import stablehlo
from bert_jax.errors import UserError
from bert_jax.interop import card, certificate, huggingface, onnx, released, vocabulary, word_vectors
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives import electra
from bert_jax.text import wordpiece
from bert_jax.text.tokenizer import BERT, Tokenizer
from bert_jax.trained import Trained, open_trained, save_start

CERTIFICATE = "certificate.json"
PACKAGES = {"stablehlo": ("flatbuffers",), "onnx": ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")}
EXTRAS = {"stablehlo": "export", "onnx": "onnx"}
OBJECTIVES = {  # heads -> the section of the config that says who computes them
    (): {"name": "encoder", "replaced": False},
    ("replaced",): {"name": "encoder", "replaced": True},
    ("masked_lm",): {"name": "bert", "next_sentence": False},
    ("masked_lm", "next_sentence"): {"name": "bert", "next_sentence": True},
    ("classifier",): {"name": "classify"},
    ("token_classifier",): {"name": "tag"},
    ("answer_span",): {"name": "answer"},
    ("choice",): {"name": "choose"},
}
# What only training has a use for, and no class of transformers a place: of ELECTRA the generator, which goes out by itself; the
# heads of SpanBERT, SimCSE and Sentence-BERT; what makes a student's vectors as wide as its teacher's.
TRAINING_ONLY = ("generator", "span_boundary", "mlp", "pair_classifier", "projections")


def bring_in(source: Path, workdir: Path, *, num_strings: int, say: Callable[[str], None] = print) -> None:
    """Makes a workdir, with a checkpoint of step 0, from a directory of Hugging Face or one that Google released, or from a text
    file of word vectors.

    Raises:
        UserError: what lies there cannot be read, or not all of it; the certificate fails; or the workdir holds something. None
            of these leaves a workdir.
    """
    if source.is_file():
        return bring_in_vectors(source, workdir, say=say)
    is_release = released.is_one(source)
    model = released.read(source) if is_release else huggingface.read(source)
    with workdirs.made_whole(workdir) as folder, TemporaryDirectory() as scratch:
        kind, tokenizer = vocabulary.read(source, folder, guess_case=is_release)
        config = saved_config(model, kind, tokenizer)
        objective = build_objective(config, tokenizer.size)
        params = huggingface.params_of(model, jax.eval_shape(objective.init, jax.random.key(0)))
        facts = {"vocabulary": tokenizer.content_hash}
        save_start(folder / "checkpoints", objective, params, facts)
        workdirs.write_config(config, folder, facts | {"source": str(source)})
        trained = open_trained(folder, say=say)
        peer = source
        if is_release:  # which transformers does not read: it is shown what the model is there
            peer = Path(scratch)
            _write(trained, trained.params, trained.encoder, peer)
        checked = certificate.certify(source, peer, model, trained.encoder, trained.params, tokenizer, num_strings)
        configs.write_json(folder / CERTIFICATE, checked)
    say(f"{model.kind} -> {workdir}\n{card.figures(checked)}")


def bring_in_vectors(source: Path, workdir: Path, *, say: Callable[[str], None] = print) -> None:
    """Makes a workdir of an encoder without layers, which gives each word the vector that the file has for it."""
    found = word_vectors.vocabulary(word_vectors.read(source))
    words, width = found.vectors_VD.shape
    with workdirs.made_whole(workdir) as folder:
        wordpiece.save_vocab(found.pieces, folder / "vocab.txt")
        tokenizer = wordpiece.load(folder / "vocab.txt", found.do_lower_case)
        config = _config("wordpiece", tokenizer, word_vectors.ENCODER | {"hidden_size": width}, OBJECTIVES[()], [])
        facts = {"vocabulary": tokenizer.content_hash}
        params = {"encoder": {"embeddings": {"word": {"embedding": found.vectors_VD}}}}
        save_start(folder / "checkpoints", build_objective(config, tokenizer.size), params, facts)
        workdirs.write_config(config, folder, facts | {"source": str(source)})
    case = "in lower case" if found.do_lower_case else "as they are written"
    say(f"{source} -> {workdir}: vectors of {words - len(BERT):,} words {case}, of width {width}, and {' '.join(BERT)}")
    if found.left_out:
        some = " ".join(found.left_out[:5])
        say(f"left out are {len(found.left_out):,} words that BERT's tokeniser cuts or changes: {some} ...")


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
    objective = OBJECTIVES[model.heads] | ({"num_classes": len(model.labels)} if model.labels else {})
    return _config(kind, tokenizer, model.encoder, objective, model.labels)


def _config(kind: str, tokenizer: Tokenizer, model: dict, objective: dict, labels: list[str]) -> ConfigDict:
    model = model | {"dtype": "auto"}
    return ConfigDict(
        {
            "text": {"kind": kind, "vocab_file": "", "vocab_size": tokenizer.size, "do_lower_case": tokenizer.do_lower_case},
            "data": {"store": "", "max_seq_length": encoder_config(model, tokenizer.size).longest_row},
            "model": model,
            "objective": objective,
            "labels": labels,
            "train": {"keep_checkpoints": 1},
        }
    )


def take_out(
    workdir: Path,
    target: Path,
    *,
    num_strings: int,
    form: str = "hf",
    part: str = "encoder",
    int8: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Makes a directory that others load from a workdir: pretrained, fine-tuned or brought in.

    Args:
        form: "hf", which transformers loads; "stablehlo", which jax loads alone; "onnx", for ONNX Runtime.
        int8: of "onnx": tables and products of int8, a quarter of the size; the certificate has the differences.
        part: "encoder", of a run of ELECTRA the discriminator; or the "generator" of such a run, which "stablehlo" has beside it.

    Raises:
        UserError: there is no trained model, no class of transformers computes what it does, the certificate fails, or the target
            holds something. None of these leaves a target.
    """
    if part == "generator" and form == "stablehlo":
        raise UserError(
            "StableHLO has what the run computes, the generator beside the encoder", got=f"--part={part}", fix="leave it out"
        )
    if int8 and form != "onnx":
        raise UserError("--int8 is of ONNX alone", got=f"--format={form}", expected="--format=onnx")
    if form in PACKAGES:
        require_packages(form)
    trained = open_trained(workdir, say=say)
    if form == "stablehlo":
        return _take_out_stablehlo(trained, target, say)
    encoder, params, left_out = _generator(trained) if part == "generator" else _encoder_part(trained)
    if form == "onnx":
        return _take_out_onnx(trained, encoder, params, left_out, target, int8, say)
    with workdirs.made_whole(target) as folder:
        _write(trained, params, encoder, folder)
        model = huggingface.read(folder)
        checked = certificate.certify(folder, folder, model, encoder, params, trained.tokenizer, num_strings)
        configs.write_json(folder / CERTIFICATE, checked)
        card.write(folder / "README.md", model, encoder, trained.step, left_out, checked)
    say(f"{workdir} -> {target}: {model.kind}{_without(left_out)}\n{card.figures(checked)}")


def _without(left_out: list[str]) -> str:
    return f", without {', '.join(left_out)}, of use in training alone" if left_out else ""


def require_packages(form: str) -> None:
    """Raises UserError where one of what writes this format is not installed."""
    for name in PACKAGES[form]:
        try:
            importlib.import_module(name)
        except ImportError:
            fix = f"pip install -e '.[{EXTRAS[form]}]'"
            raise UserError(f"--format={form} is written by other packages", got=f"{name} is not installed", fix=fix) from None


def _take_out_stablehlo(trained: Trained, target: Path, say: Callable[[str], None]) -> None:
    objective, params, encoder = trained.objective, trained.params, trained.encoder
    num_texts = 2 if trained.config.objective.get("name") == "choose" else 0
    with workdirs.made_whole(target) as folder:
        stablehlo.write(folder, objective, params, encoder, of_choices=bool(num_texts))
        vocabulary.write(folder, trained.tokenizer, longest_row=encoder.longest_row, segments=encoder.type_vocab_size > 1)
        apart = stablehlo.compare(folder, objective, params, encoder, trained.tokenizer.pad_id, num_texts)
        _finish(folder, "StableHLO", stablehlo.HOW, apart)
    say(f"{trained.config.objective.get('name')} -> {target}: StableHLO\n{_apart(apart)}")


def _take_out_onnx(
    trained: Trained,
    encoder: EncoderConfig,
    params: dict,
    left_out: list[str],
    target: Path,
    int8: bool,
    say: Callable[[str], None],
) -> None:
    with workdirs.made_whole(target) as folder, TemporaryDirectory() as scratch:
        _write(trained, params, onnx.with_whole_heads(encoder), Path(scratch))
        kind = huggingface.read(Path(scratch)).kind
        onnx.write(folder, Path(scratch), kind, encoder, params, trained.tokenizer.pad_id)
        if int8:
            onnx.to_int8(folder)
        vocabulary.write(folder, trained.tokenizer, longest_row=encoder.longest_row, segments=encoder.type_vocab_size > 1)
        apart = onnx.compare(folder, encoder, params, trained.tokenizer.pad_id, rounded=int8)
        form = "ONNX in int8" if int8 else "ONNX"
        _finish(folder, form, onnx.HOW, apart)
    say(f"{kind} -> {target}: {form}{_without(left_out)}\n{_apart(apart)}")


def _finish(folder: Path, form: str, how: str, apart: dict[str, float]) -> None:
    """Writes the certificate, and how the model is called."""
    (folder / "README.md").write_text(
        f"# A model of bert_jax as {form}\n\n```python\n{how}```\n\n{_apart(apart)}\n", encoding="utf-8"
    )
    hashes = {path.name: certificate.sha256(path) for path in sorted(folder.iterdir())}
    configs.write_json(folder / CERTIFICATE, {"form": form, "files": hashes, "largest_differences": apart})


def _apart(apart: dict[str, float]) -> str:
    return "\n".join(f"{name}: at most {value:.2g} apart" for name, value in apart.items())


def _encoder_part(trained: Trained) -> tuple[EncoderConfig, dict, list[str]]:
    """(sizes, params, names of those that are left out) of what was trained."""
    if trained.config.objective.get("mlp") == "always":
        return _with_sentence_head(trained)
    params = {name: part for name, part in trained.params.items() if name not in TRAINING_ONLY}
    return trained.encoder, params, sorted(trained.params.keys() - params.keys())


def _with_sentence_head(trained: Trained) -> tuple[EncoderConfig, dict, list[str]]:
    """SimCSE's head on the vector of [CLS], where it is part of a sentence's vector, is the pooler of BertModel, and is released
    as that (princeton-nlp/sup-simcse-bert-base-uncased)."""
    if trained.config.objective.pooling != "cls":
        raise UserError(
            "the vectors of this model end in a layer that no class of transformers has",
            got=f"objective.mlp=always on objective.pooling={trained.config.objective.pooling}",
            expected="objective.pooling=cls, or objective.mlp=training",
        )
    params = {"encoder": trained.params["encoder"] | {"pooler": trained.params["mlp"]["dense"]}}
    return replace(trained.encoder, pooler=True, pooler_act="tanh"), params, []


def _generator(trained: Trained) -> tuple[EncoderConfig, dict, list[str]]:
    if "generator" not in trained.params:
        raise UserError("the run has no generator", got=", ".join(trained.params), expected="a run of configs/electra.py")
    encoder = electra.generator_config(trained.encoder, trained.config.objective.generator_size)
    return encoder, electra.generator_params(trained.params), []


def _write(trained: Trained, params: dict, encoder: EncoderConfig, folder: Path) -> None:
    labels = list(trained.config.get("labels", []))
    huggingface.write(folder, encoder, params, labels, trained.tokenizer)
    vocabulary.write(folder, trained.tokenizer, longest_row=encoder.longest_row, segments=encoder.type_vocab_size > 1)
