"""The vocabulary and the token store of a run: made where they are missing, and opened."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ml_collections import ConfigDict

from bert_jax import workdir as workdirs
from bert_jax.build import loader_config
from bert_jax.data import loader, prepare, sources, store
from bert_jax.data.report import Progress, Report
from bert_jax.errors import UserError
from bert_jax.text import extension, kinds
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.text.wordpiece import save_vocab

LOOKED_UP = "what stands between blanks, punctuation and Chinese characters, where text is cut before words are looked up"


def open_data(config, workdir: Path, *, say: Callable[[str], None] = print) -> tuple[Tokenizer, store.Store]:
    """Makes vocabulary and store where the config names none, and opens them."""
    if config.init_checkpoint and not store_path(config, workdir).exists():
        _require_same_reading(config)
    if config.text.new_words or not (config.text.vocab_file or config.init_checkpoint):
        make_vocabulary(config, workdir, say=say)
    if not config.data.store:
        prepare_store(config, workdir, say=say)
    tokenizer = open_vocabulary(config, workdir)
    return tokenizer, open_store(config, workdir, tokenizer)


def _require_same_reading(config) -> None:
    """Raises UserError, before hours of work, where the model to start from reads text in another way."""
    start = Path(config.init_checkpoint)
    saved = workdirs.read_trained_config(start)
    for key in ("kind", "do_lower_case") if "text" in saved else ():  # of a fine-tuned model only its checkpoints say so
        if saved.text[key] != config.text[key]:
            raise UserError(
                f"init_checkpoint {start} reads text otherwise",
                got=f"text.{key}={config.text[key]}",
                expected=saved.text[key],
                fix=f"give --config.text.{key}={saved.text[key]}",
            )


def make_vocabulary(config, workdir: Path, *, say: Callable[[str], None] = print) -> Path:
    """Learns the vocabulary from the text, or extends that of the run to start from by text.new_words, and writes it, unless the
    file is there.

    Raises:
        UserError: it is there, made in this workdir, for another size or without these words.
    """
    if config.text.new_words:
        return _extended_vocabulary(config, workdir, say)
    path = vocabulary_path(config, workdir)
    if config.init_checkpoint and not config.text.vocab_file:  # that of another model is used and never learned
        open_vocabulary(config, workdir)
        return path
    if not path.exists():
        workdirs.make_folder(path.parent)
        doing = f"learning {config.text.vocab_size:,} pieces"
        say(f"{doing} ...")
        data, report = config.data, Report(config.data.on_bad_input)
        documents = sources.documents(data.input_file, data.input_format, report, Progress(doing, say))
        sentences = (sentence for document in documents for sentence in document)
        size, lower = config.text.vocab_size, config.text.do_lower_case
        learned = kinds.learn_vocabulary(config.text.kind, sentences, path, vocab_size=size, do_lower_case=lower)
        say(f"vocabulary of {learned.pieces:,} pieces from {report.describe()}")
    elif not config.text.vocab_file and (learned := kinds.read_report(path)) and learned.pieces_asked != config.text.vocab_size:
        raise UserError(
            f"the vocabulary {path} was learned with another text.vocab_size",
            got=config.text.vocab_size,
            expected=learned.pieces_asked,
            fix="ask for that size, or take another --workdir",
        )
    return path


def _extended_vocabulary(config, workdir: Path, say: Callable[[str], None]) -> Path:
    if config.text.vocab_file or not config.init_checkpoint:
        raise UserError(
            "text.new_words extends the vocabulary of the run to start from",
            got=f"init_checkpoint={config.init_checkpoint!r}, text.vocab_file={config.text.vocab_file!r}",
            expected="--config.init_checkpoint=FOLDER, and text.vocab_file empty",
        )
    path, words_file = vocabulary_path(config, workdir), Path(config.text.new_words)
    if path.exists():
        _require_words(open_vocabulary(config, workdir), words_file, path)
        return path
    as_it_was = ConfigDict(config.to_dict())
    as_it_was.text.new_words = ""
    old = open_vocabulary(as_it_was, workdir)
    words, report = extension.read_words(words_file, old), Report(config.data.on_bad_input)
    for line, word in words.never_found:
        place = f"{words_file}, line {line}: {word}"
        report.bad_input("words that are never looked up", place, expected=LOOKED_UP, fix="take it out")
    if not words.new:
        raise UserError("text.new_words holds no word that is new", got=f"{words_file}: {words.known:,} known words")
    workdirs.make_folder(path.parent)
    save_vocab([*old.pieces, *words.new], path, old.max_chars_per_word)
    left_out = [f"{count:,} {reason} left out, first in {report.places[reason]}" for reason, count in report.notes.items()]
    told = f"vocabulary of {old.size:,} pieces extended by {len(words.new):,} words; {words.known:,} were known"
    say("; ".join([told, *left_out]))
    return path


def _require_words(tokenizer: Tokenizer, words_file: Path, path: Path) -> None:
    """Raises UserError where the file of words is there and the vocabulary lacks one of them."""
    if words_file.exists() and (lacking := extension.read_words(words_file, tokenizer).new):
        raise UserError(
            f"the vocabulary {path} was made without some of text.new_words",
            got=f"{len(lacking):,} words, first {lacking[0]!r}",
            fix="put the words back as they were, or take another --workdir",
        )


def prepare_store(config, workdir: Path, *, shard_bytes: int = prepare.SHARD_BYTES, say: Callable[[str], None] = print) -> Path:
    """Tokenises the text into the store, unless it is there."""
    folder = store_path(config, workdir)
    data, num_workers = config.data, worker_count(config)
    if drops_duplicates(config) and any(weight is not None for _, weight in sources.parse_inputs(data.input_file)):
        raise UserError(
            "a mixture by weights reads what is short again and again",
            got=f"data.input_file={data.input_file!r}, data.drop_duplicates=True",
            fix="leave out the weights, or data.drop_duplicates",
        )
    if not folder.exists():
        tokenizer = open_vocabulary(config, workdir)
        workdirs.make_folder(folder.parent)
        say(f"tokenising with {num_workers} processes ...")
        report = prepare.prepare(
            lambda report: sources.read_units(data.input_file, data.input_format, report),
            tokenizer,
            folder,
            held_out_fraction=data.held_out_fraction,
            source=sources.description(data.input_file, data.input_format),
            segmenter=data.segmenter,
            on_bad_input=data.on_bad_input,
            drop_duplicates=drops_duplicates(config),
            num_workers=num_workers,
            shard_bytes=shard_bytes,
            progress=Progress("tokenising", say),
        )
        say(f"tokenised {report.describe()}")
    return folder


def drops_duplicates(config) -> bool:
    """What an earlier version saved does not have the key."""
    return "drop_duplicates" in config.data.keys() and config.data.drop_duplicates


def worker_count(config) -> int:
    """data.num_workers, or all the cores that this process may use."""
    if config.data.num_workers < 0:
        raise UserError("data.num_workers is out of range", got=config.data.num_workers, expected="0 (all cores) or more")
    return config.data.num_workers or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count()))


def vocabulary_path(config, workdir: Path) -> Path:
    """The one that the config names, or that of the run to start from, or one of this workdir's own."""
    start = getattr(config, "init_checkpoint", "")  # a model from elsewhere has no such keys
    if start and not (config.text.vocab_file or getattr(config.text, "new_words", "")):
        saved = workdirs.read_trained_config(Path(start))
        if "text" in saved:
            return vocabulary_path(saved, Path(start))
        workdir = start  # a fine-tuned model has its own
    return Path(config.text.vocab_file or Path(workdir) / kinds.kind_of(config.text.kind).file_name)


def store_path(config, workdir: Path) -> Path:
    return Path(config.data.store or Path(workdir) / "store")


def open_vocabulary(config, workdir: Path) -> Tokenizer:
    tokenizer = kinds.load(config.text.kind, vocabulary_path(config, workdir), config.text.do_lower_case)
    return replace(tokenizer, cls_last="left_to_right" in config.model.keys() and config.model.left_to_right)


def open_store(config, workdir: Path, tokenizer, *, verify: bool = True) -> store.Store:
    """Raises UserError when the store is absent, damaged, or made with another vocabulary or from other text."""
    folder, wanted = store_path(config, workdir), sources.description(config.data.input_file, config.data.input_format)
    opened = store.open_store(folder, tokenizer, verify=verify)
    source, segmenter = opened.manifest["source"]["description"], opened.manifest["segmenter"]
    held_out = opened.manifest["held_out_fraction"]
    if held_out != config.data.held_out_fraction:
        raise UserError(
            f"the token store {folder} holds out another share of the documents",
            got=f"data.held_out_fraction={config.data.held_out_fraction}",
            expected=held_out,
            fix="give the same data.held_out_fraction, or another data.store or --workdir",
        )
    if (dropped := opened.manifest.get("drop_duplicates", False)) != drops_duplicates(config):
        raise UserError(
            f"of documents that are the same the token store {folder} holds {'one' if dropped else 'all'}",
            got=f"data.drop_duplicates={drops_duplicates(config)}",
            expected=dropped,
            fix="give the same data.drop_duplicates, or another data.store or --workdir",
        )
    if segmenter != config.data.segmenter:
        raise UserError(
            f"the token store {folder} was made with another segmenter",
            got=f"data.segmenter={config.data.segmenter!r}",
            expected=repr(segmenter),
            fix="give the same data.segmenter, or another data.store or --workdir",
        )
    if source != wanted:
        raise UserError(
            f"the token store {folder} was made from other text",
            got=wanted,
            expected=source,
            fix="give the same data.input_file and data.input_format, or another data.store or --workdir",
        )
    return opened


def open_batches(config, workdir: Path) -> tuple[loader.Loader, Tokenizer]:
    """The training batches and the tokenizer, with vocabulary and store made where they are missing."""
    rows = loader_config(config)
    tokenizer, text = open_data(config, workdir)
    return loader.Loader(text.train, tokenizer, rows, Path(workdir) / "plans"), tokenizer
