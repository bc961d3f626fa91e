"""What any trained directory answers: a fine-tuned one by its task, an encoder of sentences with vectors, a pretrained one by
filling in what is masked."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from bert_jax import jobs
from bert_jax import workdir as workdirs
from bert_jax.batch import padded
from bert_jax.data.finetune import filled_batch, longest
from bert_jax.errors import EXIT_DONE, UserError
from bert_jax.models.encoder import Encoder
from bert_jax.models.pooling import check_pooling
from bert_jax.objectives.texts import row_vectors
from bert_jax.predict import asked
from bert_jax.predict.asked import CHUNK, Predictor, Reads
from bert_jax.predict.embed import embed_by, framed
from bert_jax.predict.fill_mask import MaskedRow, fill_rows, in_slots, masked_batch, masked_row
from bert_jax.predict.outputs import BATCH_SIZE, Shapes, outputs_of, shaped_batches
from bert_jax.ranges import require, whole
from bert_jax.tasks import own, submission, tables, texts
from bert_jax.tasks.form import Answer, Form, Task, text_of
from bert_jax.trained import Trained, open_trained

RANGES = {"top_k": whole(1), "batch_size": whole(1)}
LINES = (".txt", ".jsonl")  # of a file that holds no table of the task


class Question(NamedTuple):
    """What is asked, by one of these; by lines of standard input where none is given."""

    texts: list[str] | None = None
    pairs: list[str] | None = None  # the second texts
    file: Path | None = None
    split: str | None = None


class Opened(NamedTuple):
    """A trained directory that answers; `task` is None where it was not fine-tuned on one."""

    predictor: Predictor
    trained: Trained
    task: Task | None = None


def predict(
    workdir: Path, question: Question, *, to: Path | None, submit_to: Path | None, skip_bad_rows: bool, **settings
) -> int:
    """Writes the answers as JSON lines, in the order of what is asked; or the files of a submission to GLUE.

    Args:
        to: a file for them; None: standard output, where the first ones come before the last question is read.
        submit_to: a folder for the files of a submission, that is made; the question is then their test sets.
        skip_bad_rows: leave out what cannot be answered, and say so on standard error.
        settings: of `open_predictor`.

    Returns:
        The exit code.

    Raises:
        UserError: whatever cannot be answered, with its place.
    """
    given = [name for name, value in zip(("--text", "--file", "--split"), (question.texts, *question[2:])) if value]
    given += ["--submission"] * bool(submit_to)
    if len(given) > 1:
        raise UserError("more than one thing is asked", got=" and ".join(given), expected="one of them")
    opened = open_predictor(workdir, say=said, **settings)
    if submit_to:
        submit(opened, submit_to)
        return EXIT_DONE
    skipped = [] if skip_bad_rows else None
    answers = _counted(_answers(opened, question, skipped), skipped)
    if to is None:
        return printed(answers)
    try:
        workdirs.write_lines(to, answers)
    except OSError as error:
        raise UserError(f"cannot write {to}", got=error.strerror, expected="a file in a folder that can be written to") from None
    return EXIT_DONE


def said(line: str) -> None:
    print(line, file=sys.stderr)


def _answers(opened: Opened, question: Question, skipped: list[str] | None) -> Iterator[Answer]:
    if question.split:
        return of_split(opened, question.split, skipped)
    if question.file:
        return of_file(opened, question.file, skipped)
    if question.texts or question.pairs:
        return asked.answered(opened.predictor, _of_arguments(question.texts or [], question.pairs), skipped)
    chunk = 1 if sys.stdin.isatty() else CHUNK  # a person wants an answer at once
    return asked.answered(opened.predictor, asked.of_lines(standard_input(), "standard input"), skipped, chunk)


def _of_arguments(first: list[str], second: list[str] | None) -> Iterator[asked.Row]:
    if second is not None and len(second) != len(first):
        raise UserError("there are not as many --text_pair as --text", got=f"{len(second)} and {len(first)}")
    for number, text in enumerate(first):
        yield f"--text number {number + 1}", {"text": text} | ({} if second is None else {"text_pair": second[number]})


def standard_input() -> Iterator[str]:
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(encoding="utf-8-sig", newline="\n")
    try:
        yield from sys.stdin
    except UnicodeDecodeError as error:
        raise UserError("standard input is not UTF-8", got=error.reason) from None


def _counted(answers: Iterator[Answer], skipped: list[str] | None) -> Iterator[Answer]:
    """The same; what was left out is said as it comes, and counted in the end."""
    answered, left_out = 0, 0

    def say_skipped() -> int:
        for message in skipped or ():
            said(f"left out: {message}")
        count = len(skipped or ())
        if skipped:
            skipped.clear()
        return count

    for answer in answers:
        left_out += say_skipped()
        answered += 1
        yield answer
    left_out += say_skipped()
    if left_out:
        said(f"{left_out:,} left out, {answered:,} answered")
    elif not answered:
        raise UserError("nothing is asked", expected="--text=..., --file=FILE, or lines on standard input")


def printed(answers: Iterator[Answer]) -> int:
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")
    try:
        for answer in answers:
            print(json.dumps(answer, ensure_ascii=False), flush=True)
    except BrokenPipeError:  # whoever reads them has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at the end
    return EXIT_DONE


def submit(opened: Opened, folder: Path) -> None:
    """Writes a file for each test set that a model of this task predicts, and says which are not there.

    Raises:
        UserError: none is there, or one is not the official one.
    """
    absent, written = [], []
    for part in submission.parts(opened.trained.config.get("task", "")):
        try:
            examples = submission.read(part, jobs.data_folder(opened.trained.config))
        except tables.Absent as error:
            absent.append(error)
            continue
        answers = asked.answered_examples(opened.predictor, examples, lambda example: {}, None)
        content = submission.content(part, list(answers))
        workdirs.make_folder(folder)
        (folder / f"{part.name}.tsv").write_text(content, encoding="utf-8")
        written.append(folder / f"{part.name}.tsv")
    if not written:
        raise absent[0]
    for error in absent:
        said(f"left out: {error}")
    said(f"written: {', '.join(map(str, written))}")


def open_predictor(
    workdir: Path,
    *,
    top_k: int = 5,
    pooling: str = "",
    batch_size: int = BATCH_SIZE,
    fixed: bool = False,
    say: Callable[[str], None] = print,
) -> Opened:
    """
    Args:
        top_k: guesses for each mask.
        pooling: of models/pooling.py: vectors of texts from the encoder of any model, whatever else it has learned.
        batch_size, fixed: of predict.outputs.Shapes.

    Raises:
        UserError: there is no trained model, or a setting is out of range.
    """
    require("predict", {"top_k": top_k, "batch_size": batch_size}, RANGES)
    _keep_compiled(workdir)
    trained = open_trained(workdir, say=say)
    trained = trained._replace(params=jax.device_put(trained.params))
    shapes = Shapes(trained.config.data.max_seq_length, batch_size, fixed)
    name = trained.config.get("task", "")
    if pooling or "pooling" in trained.config.objective:
        return Opened(_embedding(trained, pooling, shapes._replace(longest=trained.encoder.longest_row)), trained)
    if name and name != jobs.SENTENCE_ENCODER:
        task = jobs.task_of(trained.config)
        return Opened(_of_form(trained, task.form, workdir, shapes, task.texts), trained, task)
    if trained.config.get("labels", ()):  # a classifier from elsewhere
        return Opened(_of_form(trained, texts.CLASSIFICATION, workdir, shapes), trained)
    return Opened(_filling(trained, top_k, shapes), trained)


def _keep_compiled(workdir: Path) -> None:
    """Small programs too, where the workdir can be written to: all of them are needed before the first answer."""
    if os.access(workdir, os.W_OK):
        workdirs.keep_compiled(workdir)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _of_form(trained: Trained, form: Form, workdir: Path, shapes: Shapes, num_texts: int = 0) -> Predictor:
    config, tokenizer, labels = trained.config, trained.tokenizer, tuple(trained.config.get("labels", ()))
    section = {"long_texts": "head"} | dict(config.data)
    encode = partial(form.encode, labels=labels, tokenizer=tokenizer, **jobs.settings_of(form.encode, section))
    settled = (workdirs.finished(workdir) or {}).get("settled", {})
    settings = jobs.settings_of(form.answers, dict(config.get("predict", {})) | settled)
    predict = jax.jit(trained.objective.predict)

    def example_of(value: dict, place: str):
        example = form.asked(value, place)
        if num_texts and len(example.texts) != num_texts:
            wanted = {1: '{"text": ...}', 2: '{"text": ..., "text_pair": ...}'}[num_texts]
            raise UserError("the number of texts is not that of the task", got=f"{place}: {len(example.texts)}", expected=wanted)
        return example

    def answers(examples) -> list[Answer]:
        rows = encode(examples)
        outputs = outputs_of(predict, trained.params, shaped_batches(rows, shapes))
        found = form.answers(examples, labels, rows, outputs, **settings)
        if len(found) != len(examples):
            raise UserError("this model has learned no answers yet", got=workdir, fix="fine-tune it on what it is to answer")
        return found

    faults = partial(form.faults, tokenizer=tokenizer, **jobs.settings_of(form.faults, section))
    lengths = lambda example: longest(rows := encode([example]), np.arange(len(rows.lengths))).tolist()  # noqa: E731

    def compile(example, size: int, length: int) -> None:
        jax.block_until_ready(predict(trained.params, filled_batch(encode([example]), np.zeros(1, int), size, length)))

    return Predictor(example_of, answers, faults, form.together, Reads(shapes, lengths, compile))


def _embedding(trained: Trained, pooling: str, shapes: Shapes) -> Predictor:
    """{"embedding"} of a text, {"similarity"}, their cosine, of two."""
    vectors_of, reads = vectors_by(trained, pooling, shapes)

    def answers(examples) -> list[Answer]:
        found = iter(vectors_of([text for example in examples for text in example.texts]))
        return [_compared([next(found) for _ in example.texts]) for example in examples]

    return Predictor(texts.asked, answers, reads=reads)


def vectors_by(trained: Trained, pooling: str, shapes: Shapes) -> tuple[Callable[[Sequence[str]], np.ndarray], Reads]:
    """texts -> float32[N, D], by what the model learned, or by `pooling` over its encoder where that is given."""
    if pooling:
        check_pooling(pooling)
        encoder = Encoder(trained.encoder)
        vectors = jax.jit(lambda params, batch: row_vectors(encoder, params["encoder"], batch, pooling))
    else:
        vectors = jax.jit(lambda params, batch: trained.objective.predict(params, batch)["embedding_BD"])

    rows_of = partial(framed, trained.tokenizer, longest=shapes.longest)

    def compile(example, size: int, length: int) -> None:
        jax.block_until_ready(vectors(trained.params, padded(rows_of(example.texts[:1]), size=size, length=length)))

    reads = Reads(shapes, lambda example: [len(row) for row in rows_of(example.texts)], compile)
    return partial(embed_by, vectors, trained.params, trained.tokenizer, shapes=shapes), reads


def _compared(vectors: list[np.ndarray]) -> Answer:
    if len(vectors) == 1:
        return {"embedding": [float(value) for value in vectors[0]]}
    first, second = (np.asarray(vector, np.float64) for vector in vectors)
    lengths = np.linalg.norm(first) * np.linalg.norm(second)
    return {"similarity": float(first @ second / max(lengths, np.finfo(np.float64).tiny))}


class _Masked(NamedTuple):
    text: str
    row: MaskedRow


def _filling(trained: Trained, top_k: int, shapes: Shapes) -> Predictor:
    tokenizer, predict = trained.tokenizer, jax.jit(trained.objective.predict)

    def example_of(value: dict, place: str) -> _Masked:
        text = text_of(value, place, "text")
        return _Masked(text, masked_row(tokenizer, text, shapes.longest, place))

    def answers(examples) -> list[Answer]:
        rows = [example.row for example in examples]
        found = fill_rows(predict, trained.params, tokenizer, rows, shapes=shapes, top_k=top_k)
        return [
            {"text": example.text, "masks": [[guess._asdict() for guess in mask] for mask in masks]}
            for example, masks in zip(examples, found, strict=True)
        ]

    def compile(example: _Masked, size: int, length: int) -> None:
        jax.block_until_ready(predict(trained.params, masked_batch(in_slots(example.row)[:1], size, length)))

    reads = Reads(shapes, lambda example: [len(row.ids) for row in in_slots(example.row)], compile)
    return Predictor(example_of, answers, reads=reads)


def of_file(opened: Opened, path: Path, skipped: list[str] | None) -> Iterator[Answer]:
    """The answers to a file: .txt has a text a line, .jsonl a JSON object, any other is as the files of the task are, with the
    labels or, where the task knows such files, without."""
    plain = path.with_suffix("") if path.suffix in tables.COMPRESSED else path
    if plain.suffix in LINES:
        return asked.answered(opened.predictor, asked.of_file(path), skipped)
    if opened.task is None:
        raise UserError("the kind of the file is unknown", got=path, expected=" or ".join(LINES))
    read = opened.task.read_unlabelled or opened.task.read
    return asked.answered_examples(opened.predictor, read(path, skipped), lambda example: {}, skipped)


def of_split(opened: Opened, split: str, skipped: list[str] | None) -> Iterator[Answer]:
    """The answers to a split of the task's own data, each behind what people see of the example, as in predictions.jsonl."""
    if opened.task is None:
        raise UserError("the model was not fine-tuned on a task", got=f"--split={split}", expected="--file=FILE")
    examples = jobs.split_of(opened.task, opened.trained.config, split, skipped)
    own.require_known_labels(examples, tuple(opened.trained.config.labels))
    shown = opened.task.form.shown
    return asked.answered_examples(opened.predictor, examples, lambda example: {"id": example.id, **shown(example)}, skipped)
