"""BERT4Rec on histories made by a known rule: beside popularity, and beside whoever knows the rule."""

from pathlib import Path

import numpy as np

from bert_jax.metrics.ranking import hit_rate, mrr, ndcg, ranks
from experiments import histories
from experiments.proofs.commands import result, timed, train

METRICS = ("hr@10", "ndcg@10", "mrr")


def next_items(scratch: Path) -> dict:
    made, log = histories.make(), scratch / "histories.txt"
    histories.write(log, made)
    seconds, _ = timed(train(scratch / "run", "bert4rec.py:tiny", {"data.input_file": log}))
    found = result(scratch / "run")
    return {
        "seconds": seconds,
        "items": histories.ITEMS,
        "users": histories.USERS,
        "among_all": {name: found[f"full_{name}"] for name in METRICS},
        "popularity_among_all": {name: found[f"popularity_full_{name}"] for name in METRICS},
        "the_rule_among_all": _best(made),
        "among_100_others": {name: found[name] for name in METRICS},
        "popularity_among_100_others": {name: found[f"popularity_{name}"] for name in METRICS},
    }


def _best(made: histories.Made) -> dict[str, float]:
    """A ranking of all items that the user has not had by their true probabilities."""
    scores = np.stack([histories.chances(history[:-1], made.follower, made.popularity) for history in made.histories])
    for row, history in zip(scores, made.histories):
        row[history[:-1]] = -np.inf
    of = ranks(scores, np.array([history[-1] for history in made.histories]))
    return {"hr@10": hit_rate(of, 10), "ndcg@10": ndcg(of, 10), "mrr": mrr(of)}
