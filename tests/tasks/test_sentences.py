import numpy as np
import pytest

from bert_jax.data.finetune import Example
from bert_jax.errors import UserError
from bert_jax.tasks import sentences
from tests.paths import DATA, needs_data

STSB = "index\tgenre\tsentence1\tsentence2\tscore\n"
NLI = "index\tsentence1\tsentence2\tlabel1\tgold_label\n"


def write(folder, name: str, content: str):
    path = folder / "glue" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return folder


def test_scores_are_fractions_of_five(tmp_path):
    write(tmp_path, "STS-B/dev.tsv", STSB + '0\tx\tA "b\tc\t5.000\n1\tx\td\te\t0\n2\tx\tf\tg\t3.8\n')
    assert sentences.scored_pairs(["stsb"], tmp_path, "dev") == [
        Example(('A "b', "c"), 1.0),
        Example(("d", "e"), 0.0),
        Example(("f", "g"), 0.76),
    ]


@pytest.mark.parametrize("score", ["5.1", "-1", "", "nan", "high"])
def test_a_score_that_is_none_is_refused_by_line(tmp_path, score):
    write(tmp_path, "STS-B/dev.tsv", STSB + f"0\tx\ta\tb\t1.0\n1\tx\tc\td\t{score}\n")
    with pytest.raises(UserError, match=r"(?s)score is out of range.*dev\.tsv, line 3.*0 to 5"):
        sentences.scored_pairs(["stsb"], tmp_path, "dev")


def test_pairs_of_several_sources_and_no_class_without_agreement(tmp_path):
    write(tmp_path, "SNLI/train.tsv", NLI + "0\tp\th\tneutral\tneutral\n1\tp\ti\tneutral\t-\n")
    write(tmp_path, "MNLI/train.tsv", NLI + "0\tq\tj\tentailment\tentailment\n")
    assert sentences.labelled_pairs(["snli", "mnli"], tmp_path, "train") == [
        Example(("p", "h"), "neutral"),
        Example(("q", "j"), "entailment"),
    ]
    write(tmp_path, "MNLI/train.tsv", NLI + "0\tq\tj\tmaybe\tmaybe\n")
    with pytest.raises(UserError, match=r"(?s)label is unknown.*line 2: 'maybe'.*contradiction or entailment"):
        sentences.labelled_pairs(["mnli"], tmp_path, "train")


def test_triples_take_every_entailed_sentence_of_a_premise_that_has_both(tmp_path):
    rows = [("p", "e1", "entailment"), ("q", "e2", "entailment"), ("p", "c1", "contradiction"), ("r", "c3", "contradiction")]
    rows += [("p", "e3", "entailment"), ("p", "n", "neutral"), ("p", "c2", "contradiction"), ("p", "e4", "entailment")]
    lines = [f"{i}\t{first}\t{second}\t{label}\t{label}\n" for i, (first, second, label) in enumerate(rows)]
    write(tmp_path, "SNLI/train.tsv", NLI + "".join(lines))
    assert sentences.triples(["snli"], tmp_path, "train") == [
        Example(("p", "e1", "c1"), None),
        Example(("p", "e3", "c2"), None),
        Example(("p", "e4", "c1"), None),
    ]


@pytest.mark.parametrize(
    ("read", "names", "message"),
    [
        (sentences.scored_pairs, ["snli"], "some of stsb"),
        (sentences.triples, ["stsb"], "some of snli, mnli, sick"),
        (sentences.labelled_pairs, [], "some of snli"),
        (sentences.triples, ["snli"], "(?s)data of the task is absent.*SNLI.train.tsv.*BERT_JAX_DATA"),
    ],
)
def test_sources_that_do_not_go_with_the_objective_are_refused(tmp_path, read, names, message):
    with pytest.raises(UserError, match=message):
        read(names, tmp_path, "train")


def test_a_perfect_order_of_cosines_scores_a_hundred(tmp_path):
    """Vectors at an angle that falls with the score; their lengths must not count."""
    scores = [0.0, 1.5, 2.0, 4.5, 5.0]
    folder = write(tmp_path, "STS-B/dev.tsv", STSB + "".join(f"0\tx\t{i}\t{i}'\t{score}\n" for i, score in enumerate(scores)))

    def embed(texts):
        angles = np.array([0 if text[-1] != "'" else 3 - scores[int(text[0])] / 5 for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1) * (1 + np.arange(len(texts)))[:, None]

    assert sentences.sts_spearman(embed, folder) == pytest.approx(100)
    assert sentences.sts_spearman(lambda texts: -embed(texts) if texts[0][-1] == "'" else embed(texts), folder) < -99


@needs_data
def test_the_real_files_have_the_official_sizes():
    assert len(sentences.scored_pairs(["stsb"], DATA, "train")) == 5749
    dev = sentences.scored_pairs(["stsb"], DATA, "dev")
    assert len(dev) == 1500 and dev[1] == Example(("A young child is riding a horse.", "A child is riding a horse."), 0.95)
    assert len(sentences.labelled_pairs(["sick"], DATA, "train")) == 4500
    triples = sentences.triples(["sick"], DATA, "train")
    assert len(triples) > 100 and all(len(set(example.texts)) == 3 for example in triples)
