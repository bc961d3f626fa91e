"""Scores of answers that are pieces of a text, by the rules of SQuAD 1.1 and 2.0 and of CMRC 2018, written anew.

SQuAD (Rajpurkar et al. 2016, arXiv 1606.05250; 2018, arXiv 1806.03822): words without case, punctuation and articles, in
any order. CMRC 2018 (Cui et al. 2019, arXiv 1810.07366): characters of Chinese and words of other scripts, the longest
stretch that both answers have. `exact` and `f1` are fractions of 1; `scores` are percent, as the official ones.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from bert_jax.errors import UserError

ARTICLES = re.compile(r"\b(?:a|an|the)\b")
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case, no ASCII punctuation, no article, words joined by one space, in this order: "a.n." is an article too."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(WITHOUT_PUNCTUATION)).split())


def exact(gold: Sequence[str], predicted: str, version: str = "2.0") -> float:
    """1 where the prediction normalises to one of the gold answers, else 0; arguments of `f1`."""
    return float(normalise(predicted) in normalised(gold, version))


def f1(gold: Sequence[str], predicted: str, version: str = "2.0") -> float:
    """The best F1 over the gold answers of the bags of normalised words.

    Args:
        gold: the answers of one question, each as good as another; none where it has no answer.
        predicted: the prediction; empty where it says that there is no answer.
        version: "2.0", or "1.1", where every question has an answer. They differ in what normalises to nothing, as "The":
            2.0 takes no such gold answer, and where none is left only an empty prediction is right, with 1; in 1.1 its F1 is 0.
    """
    words = normalise(predicted).split()
    return max(bag_f1(answer.split(), words, version) for answer in normalised(gold, version))


def normalised(gold: Sequence[str], version: str) -> list[str]:
    if version not in ("1.1", "2.0"):
        raise UserError("no such version of SQuAD's rules", got=version, expected="1.1 or 2.0")
    answers = [normalise(answer) for answer in gold]
    if version == "2.0":
        return [answer for answer in answers if answer] or [""]
    if not answers:
        raise UserError("a question of SQuAD 1.1 has no answer", fix='score it by the rules of version "2.0"')
    return answers


def bag_f1(gold: list[str], predicted: list[str], version: str) -> float:
    if version == "2.0" and not (gold and predicted):
        return float(gold == predicted)
    shared = sum((Counter(gold) & Counter(predicted)).values())
    return 2 * shared / (len(gold) + len(predicted)) if shared else 0.0


def scores(gold: Sequence[Sequence[str]], predicted: Sequence[str], version: str = "2.0") -> dict[str, float]:
    """Means over the questions in percent: exact and f1.

    With questions without an answer (2.0) also those of either kind: HasAns_exact, HasAns_f1, NoAns_exact, NoAns_f1.
    """
    return means(gold, *each(gold, predicted, version))


def each(gold: Sequence[Sequence[str]], predicted: Sequence[str], version: str = "2.0") -> tuple[np.ndarray, np.ndarray]:
    """float64[N], float64[N]: exact and f1 of every question."""
    pairs = list(zip(gold, predicted, strict=True))
    return tuple(np.array([score(*pair, version) for pair in pairs]) for score in (exact, f1))


def means(gold: Sequence[Sequence[str]], exacts: np.ndarray, f1s: np.ndarray) -> dict[str, float]:
    answered = np.array([len(answers) > 0 for answers in gold])
    kinds = {"": np.full(len(gold), True)}
    if not answered.all():
        kinds |= {"HasAns_": answered, "NoAns_": ~answered}
    return {
        kind + name: 100 * float(np.mean(values[rows]))
        for kind, rows in kinds.items()
        if rows.any()
        for name, values in (("exact", exacts), ("f1", f1s))
    }


def with_threshold(
    gold: Sequence[Sequence[str]], predicted: Sequence[str], no_answer: np.ndarray, threshold: float = 1.0
) -> dict[str, float]:
    """`scores` by the rules of 2.0 where a no-answer probability above `threshold` takes a prediction back.

    And what the best threshold of this very set would give, as the official script reports it: best_exact,
    best_exact_thresh, best_f1, best_f1_thresh, in percent and in probability. Chosen on the set that it scores, they are
    bounds and no result for a test set.

    Args:
        gold, predicted: as for `scores`.
        no_answer: float[N], the probability that there is no answer.
    """
    exacts, f1s = each(gold, predicted)
    unanswered = np.array([not answers for answers in gold])
    taken_back = np.asarray(no_answer) > threshold
    result = means(gold, *(np.where(taken_back, unanswered, values) for values in (exacts, f1s)))
    for name, values in (("exact", exacts), ("f1", f1s)):
        best, at = best_threshold(values, np.array([bool(text) for text in predicted]), unanswered, np.asarray(no_answer))
        result |= {f"best_{name}": best, f"best_{name}_thresh": at}
    return result


def best_threshold(values: np.ndarray, said: np.ndarray, unanswered: np.ndarray, no_answer: np.ndarray) -> tuple[float, float]:
    """The best mean in percent and the first threshold with it, 0 where answering nothing is best.

    Predictions are let stand one by one from the smallest no-answer probability on: an answer adds its score, an answer
    (bool `said`) to a question without one takes its point away. Of equal probabilities the official script, as this, lets
    some stand and not others, in the order of the questions, so with ties the best may be one that no threshold gives.
    """
    order = np.argsort(no_answer, kind="stable")
    gains = np.where(unanswered, -1.0 * said, values)[order]
    sums = np.concatenate([[0.0], np.cumsum(gains)]) + unanswered.sum()
    best = int(np.argmax(sums))
    return 100 * float(sums[best]) / len(values), float(no_answer[order[best - 1]]) if best else 0.0


# CMRC 2018. The official list also names an ellipsis of two characters, which no single character is; so it stays.
CHINESE_PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
IDEOGRAPH = re.compile("[\u4e00-\u9fa5]")


def chinese_normalise(text: str) -> str:
    """Lower case, no white space around, none of the official list's punctuation."""
    return "".join(character for character in text.lower().strip() if character not in CHINESE_PUNCTUATION)


def chinese_segments(text: str) -> list[str]:
    """The normalised text in pieces: every ideograph by itself, what stands between them in words."""
    parts = re.split(f"({IDEOGRAPH.pattern})", chinese_normalise(text))
    return [piece for part in parts for piece in ([part] if IDEOGRAPH.fullmatch(part) else treebank_words(part))]


# What the Penn Treebank's rules set apart in lower case text, as far as short answers meet them. The official script calls
# nltk.word_tokenize, which also finds sentences, tells opening from closing quotes and cuts "cannot" and "gonna": of the 9,657
# answers of CMRC's development set 18 have other pieces there, all of them quotes, and none another number of pieces.
MARKS = re.compile(r'\.{2,}|[;@#$%&?!()\[\]{}<>"«»‘„]|,(?!\d)')
LAST_STOP = re.compile(r"(?<=[^.\s])\.(?=[\])}>\"'\s]*$)")
CLITICS = re.compile(r"(?<=[^'\s])(?:n't|'(?:s|m|d|ll|re|ve)?)(?=\s|$)")


def treebank_words(text: str) -> list[str]:
    text = LAST_STOP.sub(r" . ", MARKS.sub(r" \g<0> ", text))
    return CLITICS.sub(r" \g<0>", text).split()


def chinese_exact(gold: Sequence[str], predicted: str) -> float:
    """1 where the prediction normalises to one of the gold answers, else 0."""
    return float(any(chinese_normalise(predicted) == chinese_normalise(answer) for answer in gold))


def chinese_f1(gold: Sequence[str], predicted: str) -> float:
    """The best F1 over the gold answers of the longest stretch of pieces in both: 0 where they share none."""
    pieces = chinese_segments(predicted)
    return max(stretch_f1(chinese_segments(answer), pieces) for answer in gold)


def stretch_f1(gold: list[str], predicted: list[str]) -> float:
    longest = longest_stretch(gold, predicted)
    return 2 * longest / (len(gold) + len(predicted)) if longest else 0.0


def longest_stretch(a: list[str], b: list[str]) -> int:
    """The length of the longest run of neighbours in both: a substring, though the script calls it LCS."""
    longest, above = 0, [0] * (len(b) + 1)  # above[j]: the run that ends at the piece of a before, and at b[j - 1]
    for piece in a:
        above = [0] + [run + 1 if piece == other else 0 for run, other in zip(above, b)]
        longest = max(longest, *above)
    return longest


def chinese_scores(gold: Sequence[Sequence[str]], predicted: Sequence[str]) -> dict[str, float]:
    """Means over the questions in percent: exact, f1 and average, the mean of the two that CMRC 2018 ranks by."""
    pairs = list(zip(gold, predicted, strict=True))
    exact, f1 = (100 * float(np.mean([score(*pair) for pair in pairs])) for score in (chinese_exact, chinese_f1))
    return {"exact": exact, "f1": f1, "average": (exact + f1) / 2}
