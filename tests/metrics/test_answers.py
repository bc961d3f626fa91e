"""SQuAD's and CMRC's rules, each against a second writing of them that shares no code and as little of the method as may be."""

import string

import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.metrics import answers

PARTS = [
    "the",
    "The",
    "THE",
    "a",
    "An",
    "a.n.",
    "theatre",
    "the-",
    "_a_",
    "A\u00a0",
    "another",
    "cat",
    "Cat,",
    "cats",
    "U.S.",
    "don't",
] + ["1,000", "$5", "—", "a—b", "…", "ß", "É", "北京", "的a", " ", "\t", "\n", ".", "'", "e\u0301a"]


def random_texts(rng: np.random.Generator, count: int, parts: list[str] = PARTS) -> list[str]:
    glue = ["", " ", "  "]
    return ["".join(rng.choice(parts) + rng.choice(glue) for _ in range(rng.integers(0, 6))) for _ in range(count)]


def squad_words(text: str) -> list[str]:
    """A walk over the characters: runs of letters and digits that are articles go, and so does ASCII punctuation."""
    kept, run = "", ""
    for character in [*text.lower(), " "]:
        if character in string.punctuation:
            continue
        if character.isalnum():
            run += character
            continue
        kept += (" " if run in ("a", "an", "the") else run) + character
        run = ""
    return kept.split()


def squad_scores(gold: list[str], predicted: str, version: str) -> tuple[float, float]:
    golds = [squad_words(answer) for answer in gold]
    if version == "2.0":
        golds = [words for words in golds if words]
        golds = golds if golds else [[]]
    guess = squad_words(predicted)
    best = 0.0
    for words in golds:
        left, shared = list(words), 0
        for word in guess:
            if word in left:
                left.remove(word)
                shared += 1
        if version == "2.0" and (not words or not guess):
            best = max(best, 1.0 if words == guess else 0.0)
        elif shared:
            precision, recall = shared / len(guess), shared / len(words)
            best = max(best, 2 * precision * recall / (precision + recall))
    return float(guess in golds), best


@pytest.mark.parametrize("version", ["1.1", "2.0"])
def test_adversarial_answers_score_as_a_second_writing_of_squads_rules(version):
    rng = np.random.default_rng(len(version))
    partial = 0
    for _ in range(400):
        gold, predicted = random_texts(rng, int(rng.integers(version == "1.1", 4))), random_texts(rng, 1)[0]
        if gold and rng.random() < 0.5:
            predicted = gold[0] + str(rng.choice(PARTS))
        exact, f1 = squad_scores(gold, predicted, version)
        assert answers.exact(gold, predicted, version) == exact, (gold, predicted)
        assert answers.f1(gold, predicted, version) == pytest.approx(f1), (gold, predicted)
        partial += 0 < f1 < 1
    assert partial > 50


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat's\tA.", "cats"),
        ("theatre an", "theatre"),
        ("a—the", "—"),
        ("the", ""),
        ("U.S.-based", "usbased"),
        ("«a»", "« »"),
    ],
)
def test_normalised_by_hand(text, expected):
    assert answers.normalise(text) == expected


def test_squad_by_hand():
    assert answers.f1(["the black cat"], "black cats, black") == pytest.approx(2 * 1 / (2 + 3))
    assert answers.f1(["two", "one two three"], "one two three four") == pytest.approx(6 / 7)
    assert answers.exact(["the U.S."], "US") == 1 and answers.f1(["the U.S."], "US") == 1


def test_without_an_answer_only_an_empty_prediction_is_right():
    assert answers.exact([], "") == answers.f1([], "") == 1
    assert answers.exact([], "cat") == answers.f1([], "cat") == answers.f1(["cat"], "") == 0


def test_versions_differ_in_answers_that_normalise_to_nothing():
    assert (answers.exact(["The"], "a", "1.1"), answers.f1(["The"], "a", "1.1")) == (1, 0)
    assert (answers.exact(["The"], "a", "2.0"), answers.f1(["The"], "a", "2.0")) == (1, 1)
    assert answers.exact(["the", "cat"], "", "1.1") == 1 and answers.exact(["the", "cat"], "", "2.0") == 0


def test_a_question_without_answer_or_a_wrong_version_is_refused():
    with pytest.raises(UserError, match="no answer"):
        answers.exact([], "", "1.1")
    with pytest.raises(UserError, match="no such version"):
        answers.f1(["x"], "x", "1.0")
    with pytest.raises(ValueError):
        answers.scores([["x"]], [])


def test_scores_are_percent_and_split_by_whether_there_is_an_answer():
    gold, predicted = [["a cat"], ["black cat"], [], []], ["cat", "cat", "", "dog"]
    both = {"exact": 50.0, "f1": pytest.approx(100 * (1 + 2 / 3 + 1) / 4)}
    split = {"HasAns_exact": 50.0, "HasAns_f1": pytest.approx(100 * (1 + 2 / 3) / 2), "NoAns_exact": 50.0, "NoAns_f1": 50.0}
    assert answers.scores(gold, predicted) == both | split
    assert answers.scores(gold[:2], predicted[:2], "1.1") == {"exact": 50.0, "f1": pytest.approx(100 * (1 + 2 / 3) / 2)}


def questions(seed: int, count: int):
    """Questions that have an answer or none, predictions that are right, in part right or wrong, and probabilities that help."""
    rng = np.random.default_rng(seed)
    gold = [[] if rng.random() < 0.5 else ["red fox", "brown dog"] for _ in range(count)]
    predicted = [str(rng.choice(["red fox", "red", "cow", ""])) for _ in range(count)]
    return gold, predicted, np.array([rng.beta(2, 3) if one else rng.beta(3, 2) for one in gold])


@pytest.mark.parametrize("seed", range(5))
def test_the_best_threshold_is_the_best_of_all_thresholds_tried(seed):
    gold, predicted, no_answer = questions(seed, 60)
    result = answers.with_threshold(gold, predicted, no_answer)
    # Below the smallest, every prediction is taken back.
    tried = [answers.with_threshold(gold, predicted, no_answer, at) for at in [-1.0, *no_answer]]
    for name in ("exact", "f1"):
        assert result[f"best_{name}"] == pytest.approx(max(one[name] for one in tried))
        at_best = answers.with_threshold(gold, predicted, no_answer, result[f"best_{name}_thresh"])
        assert at_best[name] == pytest.approx(result[f"best_{name}"])
        assert result[f"best_{name}"] > result[name]  # or the search is not seen to search


def test_a_threshold_of_one_takes_nothing_back():
    gold, predicted, no_answer = questions(0, 40)
    result = answers.with_threshold(gold, predicted, np.round(no_answer))
    assert result.items() >= answers.scores(gold, predicted).items()


def test_thresholds_by_hand():
    gold, predicted = [["cat"], ["dog"], [], []], ["cat", "dog", "cow", "cow"]
    result = answers.with_threshold(gold, predicted, np.array([0.1, 0.6, 0.4, 0.9]), 0.5)
    assert (result["exact"], result["HasAns_exact"], result["NoAns_exact"]) == (50, 50, 50)
    # Up to 0.1: 3 of 4; to 0.4: 2; to 0.6: 3, no better, so the first is kept.
    assert (result["best_exact"], result["best_exact_thresh"]) == (75, 0.1)
    nothing = answers.with_threshold([[], ["dog"]], ["cow", "cow"], np.array([0.2, 0.3]))
    assert (nothing["best_f1"], nothing["best_f1_thresh"]) == (50, 0)


def test_a_prediction_of_mere_articles_costs_the_search_a_point_as_in_the_official_script():
    """It normalises to the right empty answer, yet the search asks the text itself whether something was said."""
    result = answers.with_threshold([[], ["dog"]], ["the", "dog"], np.array([0.1, 0.2]))
    assert (result["exact"], result["best_exact"]) == (100, 50)


CHINESE_PARTS = [
    "北京",
    "大学",
    "北",
    "学",
    "2008年",
    "bert-base",
    "BERT",
    "《红楼梦》",
    "，",
    "。",
    "……",
    "e.g.",
    " ",
    "don't",
    "3.5",
    "1,000",
]


def chinese_rules(gold: str, predicted: str) -> tuple[float, float]:
    """One answer, by character and with every stretch of the gold pieces looked up in the predicted ones."""
    dropped = "-:_*^/\\~`+=" + "，。：？！“”；’《》·、「」（）－～『』"
    pieces = []
    for text in (gold, predicted):
        found, run = [], ""
        for character in text.lower().strip():
            if character in dropped:
                continue
            if "\u4e00" <= character <= "\u9fa5":
                found += answers.treebank_words(run) + [character]
                run = ""
            else:
                run += character
        pieces.append(found + answers.treebank_words(run))
    a, b = pieces
    stretches = [a[i:j] for i in range(len(a)) for j in range(i + 1, len(a) + 1)]
    within = [len(one) for one in stretches if any(b[i : i + len(one)] == one for i in range(len(b)))]
    longest = max(within, default=0)
    bare = ["".join(c for c in text.lower().strip() if c not in dropped) for text in (gold, predicted)]
    f1 = 0.0
    if longest:
        precision, recall = longest / len(b), longest / len(a)
        f1 = 2 * precision * recall / (precision + recall)
    return float(bare[0] == bare[1]), f1


def test_adversarial_answers_score_as_a_second_writing_of_cmrcs_rules():
    rng = np.random.default_rng(1)
    partial = 0
    for _ in range(200):
        gold = random_texts(rng, int(rng.integers(1, 4)), CHINESE_PARTS)
        predicted = gold[0] + str(rng.choice(CHINESE_PARTS)) if rng.random() < 0.5 else random_texts(rng, 1, CHINESE_PARTS)[0]
        exact, f1 = map(max, zip(*(chinese_rules(answer, predicted) for answer in gold)))
        assert answers.chinese_exact(gold, predicted) == exact, (gold, predicted)
        assert answers.chinese_f1(gold, predicted) == pytest.approx(f1), (gold, predicted)
        partial += 0 < f1 < 1
    assert partial > 60


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  《Harry Potter》在2008年，", ["harry", "potter", "在", "2008", "年"]),
        ("bert-base模型", ["bertbase", "模", "型"]),  # a mark that goes joins its neighbours
        ("约1,000人(3.5%)", ["约", "1,000", "人", "(", "3.5", "%", ")"]),
        ("the U.S. don't, it's.", ["the", "u.s.", "do", "n't", ",", "it", "'s", "."]),
        ("等…", ["等", "…"]),
        ("，。", []),
    ],
)
def test_segments_by_hand(text, expected):
    assert answers.chinese_segments(text) == expected


def test_cmrc_by_hand():
    assert answers.chinese_exact(["《红楼梦》。"], "红楼梦") == 1
    assert answers.chinese_f1(["北京大学"], "北京的大学") == pytest.approx(2 * 2 / (4 + 5))  # a stretch of two, not of four
    assert answers.chinese_f1(["北京大学", "大学"], "大学") == 1
    assert answers.chinese_f1(["北京"], "") == 0
    assert answers.chinese_scores([["北京"], ["北京大学"]], ["北京", "大学"]) == {
        "exact": 50.0,
        "f1": pytest.approx(100 * (1 + 4 / 6) / 2),
        "average": pytest.approx((50 + 100 * (1 + 4 / 6) / 2) / 2),
    }
