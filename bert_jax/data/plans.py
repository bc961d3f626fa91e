"""Row plans: which stretches of the text make up each row, built once for the settings and kept as files."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.data import contiguous, keyed, packing, pairs
from bert_jax.data.files import NpyWriter, disk_errors, new_file, sha256_of, write_synced
from bert_jax.data.store import Split, load_mapped

PLAN_VERSION = 2


class RowMode(NamedTuple):
    """How examples are made.

    Attributes:
        examples: (split, max_seq_length, short_seq_prob, key) -> blocks of stretches (stretches.py).
        in_pairs: an example has two sides and a label.
    """

    examples: Callable[[Split, int, float, np.uint64], Iterator[np.ndarray]]
    in_pairs: bool


MODES = {
    "pairs": RowMode(pairs.next_sentence_pairs, in_pairs=True),
    "sop": RowMode(pairs.sentence_order_pairs, in_pairs=True),
    "full_sentences": RowMode(contiguous.full_sentences, in_pairs=False),
    "doc_sentences": RowMode(contiguous.doc_sentences, in_pairs=False),
    "segments": RowMode(contiguous.segments, in_pairs=False),
    "sentences": RowMode(contiguous.sentences, in_pairs=False),
}


class Plan(NamedTuple):
    """Row r is made of the stretches row_offsets[r] to row_offsets[r + 1]. Both arrays are memory-mapped.

    Attributes:
        stretches: int64[S, 3], first token, tokens, flags (stretches.py).
        row_offsets: int64[rows + 1].
    """

    stretches: np.ndarray
    row_offsets: np.ndarray

    @property
    def num_rows(self) -> int:
        return len(self.row_offsets) - 1


@dataclass(frozen=True)
class PlanConfig:
    """What a plan depends on beside the split.

    Attributes:
        rows: a name of MODES.
        max_examples_per_row: 1 for an example a row, more to pack them.
        duplicate: number of the pairing; each pairs the same sentences anew.
    """

    rows: str
    max_seq_length: int
    short_seq_prob: float
    max_examples_per_row: int
    seed: int
    duplicate: int


def build_plan(split: Split, config: PlanConfig, folder: str | Path) -> Plan:
    """The plan for these settings, read from `folder` or built and kept there; built anew where the files are not as they were
    written. Any number of processes may do so at once: each writes files of its own, which then take the same names with the
    same content.

    Raises:
        UserError: the disk refuses, or the row mode refuses a setting.
    """
    mode = MODES[config.rows]
    if not (mode.in_pairs or config.short_seq_prob):
        config = replace(config, seed=0, duplicate=0)  # nothing is drawn: one plan for all
    name = hashlib.sha256(repr((PLAN_VERSION, split.identity, config)).encode()).hexdigest()[:24]
    paths = stretches_path, offsets_path = [Path(folder) / f"{config.rows}-{name}-{part}.npy" for part in ("stretches", "rows")]
    seal = Path(folder) / f"{config.rows}-{name}.sha256"
    if not _is_whole(seal, paths):
        key = keyed.key_of(config.seed, "plan", config.duplicate)
        examples = mode.examples(split, config.max_seq_length, config.short_seq_prob, key)
        if config.max_examples_per_row > 1:
            rows = packing.packed(examples, config.max_seq_length, config.max_examples_per_row)
        else:
            rows = packing.one_by_one(examples)
        with disk_errors(offsets_path, "the row plan"):
            with new_file(offsets_path) as offsets, new_file(stretches_path) as stretches:
                _write(rows, stretches, offsets)
                hashes = [sha256_of(path) for path in (stretches, offsets)]
            with new_file(seal) as sealed:
                write_synced(sealed, "\n".join(hashes).encode())
    return Plan(load_mapped(stretches_path), load_mapped(offsets_path))


def _is_whole(seal: Path, paths: list[Path]) -> bool:
    if not all(path.exists() for path in (seal, *paths)):
        return False
    return seal.read_bytes().decode(errors="replace").split() == [sha256_of(path) for path in paths]


def _write(rows: Iterator[tuple[np.ndarray, np.ndarray]], stretches_path: Path, offsets_path: Path) -> None:
    stretches, offsets = NpyWriter(stretches_path, np.int64, (3,)), NpyWriter(offsets_path, np.int64)
    offsets.append(np.zeros(1, np.int64))
    for block, per_row in rows:
        offsets.append(stretches.rows + np.cumsum(per_row))
        stretches.append(block)
    stretches.close()
    offsets.close()
