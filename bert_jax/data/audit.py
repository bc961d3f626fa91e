"""Whether batches are what the config asks for, read off the batches themselves: a wrong one trains as quietly as a right one.

What is certain (padding, special pieces, the text, labels of pairs) is compared with the token store, and one difference is a
finding. What is drawn (what masked pieces become, labels, the order of rows) is held against bounds, each of which a right loader
crosses at each look with a probability of CHANCE at most: 20,000 batches and 10,000 looks at their sums, as in a million steps,
raise a false alarm in fewer than one of ten thousand runs.
"""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import numpy as np

from bert_jax.data.loader import Batch, Loader
from bert_jax.data.masking import MaskRule
from bert_jax.data.stretches import FIRST_TOKEN, TOKENS, document_at, ranges
from bert_jax.finding import Finding
from bert_jax.text.tokenizer import Tokenizer

CHANCE = 1e-9
AT_START, EVERY = 50, 50  # batches looked at: so many after a start, then one in so many
RUN, MOST_RUNS, FEWEST_RUNS = 8, 2**14, 256  # pieces in a row, to be compared with each other
MIN_DISTINCT = 0.1  # of the runs
MAX_ALIKE = 0.9  # of the labels of pairs


class Audit:
    """What was seen of the batches of one process since it started."""

    def __init__(self, batches: Loader):
        self._batches = batches
        self._seen: Counter[str] = Counter()
        self._runs: list[np.ndarray] = []
        self._order = _Order(1.0, 0, 0, 0, 0)

    def watched(
        self, batches: Iterator[Batch], start_step: int, *, process_index: int = 0, process_count: int = 1
    ) -> Iterator[Batch]:
        """The same batches, some of them looked at on the way; closing it closes them."""
        with closing(batches):
            for number, batch in enumerate(batches):
                if number < AT_START or number % EVERY == 0:
                    self.see(start_step + number, batch, process_index, process_count)
                yield batch

    def see(self, step: int, batch: Batch, process_index: int = 0, process_count: int = 1) -> None:
        tokenizer, config = self._batches.tokenizer, self._batches.config
        stretches = self._batches.stretches(step, process_index, process_count)
        num_rows = self._batches.rows_at(step)
        original = _unmasked(batch)
        real = batch["input_mask"] > 0
        is_text = real & (original != tokenizer.cls_id) & (original != tokenizer.sep_id)
        self._seen += _padding(original, real, tokenizer)
        self._seen += _masks(batch, real, config.mask, tokenizer)
        self._seen += _text(batch, original, is_text, self._batches.split.tokens(_places(stretches)))
        if config.in_pairs:
            self._seen += _labels(batch, self._follows(stretches))
        self._order = min(self._order, _order(step, batch["example_id"], num_rows))
        if self._seen["rows"] < num_rows and self._seen["runs"] < MOST_RUNS:  # later epochs repeat the text by right
            self._runs.append(_runs(original, is_text)[: MOST_RUNS - self._seen["runs"]])
            self._seen["runs"] += len(self._runs[-1])
        self._seen["rows"] += len(original)

    def _follows(self, stretches: np.ndarray) -> np.ndarray:
        """bool[pairs]: whether B comes after A in one document."""
        a, b = stretches[0::2, FIRST_TOKEN], stretches[1::2, FIRST_TOKEN]
        return (document_at(self._batches.split, a) == document_at(self._batches.split, b)) & (a < b)

    def findings(self) -> list[Finding]:
        """What is wrong with the batches seen so far; none where all is as it should be."""
        seen, config, tokenizer = self._seen, self._batches.config, self._batches.tokenizer
        found = [
            _judge_padding(seen, tokenizer),
            _judge_special(seen),
            _judge_number(seen, config.mask),
            *_judge_fates(seen, config.mask, tokenizer.size),
            _judge_text(seen),
            _judge_masked_text(seen),
            _judge_labels(seen),
            _judge_share(seen, config.rows, self._batches.split.num_documents),
            _judge_order(self._order),
            _judge_runs(self._runs),
        ]
        return [finding for finding in found if finding]


def _places(stretches: np.ndarray) -> np.ndarray:
    return ranges(stretches[:, FIRST_TOKEN], stretches[:, TOKENS])


def _unmasked(batch: Batch) -> np.ndarray:
    """input_ids with the pieces to predict put back."""
    original = batch["input_ids"].copy()
    row, slot = np.nonzero(batch["masked_lm_weights"])
    original[row, batch["masked_lm_positions"][row, slot]] = batch["masked_lm_ids"][row, slot]
    return original


def _padding(original: np.ndarray, real: np.ndarray, tokenizer: Tokenizer) -> Counter:
    is_pad = original == tokenizer.pad_id
    return Counter(padding=(~real).sum(), padding_wrong=(~real & ~is_pad).sum(), text_is_padding=(real & is_pad).sum())


def _judge_padding(seen: Counter, tokenizer: Tokenizer) -> Finding | None:
    if seen["padding_wrong"] or seen["text_is_padding"]:
        return Finding(
            "padding and input_mask disagree",
            f"another piece at {seen['padding_wrong']:,} of {seen['padding']:,} places of padding, "
            f"{tokenizer.special.pad} at {seen['text_is_padding']:,} real ones",
            f"piece {tokenizer.pad_id}, {tokenizer.special.pad}, at all of the first and none of the second",
            "check the pad id that rows are filled up with, and how input_mask is made",
        )


def _masks(batch: Batch, real: np.ndarray, rule: MaskRule, tokenizer: Tokenizer) -> Counter:
    row, slot = np.nonzero(batch["masked_lm_weights"])
    place, hidden = batch["masked_lm_positions"][row, slot], batch["masked_lm_ids"][row, slot]
    shown = batch["input_ids"][row, place]
    special = [tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
    most = np.minimum(np.maximum(1, np.rint(real.sum(axis=1) * rule.masked_lm_prob)), batch["masked_lm_weights"].shape[1])
    count = np.bincount(row, minlength=len(real))
    # Pieces of a unit share a fate. What stands side by side may be one unit, so a run of them counts as one draw of its length.
    opens = np.ones(len(row), bool)
    opens[1:] = (np.diff(row) != 0) | (np.diff(place) != 1)
    runs = np.bincount(np.cumsum(opens) - 1) if len(row) else np.zeros(0, int)
    return Counter(
        masked=len(row),
        masked_most=int(most.sum()),
        rows_over=int((count > most).sum()),
        masked_special=int(np.isin(hidden, special).sum()),
        become_mask=int((shown == tokenizer.mask_id).sum()),
        stay=int((shown == hidden).sum()),
        squared_runs=int((runs**2).sum()),
    )


def _judge_special(seen: Counter) -> Finding | None:
    if seen["masked_special"]:
        return Finding(
            "special pieces are masked",
            f"{seen['masked_special']:,} of {seen['masked']:,} masked pieces are [CLS], [SEP], [PAD] or [MASK]",
            "none",
            "leave them out of the candidates for masks",
        )


def _judge_number(seen: Counter, rule: MaskRule) -> Finding | None:
    if seen["rows_over"] or 2 * seen["masked"] < seen["masked_most"]:
        return Finding(
            "another share of the pieces is masked than data.masked_lm_prob",
            f"{seen['masked']:,} masked pieces, too many in {seen['rows_over']:,} of {seen['rows']:,} rows",
            f"up to {seen['masked_most']:,}, {rule.masked_lm_prob:.0%} of each row but no more than max_predictions_per_seq, "
            "and no less than half of that",
            "check data.masked_lm_prob, data.max_predictions_per_seq and how masks are chosen",
        )


def _judge_fates(seen: Counter, rule: MaskRule, vocab_size: int) -> Iterator[Finding]:
    """Hoeffding's inequality (1963, theorem 2) for the sum of independent fates, each as long as its run."""
    if not seen["masked"]:
        return
    by_chance = rule.random_token_prob / vocab_size  # the random piece is that very one
    slack = math.sqrt(seen["squared_runs"] * math.log(2 / CHANCE) / 2) / seen["masked"]
    for name, key, share in (
        ("become [MASK]", "become_mask", rule.mask_token_prob),
        ("stay as they are", "stay", 1 - rule.mask_token_prob - rule.random_token_prob),
    ):
        if abs(seen[key] / seen["masked"] - share - by_chance) > slack:
            yield Finding(
                f"another share of the masked pieces than asked for {name}",
                f"{seen[key] / seen['masked']:.1%} of {seen['masked']:,}",
                f"{share:.1%}, give or take {slack:.1%}",
                "check data.mask_token_prob, data.random_token_prob and how masks are drawn",
            )


def _text(batch: Batch, original: np.ndarray, is_text: np.ndarray, stored: np.ndarray) -> Counter:
    pieces = original[is_text]
    if len(pieces) != len(stored):
        return Counter(pieces=len(stored), pieces_wrong=len(stored))
    masked = np.zeros_like(is_text)
    row, slot = np.nonzero(batch["masked_lm_weights"])
    masked[row, batch["masked_lm_positions"][row, slot]] = True
    wrong, masked = pieces != stored, masked[is_text]
    return Counter(pieces=len(pieces), pieces_wrong=int((wrong & ~masked).sum()), masked_wrong=int((wrong & masked).sum()))


def _judge_text(seen: Counter) -> Finding | None:
    if seen["pieces_wrong"]:
        return Finding(
            "rows are not the text of the store",
            f"{seen['pieces_wrong']:,} of {seen['pieces']:,} pieces differ",
            "none, but for those that masks hide",
            "compare the rows that show prints with the text",
        )


def _judge_masked_text(seen: Counter) -> Finding | None:
    if seen["masked_wrong"]:
        return Finding(
            "what is to be predicted is not what was hidden",
            f"{seen['masked_wrong']:,} of {seen['masked']:,} masked pieces have another label than the text",
            "masked_lm_ids are the pieces of the text at masked_lm_positions",
            "check how masked_lm_ids and masked_lm_positions are made",
        )


def _labels(batch: Batch, follows: np.ndarray) -> Counter:
    labels = batch["next_sentence_labels"][batch["next_sentence_weights"] > 0]
    return Counter(pairs=len(labels), label_1=int(labels.sum()), labels_wrong=int((labels == follows).sum()))


def _judge_labels(seen: Counter) -> Finding | None:
    wrong = seen["labels_wrong"]
    if wrong:
        return Finding(
            "labels of pairs are inverted" if wrong == seen["pairs"] else "labels of pairs are wrong",
            f"{wrong:,} of {seen['pairs']:,} say the opposite of the text",
            "0 where B follows A in its document, 1 where it does not",
            "check where next_sentence_labels come from; the released code has 0 = is next",
        )


def _judge_share(seen: Counter, rows: str, num_documents: int) -> Finding | None:
    """Half of the labels are drawn to be 1; a document of a single sentence makes more of BERT's pairs random."""
    if not seen["pairs"] or num_documents == 1:
        return None
    share, slack = seen["label_1"] / seen["pairs"], math.sqrt(math.log(2 / CHANCE) / 2 / seen["pairs"])
    most = 0.5 if rows == "sop" else MAX_ALIKE
    if not 0.5 - slack <= share <= most + slack:
        return Finding(
            "the labels of pairs are out of balance",
            f"label 1 for {share:.1%} of {seen['pairs']:,} pairs",
            f"50% to {most:.0%}, give or take {slack:.1%}",
            "give text whose documents have several sentences, with an empty line between documents",
        )


class _Order(NamedTuple):
    """How likely a shuffle puts the rows of a batch as near together as they are; the batch, and its rows."""

    chance: float
    step: int
    first: int
    last: int
    num_rows: int


def _order(step: int, rows: np.ndarray, num_rows: int) -> _Order:
    """Any of the n rows may be the first, and each other one then has to fall among the next last - first."""
    first, last = int(rows.min()), int(rows.max())
    if len(rows) < 2 or last >= num_rows:
        return _Order(1.0, step, first, last, num_rows)
    return _Order(len(rows) * ((last - first) / (num_rows - 1)) ** (len(rows) - 1), step, first, last, num_rows)


def _judge_order(order: _Order) -> Finding | None:
    if order.chance < CHANCE:
        return Finding(
            "rows are not shuffled",
            f"all rows of the batch of step {order.step + 1:,} are among rows {order.first:,} to {order.last:,} "
            f"of {order.num_rows:,}",
            f"rows from all over the text: a shuffle does this with probability {order.chance:.0e}",
            "check the order of rows: neighbours in the text must not be neighbours in training",
        )


def _runs(original: np.ndarray, is_text: np.ndarray) -> np.ndarray:
    """uint64: a hash of each run of RUN pieces of text that stand side by side."""
    if original.shape[1] < RUN:
        return np.zeros(0, np.uint64)
    weights = np.random.Generator(np.random.Philox(0)).integers(2**63, size=RUN, dtype=np.uint64) * 2 + 1
    windows = np.lib.stride_tricks.sliding_window_view(original, RUN, axis=1)
    whole = np.lib.stride_tricks.sliding_window_view(is_text, RUN, axis=1).all(axis=2)
    return (windows[whole].astype(np.uint64) * weights).sum(axis=1, dtype=np.uint64)


def _judge_runs(runs: list[np.ndarray]) -> Finding | None:
    total = sum(map(len, runs))
    if total < FEWEST_RUNS:
        return None
    distinct = len(np.unique(np.concatenate(runs))) / total
    if distinct < MIN_DISTINCT:
        return Finding(
            "the text repeats itself",
            f"of {total:,} runs of {RUN} pieces only {distinct:.1%} are different ones",
            f"at least {MIN_DISTINCT:.0%} within one pass over the text",
            "look at the text with show: perhaps one file or line comes again and again",
        )
