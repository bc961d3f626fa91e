"""What is served: the tasks of trained directories, each asked and answered as `predict` and `search` do it."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bert_jax import workdir as workdirs
from bert_jax.checkpoint import content_hash
from bert_jax.data.finetune import Example
from bert_jax.errors import UserError
from bert_jax.predict import vectors
from bert_jax.predict.asked import Reads
from bert_jax.predicting import Opened, open_predictor
from bert_jax.searching import Searcher, search_for, settings_of
from bert_jax.tasks.form import Answer, text_of

EMBED, SEARCH, FILL = "embed", "search", "fill-mask"
TASKS = {  # objective.name -> task; a model of any other makes vectors or fills masks
    "classify": "classify",
    "distill": "classify",
    "regress": "score",
    "tag": "tag",
    "tag_crf": "tag",
    "tag_features": "tag",
    "answer": "answer",
}
SHORT = {"answer": {"question": "a", "paragraph": "a"}, FILL: {"text": "a [MASK]"}}  # to compile by; else a text or two


class Service(NamedTuple):
    """A task of a model.

    Attributes:
        asked: (JSON object, its place for a message) -> an example; raises UserError for what cannot be answered.
        answers: (examples, settings by name) -> an Answer for each.
        reads: how examples become batches.
        short: a JSON object that it can be asked.
        key: of all that its answers depend on beside what is asked.
    """

    asked: Callable[[dict, str], Any]
    answers: Callable[..., Sequence[Answer]]
    reads: Reads
    short: dict
    key: str

    def compile(self) -> Iterator[None]:
        """Yields behind each shape; in the end the whole way was gone once."""
        example = self.asked(self.short, "the first question")
        for size, length in self.reads.shapes.all():
            self.reads.compile(example, size, length)
            yield
        self.answers([example])


class Model(NamedTuple):
    """
    Attributes:
        texts: how many texts it is asked about at a time; 0 where one or two will do.
        labels: of its classes or tags.
        services: by task.
    """

    texts: int
    labels: tuple[str, ...]
    services: Mapping[str, Service]


def open_models(
    folders: Mapping[str, Path], collection: Path | None, *, top_k: int, pooling: str, batch_size: int, say: Callable[[str], None]
) -> dict[str, Model]:
    """
    Args:
        folders: name -> trained directory.
        collection: that one of them made, which then searches it.
        top_k, pooling, batch_size: of `open_predictor`; an encoder that learned no pooling has the mean.

    Raises:
        UserError: a directory holds no trained model, or one that is not served; or none of them made the collection.
    """
    models, refused = {}, []
    for name, folder in folders.items():
        pooled = pooling or ("mean" if workdirs.read_trained_config(folder).objective.get("name") == "encoder" else "")
        opened = open_predictor(folder, top_k=top_k, pooling=pooled, batch_size=batch_size, fixed=True, say=say)
        task, texts = _task(opened, folder, pooled), opened.task.texts if opened.task else 0
        settings = {"task": task, "top_k": top_k, "pooling": pooled, "batch_size": batch_size}
        services = {task: _service(opened, task, texts, _key(opened, folder, settings))}
        if collection and task == EMBED:
            try:
                services[SEARCH] = _searching(opened, services[EMBED], collection, pooled)
            except UserError as error:
                refused.append(error)
        models[name] = Model(texts, tuple(opened.trained.config.get("labels", ())), services)
    if collection and not any(SEARCH in model.services for model in models.values()):
        raise (refused or [UserError("no model makes vectors", got=f"--collection={collection}", fix="--pooling=mean")])[0]
    return models


def _task(opened: Opened, folder: Path, pooling: str) -> str:
    objective = opened.trained.config.objective
    if opened.predictor.together or objective.get("name") == "choose":
        raise UserError(
            "a model that compares what it is asked is not served", got=folder, fix="ask it by python -m bert_jax predict"
        )
    return EMBED if pooling or "pooling" in objective else TASKS.get(objective.get("name"), FILL)


def _key(opened: Opened, folder: Path, settings: dict) -> str:
    trained = opened.trained
    settled = (workdirs.finished(folder) or {}).get("settled", {})
    parts = [content_hash(trained.params), trained.tokenizer.content_hash, trained.config.to_dict(), settled, settings]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _service(opened: Opened, task: str, texts: int, key: str) -> Service:
    predictor = opened.predictor

    def asked(value: dict, place: str):
        example = predictor.asked(value, place)
        for fault in predictor.faults([example]):
            if fault:
                raise fault
        return example

    short = SHORT.get(task, {"text": "a"} | ({"text_pair": "a"} if texts == 2 else {}))
    return Service(asked, predictor.answers, predictor.reads, short, key)


def _searching(opened: Opened, embedding: Service, folder: Path, pooling: str) -> Service:
    """Its vectors are held in memory."""
    collection = vectors.open_collection(folder, settings_of(opened.trained, pooling)).held()

    def vectors_of(texts: list[str]) -> np.ndarray:
        return np.array([each["embedding"] for each in embedding.answers([Example((text,), None) for text in texts])], np.float32)

    def answers(texts: Sequence[str], **settings) -> list[Answer]:
        return list(search_for(Searcher(collection, vectors_of), texts, **settings))

    reads = Reads(
        embedding.reads.shapes,
        lambda text: embedding.reads.lengths(Example((text,), None)),
        lambda text, size, length: embedding.reads.compile(Example((text,), None), size, length),
    )
    asked = lambda value, place: text_of(value, place, "text")  # noqa: E731
    return Service(asked, answers, reads, {"text": "a"}, f"{embedding.key} {collection.identity}")
