"""Each loss of distillation against torch, on what transformers' models make of a batch, by the formula of its paper."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from bert_jax.batch import Context
from bert_jax.errors import UserError
from bert_jax.interop.names import from_huggingface
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.classify import classify
from bert_jax.objectives.distill import LOSSES, distill, distill_classes, looked_at, start
from tests.parity import case, theirs

TEMPERATURE, HEADS = 2.0, 4
SPREAD = {"initializer_range": 0.2, "pooler": False}  # wide, so that the losses are not near zero
TEACHER = EncoderConfig(num_hidden_layers=4, **case.SIZES | SPREAD)
STUDENT = EncoderConfig(num_hidden_layers=2, **case.SIZES | SPREAD)
NARROW = EncoderConfig(num_hidden_layers=2, **case.SIZES | SPREAD | {"hidden_size": 16})
ALL = dict(zip(LOSSES, (2.0, 5.0, 1.0, 0.5, 0.7, 0.3, 1.5, 1.1, 0.9)))
WITHOUT_COSINE = ALL | {"cosine": 0.0}  # which needs one width


def only(name: str) -> dict:
    return dict.fromkeys(LOSSES, 0.0) | {name: 1.0}


def make(config: EncoderConfig, weights: dict, **settings):
    return distill(
        config, **{"teacher": TEACHER, "teacher_layers": (), "temperature": TEMPERATURE, "weights": weights} | settings
    )


def peer(config: EncoderConfig, seed: int):
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")
    torch.manual_seed(seed)
    sizes = {name: getattr(config, name) for name in (*case.SIZES, "num_hidden_layers", "initializer_range")}
    return transformers.BertForMaskedLM(transformers.BertConfig(attn_implementation="eager", **sizes)).eval()


class Made:
    """What a model of theirs makes of the batch; scores and values anew from its hidden states."""

    def __init__(self, model, rows: dict):
        import torch

        inputs = {"input_ids": rows["input_ids"], "attention_mask": rows["input_mask"], "token_type_ids": rows["segment_ids"]}
        inputs = {name: torch.from_numpy(array.astype(np.int64)) for name, array in inputs.items()}
        out = model(**inputs, output_hidden_states=True, output_attentions=True)
        row, slot = np.nonzero(rows["masked_lm_weights"])
        self.logits = out.logits[row, rows["masked_lm_positions"][row, slot]]
        self.hidden, self.attentions = out.hidden_states, out.attentions
        self.attention_of = [layer.attention.self for layer in model.bert.encoder.layer]
        self.depth, self.head_width = len(self.attention_of), model.config.hidden_size // HEADS

    def heads(self, layer: int, which: str):
        """[B, H, L, K] of "query", "key" or "value"."""
        x = getattr(self.attention_of[layer], which)(self.hidden[layer])
        return x.unflatten(-1, (HEADS, self.head_width)).transpose(1, 2)

    def products(self, layer: int, one: str, other: str):
        return self.heads(layer, one) @ self.heads(layer, other).transpose(2, 3) / self.head_width**0.5


def by_formula(student: Made, teacher: Made, rows: dict, project: dict) -> dict:
    """The losses in torch, each row cut to its real tokens."""
    import torch
    from torch.nn import functional

    row, slot = np.nonzero(rows["masked_lm_weights"])
    labels = torch.from_numpy(rows["masked_lm_ids"][row, slot].astype(np.int64))
    real = torch.from_numpy(rows["input_mask"] > 0)
    lengths = rows["input_mask"].sum(axis=1)
    every = teacher.depth // student.depth

    def in_width(name, x):
        return x @ project[name]["kernel"] + project[name]["bias"] if name in project else x

    def of_rows(x_BHLL):
        """[H, l, l] of each row, l being its real tokens."""
        return [x_HLL[:, :n, :n] for x_HLL, n in zip(x_BHLL, lengths)]

    def divergence(ours, theirs):
        """Mean over heads and real tokens."""
        total = sum(functional.kl_div(one.log(), other, reduction="sum") for one, other in zip(ours, theirs))
        return total / (HEADS * lengths.sum())

    def relations(made):
        return [x_HLL.softmax(-1) for x_HLL in of_rows(made.products(made.depth - 1, "value", "value"))]

    squares = 0.0
    for layer in range(student.depth):
        ours, theirs = student.products(layer, "query", "key"), teacher.products(layer * every + every - 1, "query", "key")
        squares += sum((x_HLL**2).sum() for x_HLL in of_rows(ours - theirs))
    cosines = functional.cosine_similarity(student.hidden[-1][real], teacher.hidden[-1][real], dim=-1) if not project else None
    soft_ours, soft_theirs = (x.logits / TEMPERATURE for x in (student, teacher))
    return {
        "masked_lm": functional.cross_entropy(student.logits, labels),
        "soft_target": TEMPERATURE**2
        * functional.kl_div(soft_ours.log_softmax(-1), soft_theirs.softmax(-1), reduction="batchmean"),
        "cosine": (1 - cosines).mean() if cosines is not None else torch.zeros(()),
        "embedding": functional.mse_loss(in_width("embedding", student.hidden[0])[real], teacher.hidden[0][real]),
        "hidden": sum(
            functional.mse_loss(in_width("hidden", student.hidden[m])[real], teacher.hidden[m * every][real])
            for m in range(1, student.depth + 1)
        ),
        "attention": squares / (HEADS * (lengths**2).sum()),
        "prediction": functional.cross_entropy(student.logits, teacher.logits.softmax(-1)),
        "last_attention": divergence(of_rows(student.attentions[-1]), of_rows(teacher.attentions[-1])),
        "value_relation": divergence(relations(student), relations(teacher)),
    }


@pytest.mark.parametrize(("config", "weights"), [(STUDENT, ALL), (NARROW, WITHOUT_COSINE)], ids=["one width", "two widths"])
def test_losses_and_gradients_equal_those_written_in_torch(config, weights):
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    rows, data, objective = case.batch(), case.as_jax(case.batch()), make(config, weights)
    student, teacher = peer(config, 0), peer(TEACHER, 1)
    like, like_teacher = (jax.eval_shape(make(encoder, weights).init, jax.random.key(0)) for encoder in (config, TEACHER))
    parts = ("encoder", "masked_lm")
    frozen = from_huggingface(theirs.tensors(teacher), {part: like_teacher[part] for part in parts})
    params = from_huggingface(theirs.tensors(student), {part: like[part] for part in parts})
    draw = np.random.default_rng(0).normal
    params |= {"projections": jax.tree.map(lambda leaf: draw(0, 0.3, leaf.shape).astype(np.float32), like.get("projections", {}))}

    def loss(params):
        sums, counts = objective.sums(params, data, Context(frozen=frozen)), objective.counts(data)
        return objective.loss(sums, counts), objective.means(sums, counts)

    gradients, means = jax.jit(jax.grad(loss, has_aux=True))(params)
    project = jax.tree.map(lambda leaf: torch.tensor(leaf, requires_grad=True), params["projections"])
    with torch.no_grad():
        taught = Made(teacher, rows)
    expected = by_formula(Made(student, rows), taught, rows, project)
    for name, value in expected.items():
        if weights[name]:
            assert float(means[f"{name}_loss"]) == pytest.approx(value.item(), rel=1e-5, abs=1e-6) and value.item() > 0.01, name

    sum(weights[name] * value for name, value in expected.items()).backward()
    of_student = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in student.named_parameters()}
    reference = from_huggingface(of_student, {part: like[part] for part in parts})
    reference["projections"] = jax.tree.map(lambda leaf: leaf.grad.numpy(), project)
    whole = np.sqrt(sum(np.vdot(leaf, leaf) for leaf in jax.tree.leaves(reference)))
    leaves = zip(jax.tree_util.tree_leaves_with_path(gradients), jax.tree.leaves(reference), strict=True)
    for (path, mine), wanted in leaves:
        assert np.linalg.norm(mine - wanted) <= 1e-5 * max(np.linalg.norm(wanted), 0.1 * whole), path


def drawn(config: EncoderConfig, weights: dict, seed: int) -> dict:
    return jax.jit(make(config, weights).init)(jax.random.key(seed))


def test_packed_rows_have_the_losses_of_single_ones():
    """Two examples one behind the other, with an empty row, against the same two in rows of their own."""
    rng, (one, other), length = np.random.default_rng(0), (7, 9), 20
    ids = rng.integers(5, case.SIZES["vocab_size"], one + other, dtype=np.int32)

    def row(*spans):
        """Arrays of one row from (begin in ids, length of an example), with a masked piece at place 2 of each."""
        fields = ("input_ids", "input_mask", "segment_ids", "sequence_ids", "position_ids")
        arrays, at, masked = {name: np.zeros(length, np.int32) for name in fields}, 0, []
        for number, (begin, size) in enumerate(spans):
            where = slice(at, at + size)
            arrays["input_ids"][where], arrays["input_mask"][where] = ids[begin : begin + size], 1
            arrays["sequence_ids"][where], arrays["position_ids"][where] = number + 1, np.arange(size)
            masked.append((at + 2, ids[begin]))
            at += size
        slots = np.array(masked + [(0, 0)] * (2 - len(spans)), np.int32)
        used = (np.arange(2) < len(spans)).astype(np.float32)
        return arrays | {"masked_lm_positions": slots[:, 0], "masked_lm_ids": slots[:, 1], "masked_lm_weights": used}

    packed, single = [row((0, one), (one, other)), row()], [row((0, one)), row((one, other))]
    objective, params = make(NARROW, WITHOUT_COSINE), drawn(NARROW, WITHOUT_COSINE, 0)
    frozen = looked_at(drawn(TEACHER, WITHOUT_COSINE, 1), WITHOUT_COSINE)
    compute = jax.jit(lambda batch: objective.sums(params, batch, Context(frozen=frozen)) | objective.counts(batch))
    found = []
    for rows in (packed, single):
        batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        found.append({name: float(value) for name, value in compute(batch).items()})
    assert found[0]["pairs"] == one**2 + other**2
    assert found[0] == pytest.approx(found[1], rel=1e-5)


ON_CLASSES = dict.fromkeys({"label": 0, **LOSSES}.keys() - {"masked_lm"}, 0.0)
ON_CLASSES |= {"label": 0.7, "soft_target": 1.3, "prediction": 1.5, "embedding": 0.5, "attention": 0.3}


def test_on_a_task_the_losses_of_classes_are_those_of_the_formula():
    """In numpy, of the logits that each of the two gives; the last row only fills the batch."""
    student, teacher = (replace(config, pooler=True, num_hidden_layers=1) for config in (NARROW, TEACHER))
    objective = distill_classes(student, 3, teacher=teacher, temperature=TEMPERATURE, weights=ON_CLASSES)
    theirs = classify(teacher, 3)
    rows = {name: array for name, array in case.batch().items() if name in ("input_ids", "input_mask", "segment_ids")}
    rows["label_ids"], rows["label_weights"] = np.array([0, 1, 2, 0], np.int32), np.array([1, 1, 1, 0], np.float32)
    rows["input_mask"][-1] = 0

    @jax.jit
    def compute(rng):
        params, frozen = objective.init(rng), theirs.init(jax.random.fold_in(rng, 1))

        def loss(params):
            sums, counts = objective.sums(params, rows, Context(frozen=frozen)), objective.counts(rows)
            return objective.loss(sums, counts), objective.means(sums, counts)

        logits = objective.predict(params, rows)["logits_BC"], theirs.predict(frozen, rows)["logits_BC"]
        return *logits, *jax.grad(loss, has_aux=True)(params)

    ours_BC, theirs_BC, gradients, found = jax.tree.map(np.asarray, compute(jax.random.key(0)))

    def log_softmax(z_BC):
        z_BC = z_BC.astype(np.float64)
        return z_BC - np.log(np.exp(z_BC).sum(-1, keepdims=True))

    def mean(losses_B):
        return np.sum(losses_B * rows["label_weights"]) / 3

    soft_BC = np.exp(log_softmax(theirs_BC / TEMPERATURE))
    expected = {
        "prediction": mean(-(np.exp(log_softmax(theirs_BC)) * log_softmax(ours_BC)).sum(-1)),
        "soft_target": TEMPERATURE**2 * mean((soft_BC * (np.log(soft_BC) - log_softmax(ours_BC / TEMPERATURE))).sum(-1)),
        "label": mean(-log_softmax(ours_BC)[np.arange(4), rows["label_ids"]]),
    }
    assert {name: found[f"{name}_loss"] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert found["label_accuracy"] == pytest.approx(mean(ours_BC.argmax(-1) == rows["label_ids"]))
    whole = sum(weight * found[f"{name}_loss"] for name, weight in ON_CLASSES.items() if weight)
    assert found["loss"] == pytest.approx(whole, rel=1e-5)
    assert gradients.keys() == {"encoder", "classifier", "projections"}
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves((gradients["classifier"], gradients["projections"])))


def test_the_counts_come_in_one_order_in_every_process():
    assert list(make(STUDENT, ALL).counts(case.batch())) == ["masked_lm", "pairs", "tokens"]


def test_a_loss_alone_has_only_the_params_that_it_needs():
    parts = {name: set(jax.eval_shape(make(NARROW, only(name)).init, jax.random.key(0))) for name in LOSSES if name != "cosine"}
    with_head, projecting = {"encoder", "masked_lm"}, {"encoder", "projections"}
    assert parts == {
        **dict.fromkeys(("masked_lm", "soft_target", "prediction"), with_head),
        **dict.fromkeys(("embedding", "hidden"), projecting),
        **dict.fromkeys(("attention", "last_attention", "value_relation"), {"encoder"}),
    }
    assert make(NARROW, only("attention")).predict({}, {}) == {}
    trained = {"encoder": 1, "masked_lm": 2, "next_sentence": 3}
    assert looked_at(trained, only("prediction")) == {"encoder": 1, "masked_lm": 2}
    assert looked_at(trained, only("cosine")) == {"encoder": 1}


def test_the_student_starts_as_layers_of_its_teacher():
    config = EncoderConfig(num_hidden_layers=2, **case.SIZES | SPREAD | {"type_vocab_size": 0})
    teacher, like = drawn(TEACHER, ALL, 1), jax.eval_shape(make(config, ALL).init, jax.random.key(0))
    taken = start(like, teacher, (0, 3))
    assert set(taken) == {"encoder", "masked_lm"} and set(taken["encoder"]["embeddings"]) == {"word", "position", "norm"}
    picked = jax.tree.map(lambda leaf: leaf[np.array([0, 3])], teacher["encoder"]["layers"])
    jax.tree.map(np.testing.assert_array_equal, taken["encoder"]["layers"], picked)
    jax.tree.map(np.testing.assert_array_equal, taken["masked_lm"], teacher["masked_lm"])
    assert start(like, teacher, ()) == {}


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (STUDENT, {"weights": only("hidden") | {"hidden": -1.0}}, "do not say how the losses are weighted"),
        (STUDENT, {"weights": dict.fromkeys(LOSSES, 0.0)}, "none below 0, one above"),
        (STUDENT, {"weights": {"cosines": 1.0}}, "a number for each of masked_lm, soft_target"),
        (STUDENT, {"temperature": 0.0}, "objective.temperature is out of range"),
        (STUDENT, {"teacher_layers": (0, 4)}, "2 numbers from 0 to 3, or none"),
        (STUDENT, {"teacher_layers": (0, 1, 2)}, "2 numbers from 0 to 3, or none"),
        (NARROW, {}, "the loss cosine needs the same model.hidden_size in both"),
        (EncoderConfig(num_hidden_layers=3, **case.SIZES), {}, "the loss hidden needs layers that divide"),
        (EncoderConfig(num_hidden_layers=2, **case.SIZES | {"num_attention_heads": 8}), {}, "model.num_attention_heads in both"),
        (EncoderConfig(num_hidden_layers=2, num_hidden_groups=1, **case.SIZES), {"teacher_layers": (0, 3)}, "share weights"),
        (EncoderConfig(num_hidden_layers=2, left_to_right=True, **case.SIZES), {}, "encoders that see the whole row"),
        (EncoderConfig(num_hidden_layers=0, **case.SIZES), {}, "got:      0 of the student, 4 of the teacher"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(config, settings, message):
    with pytest.raises(UserError) as error:
        make(config, **{"weights": ALL} | settings)
    assert message in str(error.value)


def test_a_student_of_another_size_cannot_start_as_its_teacher():
    like = jax.eval_shape(make(NARROW, WITHOUT_COSINE).init, jax.random.key(0))
    teacher = jax.eval_shape(make(TEACHER, ALL).init, jax.random.key(0))
    with pytest.raises(UserError, match="encoder/embeddings/norm/bias"):
        start(like, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), teacher), (0, 3))


def test_a_teacher_without_the_head_that_is_asked_for_is_refused():
    with pytest.raises(UserError, match="the teacher has no masked_lm"):
        looked_at({"encoder": {}, "replaced": {}}, ALL)
