import numpy as np
import pytest

from bert_jax import batch as contract
from bert_jax.data.finetune import evaluation_batches
from bert_jax.errors import UserError
from bert_jax.tasks import ranked
from bert_jax.tasks.ranked import METRICS, RANKING, Candidate
from tests.data.small import TWELVE

CANDIDATES = [
    Candidate(("a", "b"), 0.0, "q7"),
    Candidate(("c", "d"), 1.0, "q2"),
    Candidate(("a", "c"), 2.0, "q7"),
    Candidate(("c", "e"), 0.0, "q2"),
    Candidate(("a", "d"), 0.0, "q7"),
]


def answers_of(*odds: float) -> list[dict]:
    return RANKING.answers(CANDIDATES, (), None, [{"logits_BC": np.array([0.0, odd], np.float32)} for odd in odds])


def test_candidates_are_pairs_of_two_classes():
    rows = RANKING.encode(CANDIDATES, labels=(), tokenizer=TWELVE, max_seq_length=5)
    batch = next(batch for _, batch in evaluation_batches(rows, 5, 5))
    contract.check(batch)
    assert batch["label_ids"].tolist() == [0, 1, 1, 0, 0]  # any grade above 0 is relevant
    assert batch["segment_ids"][0].tolist() == [0, 0, 0, 1, 1]


def test_passages_are_ranked_among_those_of_their_query():
    said = answers_of(2.0, -1.0, 1.0, 0.0, 2.0)
    assert [answer["rank"] for answer in said] == [1, 2, 3, 1, 2]
    assert [answer["query_id"] for answer in said] == ["q7", "q2", "q7", "q2", "q7"]
    assert said[3]["score"] == 0.5


def test_metrics_by_hand():
    sides = RANKING.compared(CANDIDATES, answers_of(2.0, -1.0, 1.0, 0.0, 3.0), ())
    found = {name: metric(*sides) for name, metric in METRICS.items()}
    assert found == {
        "mrr@10": pytest.approx((1 / 3 + 1 / 2) / 2),
        "ndcg@10": pytest.approx((1 / np.log2(4) + 1 / np.log2(3)) / 2),
        "map": pytest.approx((1 / 3 + 1 / 2) / 2),
    }
    best = RANKING.compared(CANDIDATES, answers_of(0.0, 1.0, 5.0, 0.0, 3.0), ())
    assert {metric(*best) for metric in METRICS.values()} == {1.0}
    without = [candidate._replace(relevance=0.0) for candidate in CANDIDATES]
    assert METRICS["map"](*RANKING.compared(without, answers_of(*[0.0] * 5), ())) == 0.0


def test_chance_is_what_equal_scores_are_worth():
    found = RANKING.baseline([], CANDIDATES, ())
    assert found["chance_mrr@10"] == pytest.approx(((1 + 3) / 2) ** -1 / 2 + (1.5**-1) / 2)  # 1 / the mean place


def test_tables_by_hand(tmp_path):
    (tmp_path / "dev.tsv").write_text("passage\trelevance\tquery\tquery_id\nb c\t1\ta\tq1\nd\t0\ta\tq1\n")
    path = tmp_path / "dev.tsv"
    assert ranked.reader()(path) == [
        Candidate(("a", "b c"), 1.0, "q1", f"{path}, line 2"),
        Candidate(("a", "d"), 0.0, "q1", f"{path}, line 3"),
    ]
    assert [candidate.label for candidate in ranked.reader(labelled=False)(path)] == [None, None]
    (tmp_path / "dev.jsonl").write_text('{"query_id": 3, "query": "a", "passage": "b", "relevance": 2}\n')
    assert ranked.reader()(tmp_path / "dev.jsonl")[0][:3] == (("a", "b"), 2.0, "3")


@pytest.mark.parametrize("relevance", ["-1", "yes", "nan", "inf"])
def test_a_relevance_that_is_none_is_refused(tmp_path, relevance):
    path = tmp_path / "dev.tsv"
    path.write_text(f"query_id\tquery\tpassage\trelevance\n1\ta\tb\t{relevance}\n1\ta\tb\t1\n")
    with pytest.raises(UserError, match=f"relevance.*\n.*dev.tsv, line 2: '{relevance}'"):
        ranked.reader()(path)
    skipped = []
    assert len(ranked.reader()(path, skipped)) == 1 == len(skipped)
