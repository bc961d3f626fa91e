"""BERT4Rec on histories made by a known rule: beside popularity, and beside whoever knows the rule."""

from pathlib import Path

import numpy as np

from bert_jax.metrics.ranking import hit_rate, mrr, ndcg, ranks
from experiments.proofs.commands import result, timed, train

ITEMS, USERS, FOLLOWERS, FOLLOWS = 500, 8000, 5, 0.7
LENGTHS = (12, 31)  # from, below
METRICS = ("hr@10", "ndcg@10", "mrr")


def next_items(scratch: Path) -> dict:
    """Each item is followed by one of its five followers with probability 0.7, else by any by its popularity, which falls as
    1 / rank; none comes twice in a history."""
    draw = np.random.default_rng(0)
    popularity = 1 / np.arange(1, ITEMS + 1)
    follower = np.stack([draw.permutation(ITEMS)[:FOLLOWERS] for _ in range(ITEMS)])
    histories = [_history(draw, follower, popularity) for _ in range(USERS)]
    log = scratch / "histories.txt"
    log.write_text("".join(" ".join(f"item{item}" for item in history) + "\n" for history in histories))
    seconds, _ = timed(train(scratch / "run", "bert4rec.py:tiny", {"data.input_file": log}))
    found = result(scratch / "run")
    best = _best(histories, follower, popularity)
    return {
        "seconds": seconds,
        "items": ITEMS,
        "users": USERS,
        "among_all": {name: found[f"full_{name}"] for name in METRICS},
        "popularity_among_all": {name: found[f"popularity_full_{name}"] for name in METRICS},
        "the_rule_among_all": best,
        "among_100_others": {name: found[name] for name in METRICS},
        "popularity_among_100_others": {name: found[f"popularity_{name}"] for name in METRICS},
    }


def _history(draw: np.random.Generator, follower: np.ndarray, popularity: np.ndarray) -> list[int]:
    history = [int(draw.choice(ITEMS, p=popularity / popularity.sum()))]
    for _ in range(1, draw.integers(*LENGTHS)):
        history.append(int(draw.choice(ITEMS, p=_next(history, follower, popularity))))
    return history


def _next(history: list[int], follower: np.ndarray, popularity: np.ndarray) -> np.ndarray:
    """float64[ITEMS], the probability of each to be the next item."""
    unseen = np.ones(ITEMS)
    unseen[history] = 0
    follows = np.zeros(ITEMS)
    follows[follower[history[-1]]] = 1
    follows, others = follows * unseen, popularity * unseen
    share = FOLLOWS if follows.any() else 0.0
    return share * follows / max(follows.sum(), 1) + (1 - share) * others / others.sum()


def _best(histories: list[list[int]], follower: np.ndarray, popularity: np.ndarray) -> dict[str, float]:
    """A ranking of all items that the user has not had by their true probabilities."""
    scores = np.stack([_next(history[:-1], follower, popularity) for history in histories])
    for row, history in zip(scores, histories):
        row[history[:-1]] = -np.inf
    of = ranks(scores, np.array([history[-1] for history in histories]))
    return {"hr@10": hit_rate(of, 10), "ndcg@10": ndcg(of, 10), "mrr": mrr(of)}
