"""Batches as a pure function of (store, settings, step): any step at once, the same on any number of processes.

Rows are numbered through over all epochs. Epoch e takes its rows from the pairing e mod dupe_factor, in an order of its own, and
draws its masks anew.
"""

import math
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bert_jax.data import keyed
from bert_jax.data.masking import mask_tokens
from bert_jax.data.rows import PairPlan, build_pairs, read_rows
from bert_jax.data.store import Split
from bert_jax.errors import UserError
from bert_jax.text.wordpiece import WordPiece

MIN_SEQ_LENGTH = 8
Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class LoaderConfig:
    """Settings under the names of create_pretraining_data.py; batch_size counts the rows of all processes together."""

    max_seq_length: int
    max_predictions_per_seq: int
    masked_lm_prob: float
    short_seq_prob: float
    dupe_factor: int
    seed: int
    batch_size: int

    def __post_init__(self):
        _require("data.max_seq_length", self.max_seq_length, self.max_seq_length >= MIN_SEQ_LENGTH, f"at least {MIN_SEQ_LENGTH}")
        for name in ("max_predictions_per_seq", "dupe_factor", "batch_size"):
            _require(f"data.{name}", getattr(self, name), getattr(self, name) >= 1, "at least 1")
        _require("data.masked_lm_prob", self.masked_lm_prob, 0 < self.masked_lm_prob <= 1, "more than 0, at most 1")
        _require("data.short_seq_prob", self.short_seq_prob, 0 <= self.short_seq_prob <= 1, "from 0 to 1")


def _require(name: str, value: float, holds: bool, expected: str) -> None:
    if not holds:
        raise UserError(f"{name} is out of range", got=value, expected=expected)


@dataclass(frozen=True)
class Loader:
    """Training batches. Plans are built when first needed and kept in `plans_folder`."""

    split: Split
    tokenizer: WordPiece
    config: LoaderConfig
    plans_folder: Path
    _plans: dict[int, PairPlan] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def num_rows(self) -> int:
        """Rows of the first epoch; other pairings give a few more or less."""
        return len(self._plan(0).table)

    def batch(self, step: int, process_index: int = 0, process_count: int = 1) -> Batch:
        """The arrays of bert_jax/batch.py that pretraining needs: the rows of this process, in the global order.

        Raises:
            UserError: the batch does not divide by the processes, or the split has no rows.
        """
        size = _share(self.config.batch_size, process_count)
        start = step * self.config.batch_size + process_index * size
        parts = []
        while size:
            epoch, row = self._locate(start)
            plan = self._plan(epoch)
            taken = min(size, len(plan.table) - row)
            order = keyed.key_of(self.config.seed, "order", epoch)
            rows = keyed.permute(np.arange(row, row + taken), len(plan.table), order)
            masks = keyed.key_of(self.config.seed, "mask", epoch)
            parts.append(_batch(self.split, self.tokenizer, self.config, plan, rows, masks))
            start, size = start + taken, size - taken
        return parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def iterate(
        self, start_step: int = 0, *, prefetch: int = 2, process_index: int = 0, process_count: int = 1
    ) -> Iterator[Batch]:
        """Batches from `start_step` on, without end, `prefetch` of them made ahead."""
        return made_ahead(lambda step: self.batch(step, process_index, process_count), start_step, prefetch)

    def _plan(self, epoch: int) -> PairPlan:
        duplicate = epoch % self.config.dupe_factor
        if duplicate not in self._plans:
            self._plans[duplicate] = _plan(self.split, self.config, duplicate, self.plans_folder)
        return self._plans[duplicate]

    def _locate(self, row: int) -> tuple[int, int]:
        """Epoch and place in it of a row numbered through over all epochs. Builds no plan beyond the one it ends in."""
        sizes: list[int] = []
        for duplicate in range(self.config.dupe_factor):
            sizes.append(len(self._plan(duplicate).table))
            if row < sum(sizes):
                return duplicate, row - sum(sizes[:-1])
        rounds, row = divmod(row, sum(sizes))
        epoch, row = self._locate(row)
        return rounds * self.config.dupe_factor + epoch, row


def made_ahead(batch: Callable[[int], Batch], start_step: int, prefetch: int = 2) -> Iterator[Batch]:
    """batch(start_step), batch(start_step + 1), ... without end, `prefetch` of them made ahead by a thread. Closing the iterator
    ends the thread; an error in it is raised here."""
    ready: queue.Queue[Batch | BaseException] = queue.Queue(prefetch)
    closed = threading.Event()

    def offer(item: Batch | BaseException) -> None:
        while not closed.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def produce() -> None:
        step = start_step
        try:
            while not closed.is_set():
                offer(batch(step))
                step += 1
        except BaseException as error:
            offer(error)

    thread = threading.Thread(target=produce, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
        thread.join()


def evaluation_batches(
    split: Split,
    tokenizer: WordPiece,
    config: LoaderConfig,
    plans_folder: Path,
    num_rows: int,
    *,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """The same rows with the same masks each time: `num_rows` of a keyed shuffle, or all if there are fewer, each once.

    The last batch is filled up with rows whose weights are 0.

    Raises:
        UserError: the batch does not divide by the processes, or the split has no rows.
    """
    share = _share(config.batch_size, process_count)
    plan = _plan(split, config, 0, plans_folder)
    num_rows = min(num_rows, len(plan.table))
    rows = keyed.permute(np.arange(num_rows), len(plan.table), keyed.key_of(config.seed, "evaluation order"))
    masks = keyed.key_of(config.seed, "evaluation mask")
    for start in range(0, num_rows, config.batch_size):
        mine = start + process_index * share + np.arange(share)
        batch = _batch(split, tokenizer, config, plan, rows[np.minimum(mine, num_rows - 1)], masks)
        fills = mine >= num_rows
        batch["masked_lm_weights"][fills] = 0
        batch["next_sentence_weights"][fills] = 0
        yield batch


def unigram_baseline(counts: np.ndarray, batches: Iterable[Batch]) -> float:
    """Mean negative log-likelihood (nats) of the masked pieces when each is guessed by its frequency alone.

    Args:
        counts: int[V], how often each piece comes in the train split; one is added to each, so none is impossible.
    """
    targets = np.zeros(len(counts), np.int64)
    for batch in batches:
        targets += np.bincount(batch["masked_lm_ids"][batch["masked_lm_weights"] > 0], minlength=len(counts))
    surprise = math.log(counts.sum() + len(counts)) - np.log(counts + 1.0)
    return float(targets @ surprise / targets.sum())


def _share(batch_size: int, process_count: int) -> int:
    if batch_size % process_count:
        raise UserError(
            "the batch does not divide by the number of processes",
            got=f"{batch_size} rows over {process_count} processes",
            fix=f"make the batch a multiple of {process_count}",
        )
    return batch_size // process_count


def majority_baseline(batches: Iterable[Batch]) -> float:
    """The next-sentence accuracy of always answering what is commoner. More than half of the rows are random: a document too
    short to fill a row with two sentences gives no true next one."""
    random_next = total = 0.0
    for batch in batches:
        random_next += float((batch["next_sentence_labels"] * batch["next_sentence_weights"]).sum())
        total += float(batch["next_sentence_weights"].sum())
    return max(random_next, total - random_next) / total


def _plan(split: Split, config: LoaderConfig, duplicate: int, folder: Path) -> PairPlan:
    plan = build_pairs(
        split,
        max_seq_length=config.max_seq_length,
        short_seq_prob=config.short_seq_prob,
        seed=config.seed,
        duplicate=duplicate,
        folder=folder,
    )
    if not len(plan.table):
        raise UserError(
            "the split has no pair of sentences",
            got=f"{split.num_documents} documents, {split.num_sentences} sentences",
            expected="at least two sentences",
            fix="add text, or raise data.held_out_fraction",
        )
    return plan


def _batch(
    split: Split, tokenizer: WordPiece, config: LoaderConfig, plan: PairPlan, rows: np.ndarray, mask_key: np.uint64
) -> Batch:
    laid_out = read_rows(split, plan, rows, config.max_seq_length, tokenizer)
    lengths = laid_out.input_mask.sum(axis=1)
    masked = mask_tokens(
        laid_out.input_ids,
        laid_out.is_text,
        lengths,
        rows,
        mask_key,
        mask_id=tokenizer.mask_id,
        vocab_size=tokenizer.size,
        masked_lm_prob=config.masked_lm_prob,
        max_predictions_per_seq=config.max_predictions_per_seq,
    )
    return {
        "input_ids": masked.input_ids,
        "input_mask": laid_out.input_mask,
        "segment_ids": laid_out.segment_ids,
        "masked_lm_positions": masked.masked_lm_positions,
        "masked_lm_ids": masked.masked_lm_ids,
        "masked_lm_weights": masked.masked_lm_weights,
        "next_sentence_labels": laid_out.next_sentence_labels,
        "next_sentence_weights": np.ones(len(rows), np.float32),
    }
