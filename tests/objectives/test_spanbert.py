"""Span boundaries: by hand where spans lie, and the loss once more in torch from the released code's description."""

import jax
import numpy as np
import pytest

from bert_jax.batch import Context
from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.objectives.apply import encode
from bert_jax.objectives.spanbert import find_spans, spanbert
from tests.parity import case

CONFIG = EncoderConfig(num_hidden_layers=2, **case.SIZES | {"pooler": False, "initializer_range": 0.3})


def batch():
    """Spans 3-5 and 9; 2-3, 5-6 and 8, two of which would touch but for a gap; one piece at 1; none."""
    positions = [[3, 4, 5, 9, 0], [2, 3, 5, 6, 8], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    used = np.array([4, 5, 1, 0])[:, None] > np.arange(5)
    rows = {"masked_lm_positions": np.array(positions, np.int32), "masked_lm_weights": used.astype(np.float32)}
    return case.batch() | rows


def test_spans_by_hand():
    spans = find_spans(batch()["masked_lm_positions"], batch()["masked_lm_weights"])
    np.testing.assert_array_equal(spans.left_BP, [[2, 2, 2, 8, 0], [1, 1, 4, 4, 7], [0, 0, 0, 0, 0], [0] * 5])
    np.testing.assert_array_equal(spans.right_BP, [[6, 6, 6, 10, 0], [4, 4, 7, 7, 9], [2, 0, 0, 0, 0], [0] * 5])
    np.testing.assert_array_equal(spans.place_BP, [[0, 1, 2, 0, 0], [0, 1, 0, 1, 0], [0] * 5, [0] * 5])


@pytest.mark.parametrize("max_span_pieces", [2, 20])
def test_the_loss_equals_one_written_in_torch(max_span_pieces):
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    rows, objective = batch(), spanbert(CONFIG, max_span_pieces=max_span_pieces)
    params, data = jax.jit(objective.init)(jax.random.key(0)), case.as_jax(rows)
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), params)
    found = jax.jit(lambda: objective.means(objective.sums(params, data, Context()), objective.counts(data)))()

    out = encode(Encoder(CONFIG), params["encoder"], data, None)
    hidden, table = (torch.tensor(np.asarray(array)) for array in (out.hidden_BLD, out.word_table_VD))
    head = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf)), params["span_boundary"])
    losses = []
    spans = {0: [(3, 5), (9, 9)], 1: [(2, 3), (5, 6), (8, 8)], 2: [(1, 1)]}
    for row, of_row in spans.items():
        labels = {int(at): int(piece) for at, piece in zip(rows["masked_lm_positions"][row], rows["masked_lm_ids"][row]) if at}
        for start, end in of_row:
            for place in range(start, min(end, start + max_span_pieces - 1) + 1):
                x = torch.cat([hidden[row, start - 1], hidden[row, end + 1], head["place"]["embedding"][place - start]])
                for layer in ("first", "second"):
                    dense, norm = head[f"{layer}_dense"], head[f"{layer}_norm"]
                    x = torch.nn.functional.gelu(x @ dense["kernel"] + dense["bias"])
                    x = torch.nn.functional.layer_norm(x, x.shape, norm["scale"], norm["bias"], eps=CONFIG.layer_norm_eps)
                losses.append(-torch.log_softmax(table @ x + head["bias"], 0)[labels[place]].item())
    assert len(losses) == (9 if max_span_pieces == 2 else 10)
    assert float(found["span_boundary_loss"]) == pytest.approx(np.mean(losses), abs=1e-5)
    assert float(found["loss"]) == pytest.approx(float(found["masked_lm_loss"] + found["span_boundary_loss"]), abs=1e-6)


def test_slots_without_a_prediction_change_nothing():
    objective, rows = spanbert(CONFIG, max_span_pieces=5), batch()
    params = jax.jit(objective.init)(jax.random.key(0))
    changed = case.batch() | {name: rows[name].copy() for name in ("masked_lm_positions", "masked_lm_weights")}
    changed["masked_lm_positions"][3] = [4, 9, 2, 2, 1]
    sums = jax.jit(lambda data: objective.sums(params, data, Context()))
    before, after = (sums(case.as_jax(data)) for data in (rows, changed))
    for name, value in before.items():
        assert float(value) == pytest.approx(float(after[name]), rel=1e-6), name
