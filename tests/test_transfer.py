import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.parallel.step import init_state
from bert_jax.transfer import transfer

ONE, TWO = np.ones(3), np.full(3, 2.0)
GIVEN = {"encoder": {"embeddings": {"word": ONE, "norm": {"bias": ONE}}, "layers": {"kernel": ONE}}, "masked_lm": {"bias": ONE}}
WANTED = {
    "encoder": {"embeddings": {"word": TWO, "segment": TWO, "norm": {"bias": TWO}}, "layers": {"kernel": TWO}, "pooler": TWO},
    "mlp": {"dense": {"kernel": TWO, "bias": TWO}},
}


def test_every_tensor_is_loaded_new_or_left_over_and_named_by_the_shortest_path():
    found = transfer(GIVEN, WANTED, source="P")
    assert found.loaded == ["encoder/embeddings/norm", "encoder/embeddings/word", "encoder/layers"]
    assert found.new == ["encoder/embeddings/segment", "encoder/pooler", "mlp"]
    assert found.left_over == ["masked_lm"]
    assert found.describe().endswith("left over: masked_lm")
    assert (
        transfer(GIVEN, GIVEN, source="P").describe()
        == "loaded: encoder, masked_lm; drawn from the seed: nothing; left over: nothing"
    )


def test_only_what_was_loaded_takes_the_place_of_what_was_drawn():
    class objective:
        terms = {}

        @staticmethod
        def init(rng):
            return WANTED

    class optimizer:
        @staticmethod
        def init(params):
            return ()

    params = init_state(objective, optimizer, 0, transfer(GIVEN, WANTED, source="P").params).params
    embeddings = params["encoder"]["embeddings"]
    assert [float(embeddings[name][0]) for name in ("word", "segment")] == [1, 2]
    assert float(embeddings["norm"]["bias"][0]) == float(params["encoder"]["layers"]["kernel"][0]) == 1
    assert float(params["encoder"]["pooler"][0]) == float(params["mlp"]["dense"]["kernel"][0]) == 2


def test_a_tensor_of_another_shape_is_named():
    other = {"encoder": {"layers": {"kernel": np.ones((4, 3))}}}
    with pytest.raises(UserError, match=r"(?s)encoder/layers/kernel of P has another shape.*\[4, 3\].*\[3\]"):
        transfer(other, WANTED, source="P")


def test_a_model_with_nothing_in_common_is_refused():
    with pytest.raises(UserError, match=r"(?s)no parameter of this model.*generator"):
        transfer({"generator": {"kernel": ONE}}, WANTED, source="P")
