"""Features of tokens, summed into the embeddings: by numpy, and as LayoutLM has them in transformers."""

import json

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from bert_jax import config as configs
from bert_jax.build import encoder_config
from bert_jax.errors import UserError
from bert_jax.interop import names
from bert_jax.models.encoder import Embeddings, Encoder, EncoderConfig
from bert_jax.models.features import LAYOUT, Feature, OfPiece, layout

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
SIZES |= {"max_position_embeddings": 8, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
FEATURES = (Feature("left", "ids", 7, "edge"), Feature("right", "ids", 7, "edge"), Feature("profile", "vector", 3))
IDS = np.arange(12, dtype=np.int32).reshape(2, 6)


def test_the_sum_is_that_of_all_tables_and_products():
    config = EncoderConfig(20, features=FEATURES, **SIZES | {"layer_norm_eps": 1e-5})
    rng = np.random.default_rng(0)
    given = {name: rng.integers(0, 7, IDS.shape).astype(np.int32) for name in ("left", "right")}
    given["profile"] = rng.standard_normal((*IDS.shape, 3)).astype(np.float32)
    module, segments = Embeddings(config), IDS % 2
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), IDS, segments, None, given, train=False))["params"]
    params = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), shapes)
    found, _ = jax.jit(lambda params: module.apply({"params": params}, IDS, segments, None, given, train=False))(params)

    own = params["features"]
    assert {name: set(part) for name, part in own.items()} == {"edge": {"embedding"}, "profile": {"kernel"}}
    edge, kernel = own["edge"]["embedding"].astype(np.float64), own["profile"]["kernel"].astype(np.float64)
    total = params["word"]["embedding"][IDS] + params["position"]["embedding"][:6] + params["segment"]["embedding"][segments]
    total = total + edge[given["left"]] + edge[given["right"]] + given["profile"] @ kernel
    centred = total - total.mean(-1, keepdims=True)
    expected = centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-5) * params["norm"]["scale"] + params["norm"]["bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


#           [CLS] 7 [MASK] 9 8 [PAD], where 9 is a random piece in the place of another
SHOWN = np.array([[2, 7, 4, 9, 8, 0]], np.int32)
NUMBERS = np.array([0, 0, 0, 0, 0, 0, 0, 3, 1, 5], np.float32)


def test_of_a_mask_nothing_is_known_and_of_a_random_piece_what_belongs_to_it():
    known = OfPiece(Feature("pinyin", "ids", 6, file="f"), 10).apply({"params": {"given": NUMBERS}}, SHOWN)
    assert known.tolist() == [[0, 3, 0, 5, 1, 0]] and known.dtype == np.int32
    vectors = np.stack([NUMBERS, -NUMBERS], axis=1)
    known = OfPiece(Feature("glyph", "vector", 2, file="f"), 10).apply({"params": {"given": vectors}}, SHOWN)
    assert known[0, :, 1].tolist() == [0, -3, 0, -5, -1, 0] and known.dtype == np.float32


def test_what_follows_from_the_piece_is_summed_like_what_is_given():
    """One encoder looks up what the other is handed; both have the same table and product."""
    sizes = {**SIZES, "num_hidden_layers": 1}
    looks_up = (Feature("pinyin", "ids", 6, file="f"), Feature("glyph", "vector", 2, file="f"), Feature("left", "ids", 7))
    handed = (Feature("pinyin", "ids", 6), Feature("glyph", "vector", 2), Feature("left", "ids", 7))
    vectors, left = np.stack([NUMBERS, -NUMBERS], axis=1), SHOWN % 7
    own, other = (Encoder(EncoderConfig(10, features=features, **sizes)) for features in (looks_up, handed))
    params = own.init(jax.random.key(0), SHOWN, SHOWN, SHOWN, features={"left": left}, train=False)["params"]
    features = params["embeddings"]["features"]
    features |= {"pinyin_of_piece": {"given": NUMBERS}, "glyph_of_piece": {"given": vectors}}
    ones = np.ones_like(SHOWN)
    found = own.apply({"params": params}, SHOWN, 0 * ones, ones, features={"left": left}, train=False).hidden_BLD
    del features["pinyin_of_piece"], features["glyph_of_piece"]
    given = {"pinyin": NUMBERS.astype(np.int32)[SHOWN], "glyph": vectors[SHOWN], "left": left}
    expected = other.apply({"params": params}, SHOWN, 0 * ones, ones, features=given, train=False).hidden_BLD
    np.testing.assert_array_equal(found, expected)


def test_an_encoder_with_boxes_is_layoutlm():
    torch = pytest.importorskip("torch", reason="the peer is LayoutLMModel in torch")
    transformers = pytest.importorskip("transformers", reason="the peer is LayoutLMModel of transformers")
    torch.manual_seed(0)
    peer = transformers.LayoutLMModel(
        transformers.LayoutLMConfig(vocab_size=20, max_2d_position_embeddings=1024, initializer_range=0.5, **SIZES)
    ).eval()
    rng = np.random.default_rng(0)
    corners = np.sort(rng.integers(0, 1001, (*IDS.shape, 2, 2)), axis=-2)  # [..., first or last, x or y]
    boxes = corners.reshape(*IDS.shape, 4)
    segments, mask = IDS % 2, np.ones_like(IDS)
    mask[1, 4:] = 0
    inputs = {"input_ids": IDS, "bbox": boxes, "attention_mask": mask, "token_type_ids": segments}
    with torch.no_grad():
        theirs = peer(**{name: torch.tensor(array, dtype=torch.long) for name, array in inputs.items()})

    encoder = Encoder(EncoderConfig(20, features=LAYOUT, **SIZES))
    features = layout(boxes)
    run = lambda params: encoder.apply(params, IDS, segments, mask, features=features, train=False)  # noqa: E731
    like = jax.eval_shape(lambda: encoder.init(jax.random.key(0), IDS, segments, mask, features=features, train=False))
    table = {ours: name.removeprefix("bert.") for ours, name in names.BERT.items() if name.startswith("bert.")}
    for name, tensor in {"x": "x", "y": "y", "height": "h", "width": "w"}.items():
        table[f"encoder/embeddings/features/{name}/embedding"] = f"embeddings.{tensor}_position_embeddings.weight"
    tensors = {name: tensor.detach().numpy() for name, tensor in peer.named_parameters()}
    params = names.from_huggingface(tensors, {"encoder": like["params"]}, table)
    found = jax.jit(run)({"params": params["encoder"]})
    real = mask[..., None] > 0
    np.testing.assert_allclose(np.where(real, found.hidden_BLD, 0), np.where(real, theirs[0].numpy(), 0), atol=1e-5)
    np.testing.assert_allclose(found.pooled_BD, theirs[1].numpy(), atol=1e-5)


@pytest.mark.parametrize("box", [[0, 0, 1001, 5], [-1, 0, 3, 5], [9, 0, 3, 5], [0, 9, 3, 5]])
def test_a_box_off_its_page_is_named_with_its_token(box):
    boxes = np.zeros((2, 3, 4), np.int32)
    boxes[1, 2] = box
    with pytest.raises(UserError, match=r"(?s)not lie on its page.*of token \(1, 2\)"):
        layout(boxes)


def section(**changes) -> dict:
    return {"features": {"word_place": {"kind": "ids", "size": 5, "table": "", "hidden": False} | changes}}


def test_features_of_a_config_are_the_same_after_json_and_can_be_hashed():
    options = {**SIZES, "dtype": "float32", **section(hidden=True)}
    config = ConfigDict(options)
    again = ConfigDict(json.loads(json.dumps(config.to_dict())))
    made = [encoder_config(dict(each), 20) for each in (config, again, configs.Recorder(config))]
    assert made[0].features == (Feature("word_place", "ids", 5, hidden=True),)
    assert len({*made}) == 1 and hash(made[0]) == hash(made[1])
    assert encoder_config({**SIZES, "dtype": "float32"}, 20).features == ()


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ((Feature("a", "id", 5),), r"(?s)model\.features\.a\.kind is unknown.*ids or vector"),
        ((Feature("a", "ids", 0),), r"model\.features\.a\.size is out of range"),
        ((Feature("a", "ids", 5, "t"), Feature("b", "ids", 6, "t")), r"model\.features\.b is unlike others of its table"),
        ((Feature("a", "ids", 5, hidden=True, file="f"),), r"(?s)model\.features\.a\.hidden is not for what follows.*file=f"),
    ],
)
def test_features_that_cannot_be_are_refused(features, message):
    with pytest.raises(UserError, match=message):
        EncoderConfig(20, features=features, **SIZES)


@pytest.mark.parametrize(("features", "given"), [(FEATURES, {}), ((), {"left": IDS})])
def test_missing_and_unread_features_are_refused(features, given):
    encoder = Encoder(EncoderConfig(20, features=features, **SIZES))
    with pytest.raises(UserError, match="does not hold the features of the encoder"):
        jax.eval_shape(lambda: encoder.init(jax.random.key(0), IDS, IDS, IDS, features=given, train=False))
