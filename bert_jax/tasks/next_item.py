"""The next item of a history: leave-one-out evaluation of BERT4Rec (Sun et al. 2019, arXiv 1904.06690, sections 3.6 and 4.2)."""

from collections.abc import Iterator

import jax
import numpy as np

from bert_jax.batch import padded
from bert_jax.data import keyed, parse, sources
from bert_jax.data.report import Report
from bert_jax.metrics.ranking import hit_rate, mrr, ndcg, ranks

NEGATIVES = 100  # drawn by popularity for each user, none of them in the history (section 4.2)
ROWS = 256  # of a batch
FORMAT = "histories"


def read_histories(input_file: str, on_bad_input: str) -> Iterator[list[str]]:
    """The histories that training reads (data/sources.py), whole; raises UserError as it does."""
    report = Report(on_bad_input)
    for unit in sources.read_units(input_file, FORMAT, report):
        yield from parse.histories(unit, report)


def evaluate(objective, params, tokenizer, histories, popularity: np.ndarray, *, max_seq_length: int, seed: int) -> dict:
    """How well the last item of each history is told from those before it, and how well a ranking by popularity does.

    Args:
        histories: names of items of each user in order, more than one.
        popularity: int[V], how often each piece was seen in training.

    Returns:
        hr@k, ndcg@k and mrr among NEGATIVES others, as in the paper; with "full_" before them among all items that the user has
        not had; with "popularity_" those of the baseline. An item never seen in training is ranked last.
    """
    predict, key = jax.jit(objective.predict), keyed.key_of(seed, "negatives")
    users = tokenizer.encode([" ".join(history) for history in histories])
    found: dict[str, list[np.ndarray]] = {}
    for first in range(0, len(users), ROWS):
        known, target = zip(*((items[:-1], items[-1]) for items in users[first : first + ROWS]))
        scores = np.asarray(predict(params, _rows(known, tokenizer, max_seq_length))["logits_BPV"][: len(known), 0])
        allowed = _allowed(known, target, tokenizer)
        others, is_other = _negatives(allowed, target, popularity, key, first)
        for name, of in (("", scores), ("popularity_", np.broadcast_to(popularity, scores.shape))):
            of = np.where(allowed, of, -np.inf)
            drawn = np.where(is_other, np.take_along_axis(of, others, axis=1), -np.inf)
            own = np.take_along_axis(of, np.array(target)[:, None], axis=1)
            found.setdefault(name, []).append(ranks(np.concatenate([own, drawn], axis=1), np.zeros(len(target), np.int64)))
            found.setdefault(f"{name}full_", []).append(ranks(of, np.array(target)))
    return {f"{name}{metric}": value for name, of in found.items() for metric, value in _metrics(np.concatenate(of)).items()}


def _metrics(of: np.ndarray) -> dict[str, float]:
    found = {f"hr@{k}": hit_rate(of, k) for k in (1, 5, 10)} | {f"ndcg@{k}": ndcg(of, k) for k in (5, 10)}
    return found | {"mrr": mrr(of)}


def _rows(known: list[list[int]], tokenizer, length: int) -> dict[str, np.ndarray]:
    """The items and [MASK] as an example, the last items where there are more than fit; always ROWS rows, for one compilation."""
    rows = [tokenizer.framed([[*items[-(length - 3) :], tokenizer.mask_id]]) for items in known]
    positions = np.zeros((ROWS, 1), np.int32)
    positions[: len(rows), 0] = [row.index(tokenizer.mask_id) for row in rows]
    return padded(rows, size=ROWS, length=length) | {"masked_lm_positions": positions}


def _allowed(known: list[list[int]], target: list[int], tokenizer) -> np.ndarray:
    """bool[N, V]: the items among which each target is looked for, itself among them where training knew it."""
    allowed = np.ones((len(known), tokenizer.size), bool)
    for row, items in enumerate(known):
        allowed[row, items] = False
    allowed[np.arange(len(target)), target] = True
    allowed[:, [tokenizer.id_of[piece] for piece in tokenizer.special]] = False
    return allowed


def _negatives(
    allowed: np.ndarray, target: list[int], popularity: np.ndarray, key: np.uint64, first: int
) -> tuple[np.ndarray, np.ndarray]:
    """Others, drawn without replacement with chances by popularity (Efraimidis and Spirakis 2006): int[N, NEGATIVES], and bool of
    the same shape, False where a user who had nearly everything has no more of them.

    first: number of the first user, by which the draws are keyed.
    """
    rows, vocab = allowed.shape
    uniform = keyed.uniform(key, first + np.arange(rows)[:, None], np.arange(vocab)[None, :])
    lots = np.log(np.maximum(uniform, np.finfo(np.float64).tiny)) / np.maximum(popularity, 0.5)
    others = allowed.copy()
    others[np.arange(rows), target] = False
    lots[~others] = -np.inf
    drawn = np.argsort(-lots, axis=1, kind="stable")[:, :NEGATIVES]
    return drawn, np.take_along_axis(others, drawn, axis=1)
