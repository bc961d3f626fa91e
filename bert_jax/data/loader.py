"""Batches as a pure function of (store, settings, step): any step at once, the same on any number of processes and workers.

Training goes through one phase or several, each with its own length, predictions and batch size. The rows of a phase are numbered
through over its epochs, so that the position in the data is (phase, rows consumed). Epoch e takes its rows from the pairing
e mod dupe_factor, in an order of its own. It draws its masks anew ("dynamic"), or takes those of its pairing ("static").
"""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.batch import FEATURE_IDS, FIELDS
from bert_jax.data import keyed
from bert_jax.data.features import Wanted, check_wanted, feature_arrays
from bert_jax.data.masking import MaskRule, mask_rows
from bert_jax.data.plans import MODES, Plan, PlanConfig, build_plan
from bert_jax.data.rows import packing_arrays, read_rows
from bert_jax.data.store import Split
from bert_jax.data.stretches import FIRST_TOKEN, document_at, ranges
from bert_jax.data.words import begins_word, of_same_word
from bert_jax.errors import UserError
from bert_jax.text.tokenizer import Tokenizer

MIN_SEQ_LENGTH = 8
MASKS = ("dynamic", "static")
Batch = dict[str, np.ndarray]


class Phase(NamedTuple):
    """A stretch of training with batches of one shape; batch_size counts the rows of all processes together."""

    first_step: int
    max_seq_length: int
    max_predictions_per_seq: int
    batch_size: int


class Position(NamedTuple):
    """How far training has come in the data: it does not depend on processes or workers."""

    phase: int
    rows: int  # consumed in this phase


@dataclass(frozen=True)
class LoaderConfig:
    """Settings under the names of create_pretraining_data.py where it has them.

    Attributes:
        phases: the first begins at step 0, each other one after the one before it.
        rows: a name of plans.MODES.
        max_examples_per_row: 1 for an example a row, more to pack them.
        dupe_factor: number of pairings, and with static masks of maskings.
        masks: "dynamic" or "static".
        num_loader_threads: threads that make batches.
        features: those of data/features.py that batches hold beside the pieces.
    """

    phases: tuple[Phase, ...]
    short_seq_prob: float
    dupe_factor: int
    seed: int
    rows: str = "pairs"
    max_examples_per_row: int = 1
    masks: str = "dynamic"
    mask: MaskRule = MaskRule()
    num_loader_threads: int = 1
    features: tuple[Wanted, ...] = ()

    def __post_init__(self):
        for phase in self.phases:
            length = phase.max_seq_length
            _require("data.max_seq_length", length, length >= MIN_SEQ_LENGTH, f"at least {MIN_SEQ_LENGTH}")
            for name in ("max_predictions_per_seq", "batch_size"):
                _require(f"data.{name}", getattr(phase, name), getattr(phase, name) >= 1, "at least 1")
        first_steps = [phase.first_step for phase in self.phases]
        in_order = first_steps[0] == 0 and all(before < after for before, after in zip(first_steps, first_steps[1:]))
        _require("data.later_phases", f"first steps {first_steps}", in_order, "each phase after the one before it")
        for name in ("dupe_factor", "max_examples_per_row", "num_loader_threads"):
            _require(f"data.{name}", getattr(self, name), getattr(self, name) >= 1, "at least 1")
        _require("data.short_seq_prob", self.short_seq_prob, 0 <= self.short_seq_prob <= 1, "from 0 to 1")
        _require("data.rows", self.rows, self.rows in MODES, " or ".join(MODES))
        check_wanted(self.features)
        _require("data.masks", self.masks, self.masks in MASKS, " or ".join(MASKS))

    @property
    def needs_words(self) -> bool:
        """Whether batches depend on where words begin."""
        return self.mask.mask_unit != "token" or bool(self.features)

    @property
    def in_pairs(self) -> bool:
        """Whether batches hold labels of pairs."""
        return MODES[self.rows].in_pairs


def _require(name: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise UserError(f"{name} is out of range", got=value, expected=expected)


class _Piece(NamedTuple):
    """Rows of one epoch that a batch takes."""

    phase: int
    epoch: int
    plan: Plan
    rows: np.ndarray
    mask_key: np.uint64


@dataclass(frozen=True)
class Loader:
    """Training batches. Plans are built when first needed and kept in `plans_folder`."""

    split: Split
    tokenizer: Tokenizer
    config: LoaderConfig
    plans_folder: Path
    _plans: dict[tuple[int, int], Plan] = field(default_factory=dict, init=False, repr=False, compare=False)
    _building: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    @property
    def num_rows(self) -> int:
        """Rows of the first epoch; other pairings give a few more or less."""
        return self.rows_at(0)

    def rows_at(self, step: int) -> int:
        """Rows of the first epoch of the phase that this step belongs to."""
        return self._plan(self.position(step).phase, 0).num_rows

    def position(self, step: int) -> Position:
        """What has been consumed before this step."""
        phase = max(number for number, phase in enumerate(self.config.phases) if phase.first_step <= step)
        return Position(phase, (step - self.config.phases[phase].first_step) * self.config.phases[phase].batch_size)

    def batch(self, step: int, process_index: int = 0, process_count: int = 1) -> Batch:
        """The arrays of bert_jax/batch.py that pretraining needs: the rows of this process, in the global order.

        Raises:
            UserError: the batch does not divide by the processes, or the split has no rows.
        """
        parts = [
            _batch(
                self.split, self.tokenizer, self.config, self.config.phases[piece.phase], piece.plan, piece.rows, piece.mask_key
            )
            for piece in self._pieces(step, process_index, process_count)
        ]
        return parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def stretches(self, step: int, process_index: int = 0, process_count: int = 1) -> np.ndarray:
        """What the rows of `batch` are made of, one after the other: int64[S, 3] as in stretches.py."""
        found = []
        for piece in self._pieces(step, process_index, process_count):
            first, end = piece.plan.row_offsets[piece.rows], piece.plan.row_offsets[piece.rows + 1]
            found.append(piece.plan.stretches[ranges(first, end - first)])
        return np.concatenate(found)

    def rows(self, step: int, process_index: int = 0, process_count: int = 1) -> list[tuple[int, int]]:
        """(epoch, row of its pairing) for each row of the batch that `batch` gives for the same arguments."""
        pieces = self._pieces(step, process_index, process_count)
        return [(piece.epoch, row) for piece in pieces for row in piece.rows.tolist()]

    def documents(self, step: int) -> list[int]:
        """The documents of the split that the whole batch of this step is made of, ascending."""
        return np.unique(document_at(self.split, self.stretches(step)[:, FIRST_TOKEN])).tolist()

    def _pieces(self, step: int, process_index: int, process_count: int) -> Iterator[_Piece]:
        """The rows of this process at this step: one piece, or more where the batch reaches over the end of an epoch."""
        number, place = self.position(step)
        size = _share(self.config.phases[number].batch_size, process_count)
        place += process_index * size
        while size:
            epoch, row = self._locate(number, place)
            duplicate = epoch % self.config.dupe_factor
            plan = self._plan(number, duplicate)
            taken = min(size, plan.num_rows - row)
            order = keyed.key_of(self.config.seed, "order", number, epoch)
            rows = keyed.permute(np.arange(row, row + taken), plan.num_rows, order)
            masking = epoch if self.config.masks == "dynamic" else duplicate
            yield _Piece(number, epoch, plan, rows, keyed.key_of(self.config.seed, "mask", number, masking))
            place, size = place + taken, size - taken

    def iterate(
        self, start_step: int = 0, *, prefetch: int = 2, process_index: int = 0, process_count: int = 1
    ) -> Iterator[Batch]:
        """Batches from `start_step` on, without end, `prefetch` of them made ahead of each worker."""
        workers = self.config.num_loader_threads
        return made_ahead(lambda step: self.batch(step, process_index, process_count), start_step, prefetch * workers, workers)

    def _plan(self, phase: int, duplicate: int) -> Plan:
        with self._building:
            if (phase, duplicate) not in self._plans:
                shape = self.config.phases[phase]
                self._plans[phase, duplicate] = _plan(self.split, self.config, shape, duplicate, self.plans_folder)
            return self._plans[phase, duplicate]

    def _locate(self, phase: int, row: int) -> tuple[int, int]:
        """Epoch and place in it of a row numbered through over all epochs. Builds no plan beyond the one it ends in."""
        sizes: list[int] = []
        for duplicate in range(self.config.dupe_factor):
            sizes.append(self._plan(phase, duplicate).num_rows)
            if row < sum(sizes):
                return duplicate, row - sum(sizes[:-1])
        rounds, row = divmod(row, sum(sizes))
        epoch, row = self._locate(phase, row)
        return rounds * self.config.dupe_factor + epoch, row


def made_ahead(batch: Callable[[int], Batch], start_step: int, prefetch: int = 2, workers: int = 1) -> Iterator[Batch]:
    """batch(start_step), batch(start_step + 1), ... without end, `prefetch` of them made ahead by `workers` threads. Closing the
    iterator ends the threads; an error in one is raised here, at its step."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
    try:
        ahead = deque(pool.submit(batch, step) for step in range(start_step, start_step + prefetch))
        step = start_step + prefetch
        while True:
            ready = ahead.popleft().result()
            ahead.append(pool.submit(batch, step))
            step += 1
            yield ready
    finally:
        pool.shutdown(cancel_futures=True)


def evaluation_batches(
    split: Split,
    tokenizer: Tokenizer,
    config: LoaderConfig,
    plans_folder: Path,
    num_rows: int,
    *,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """The same rows with the same masks each time: `num_rows` of a keyed shuffle, or all if there are fewer, each once.

    They have the shape of the first phase throughout, so that losses compare over all of training. The last batch is filled up
    with rows without a real token, whose weights are 0.

    Raises:
        UserError: the batch does not divide by the processes, or the split has no rows.
    """
    phase = config.phases[0]
    share = _share(phase.batch_size, process_count)
    plan = _plan(split, config, phase, 0, plans_folder)
    num_rows = min(num_rows, plan.num_rows)
    rows = keyed.permute(np.arange(num_rows), plan.num_rows, keyed.key_of(config.seed, "evaluation order"))
    masks = keyed.key_of(config.seed, "evaluation mask")
    for start in range(0, num_rows, phase.batch_size):
        mine = start + process_index * share + np.arange(share)
        batch = _batch(split, tokenizer, config, phase, plan, rows[np.minimum(mine, num_rows - 1)], masks)
        for name in batch.keys() & {"input_mask", "masked_lm_weights", "next_sentence_weights"}:
            batch[name][mine >= num_rows] = 0
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


def batch_shapes(config: LoaderConfig, phase: Phase) -> dict[str, tuple[tuple[int, ...], str]]:
    """name -> (shape, dtype) of the arrays of a batch over all processes, known without any text."""
    sizes = {
        "B": phase.batch_size,
        "L": phase.max_seq_length,
        "P": phase.max_predictions_per_seq,
        "E": config.max_examples_per_row,
    }
    is_packed = config.max_examples_per_row > 1
    names = ["input_ids", "input_mask", "segment_ids", "example_id"]
    names += ["masked_lm_positions", "masked_lm_ids", "masked_lm_weights"]
    names += ["sequence_ids", "position_ids", "cls_positions"] if is_packed else []
    names += ["next_sentence_labels", "next_sentence_weights"] if config.in_pairs else []
    fields = {name: FIELDS[name] for name in names} | {f"feature_{wanted.name}": FEATURE_IDS for wanted in config.features}
    found = {}
    for name, field_ in fields.items():
        letters = field_.shape.split(" or ")[-1 if is_packed and "E" in field_.shape else 0]
        found[name] = (tuple(sizes[letter] for letter in letters), field_.dtype)
    return found


def _plan(split: Split, config: LoaderConfig, phase: Phase, duplicate: int, folder: Path) -> Plan:
    settings = PlanConfig(
        config.rows, phase.max_seq_length, config.short_seq_prob, config.max_examples_per_row, config.seed, duplicate
    )
    plan = build_plan(split, settings, folder)
    if not plan.num_rows:
        raise UserError(
            f"the split gives no row for data.rows={config.rows}",
            got=f"{split.num_documents} documents, {split.num_sentences} sentences",
            expected="a document of at least two sentences" if config.in_pairs else "at least one sentence",
            fix="add text, or raise data.held_out_fraction",
        )
    return plan


def _batch(
    split: Split,
    tokenizer: Tokenizer,
    config: LoaderConfig,
    phase: Phase,
    plan: Plan,
    rows: np.ndarray,
    mask_key: np.uint64,
) -> Batch:
    laid_out = read_rows(split, plan, rows, phase.max_seq_length, config.max_examples_per_row, tokenizer)
    word_begins = None
    if config.needs_words:
        word_begins = np.zeros_like(laid_out.is_text)
        word_begins[laid_out.is_text] = begins_word(split, laid_out.places)
    row, slot = np.nonzero(laid_out.used)
    first = np.zeros_like(laid_out.is_text)
    first[row, laid_out.begins[row, slot]] = True  # a piece that has nothing before it, where [CLS] stands last
    if config.mask.mask_unit != "token" and (first & laid_out.is_text).any():
        first = of_same_word(first, laid_out.is_text, word_begins)
    masked = mask_rows(
        laid_out.input_ids,
        laid_out.is_text & ~first,
        word_begins,
        laid_out.input_mask.sum(axis=1),
        rows,
        mask_key,
        config.mask,
        max_predictions_per_seq=phase.max_predictions_per_seq,
        mask_id=tokenizer.mask_id,
        vocab_size=tokenizer.size,
    )
    batch = {
        "input_ids": masked.input_ids,
        "input_mask": laid_out.input_mask,
        "segment_ids": laid_out.segment_ids,
        "example_id": rows.astype(np.int32),
        "masked_lm_positions": masked.masked_lm_positions,
        "masked_lm_ids": masked.masked_lm_ids,
        "masked_lm_weights": masked.masked_lm_weights,
    }
    batch |= feature_arrays(config.features, laid_out.is_text, word_begins, masked.input_ids, laid_out.input_ids)
    is_packed = config.max_examples_per_row > 1
    if is_packed:
        batch |= packing_arrays(laid_out)
    if config.in_pairs:
        labels, used = laid_out.labels, laid_out.used
        batch |= {
            "next_sentence_labels": labels if is_packed else labels[:, 0],
            "next_sentence_weights": used if is_packed else used[:, 0],
        }
    return batch
