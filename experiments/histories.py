"""Histories of items made by a known rule, for where those of people cannot be had."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

ITEMS, USERS, FOLLOWERS, FOLLOWS = 500, 8000, 5, 0.7
LENGTHS = (12, 31)  # from, below


class Made(NamedTuple):
    """
    Attributes:
        histories: the items of each user in order.
        follower: int[ITEMS, FOLLOWERS], those of each item.
        popularity: float[ITEMS].
    """

    histories: list[list[int]]
    follower: np.ndarray
    popularity: np.ndarray


def make() -> Made:
    """Each item is followed by one of its five followers with probability 0.7, else by any by its popularity, which falls as
    1 / rank; none comes twice in a history."""
    draw = np.random.default_rng(0)
    popularity = 1 / np.arange(1, ITEMS + 1)
    follower = np.stack([draw.permutation(ITEMS)[:FOLLOWERS] for _ in range(ITEMS)])
    return Made([_history(draw, follower, popularity) for _ in range(USERS)], follower, popularity)


def write(path: Path, made: Made | None = None) -> None:
    histories = (made or make()).histories
    path.write_text("".join(" ".join(f"item{item}" for item in history) + "\n" for history in histories), encoding="utf-8")


def _history(draw: np.random.Generator, follower: np.ndarray, popularity: np.ndarray) -> list[int]:
    history = [int(draw.choice(ITEMS, p=popularity / popularity.sum()))]
    for _ in range(1, draw.integers(*LENGTHS)):
        history.append(int(draw.choice(ITEMS, p=chances(history, follower, popularity))))
    return history


def chances(history: list[int], follower: np.ndarray, popularity: np.ndarray) -> np.ndarray:
    """float64[ITEMS], the probability of each to be the next item."""
    unseen = np.ones(ITEMS)
    unseen[history] = 0
    follows = np.zeros(ITEMS)
    follows[follower[history[-1]]] = 1
    follows, others = follows * unseen, popularity * unseen
    share = FOLLOWS if follows.any() else 0.0
    return share * follows / max(follows.sum(), 1) + (1 - share) * others / others.sum()
