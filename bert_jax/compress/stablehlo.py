"""A trained model as StableHLO, for programs that have jax and not this code (jax.export): number and length of rows are open.

The folder holds model.stablehlo, the function (params, batch) -> outputs; params.npz, what it is given first; model.json, the
names, axes and dtypes of the arrays of a batch, and the names of the outputs.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import export

from bert_jax.batch import FIELDS
from bert_jax.errors import UserError
from bert_jax.models.encoder import EncoderConfig
from bert_jax.models.features import from_batch
from bert_jax.objectives.objective import Objective

FUNCTION, PARAMS, FACTS = "model.stablehlo", "params.npz", "model.json"
PLATFORMS = ("cpu", "cuda", "tpu")
READ = ("input_ids", "input_mask", "segment_ids", "masked_lm_positions", "word_ids")  # what an objective may need to predict
SHAPES = ((4, 24), (1, 5), (32, 9), (2, 512))  # rows and lengths on which both are compared, as far as rows may be so long
# Of a difference, where the values are at most 1 in size; of the largest value where it is more.
TOLERANCE, TOLERANCE_OF_BFLOAT16 = 1e-4, 3e-2
PLACES = 3
HOW = """import numpy as np
from jax import export

function = export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
params = dict(np.load("params.npz"))
# model.json has the names and axes of what is read: int32 arrays of any number of rows of any one length
outputs = function.call(params, {"input_ids": ids, "input_mask": mask, "segment_ids": segments})
"""
SYMBOLS = {"B": "rows", "L": "length", "P": "places", "T": "texts"}


def write(folder: Path, objective: Objective, params: dict, encoder: EncoderConfig, *, of_choices: bool = False) -> None:
    """
    Args:
        of_choices: a row of the batch holds several texts.

    Raises:
        UserError: the model cannot be written for open lengths.
    """
    specs = batch_specs(objective, params, encoder, of_choices)
    flat = {name: np.asarray(array) for name, array in flatten_dict(params, sep="/").items()}

    def predict(flat, batch):
        return objective.predict(unflatten_dict(flat, sep="/"), batch)

    shapes = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in flat.items()}
    kept = {name: flat[name] for name in _used(predict, shapes, specs)}
    made = export.export(jax.jit(predict), platforms=PLATFORMS)({name: shapes[name] for name in kept}, specs)
    (folder / FUNCTION).write_bytes(made.serialize())
    with open(folder / PARAMS, "wb") as file:
        np.savez(file, **kept)
    facts = {
        "platforms": PLATFORMS,
        "longest_row": encoder.longest_row,
        "inputs": {name: [[str(size) for size in spec.shape], str(spec.dtype)] for name, spec in specs.items()},
        "outputs": sorted(jax.eval_shape(predict, shapes, specs)),
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> Callable[[Mapping], Mapping]:
    """The function (batch) -> outputs of a folder, by what any program with jax would do."""
    function = export.deserialize(bytearray((folder / FUNCTION).read_bytes()))
    with np.load(folder / PARAMS, allow_pickle=False) as arrays:
        params = jax.device_put(dict(arrays))
    return lambda batch: function.call(params, batch)


def compare(folder: Path, objective: Objective, params: dict, encoder: EncoderConfig, pad_id: int, num_texts: int = 0) -> dict:
    """Output -> largest difference between what is read back and the objective, on random rows of SHAPES.

    Raises:
        UserError: one is larger than it may be.
    """
    function, facts = read(folder), json.loads((folder / FACTS).read_text(encoding="utf-8"))
    predict, found = jax.jit(objective.predict), {}
    tolerance = TOLERANCE_OF_BFLOAT16 if "bfloat16" in (encoder.dtype, encoder.matmul_dtype) else TOLERANCE
    for rows, length in SHAPES:
        batch = _random_batch(facts["inputs"], encoder, pad_id, rows, min(length, encoder.longest_row), num_texts)
        again = function(batch)
        for name, array in predict(params, batch).items():
            array, other = np.asarray(array, np.float32), np.asarray(again[name], np.float32)
            found[name] = max(found.get(name, 0.0), float(np.abs(array - other).max()))
            allowed = tolerance * max(1.0, float(np.abs(array).max()))
            if not found[name] <= allowed:
                raise UserError(
                    f"{name} is not what the objective gives", got=f"{found[name]:.3g} apart", expected=f"at most {allowed:.3g}"
                )
    return found


def _random_batch(inputs: Mapping, encoder: EncoderConfig, pad_id: int, rows: int, length: int, num_texts: int) -> dict:
    """Rows of different lengths, of two segments each."""
    draw, sizes = np.random.default_rng(0), {"rows": rows, "length": length, "places": PLACES, "texts": num_texts}
    shapes = {name: [sizes.get(axis) or int(axis) for axis in axes] for name, (axes, _) in inputs.items()}
    lengths = np.linspace(length, length // 2, rows).astype(int).reshape(-1, *[1] * (len(shapes["input_ids"]) - 1))
    real = np.broadcast_to(np.arange(length) < lengths, shapes["input_ids"])
    made = {
        "input_ids": np.where(real, draw.integers(0, encoder.vocab_size, real.shape), pad_id),
        "input_mask": real,
        "segment_ids": real & (np.arange(length) >= lengths // 2),
        "word_ids": np.where(real, np.arange(length), 0),
    }
    made = {name: made.get(name, np.zeros(shape)) for name, shape in shapes.items()}  # places and features: the first of each
    return {name: array.astype(inputs[name][1]) for name, array in made.items()}


def batch_specs(objective: Objective, params: dict, encoder: EncoderConfig, of_choices: bool) -> dict[str, jax.ShapeDtypeStruct]:
    """Names, open shapes and dtypes of the arrays that objective.predict reads.

    Raises:
        UserError: it needs to know the length.
    """
    if encoder.num_lstm_layers:
        raise UserError(
            "an LSTM is a program for one length of rows",
            got=f"{encoder.num_lstm_layers} layers",
            expected="an encoder without a BiLSTM",
        )
    letters = ["B", "L", "P"] + ["T"] * of_choices
    constraints = [f"{SYMBOLS['L']} <= {encoder.longest_row}"]
    sizes = dict(zip(letters, export.symbolic_shape(", ".join(SYMBOLS[letter] for letter in letters), constraints=constraints)))
    offered = {name: ("BTL" if of_choices and "BTL" in FIELDS[name].shape else FIELDS[name].shape[:2], ()) for name in READ}
    offered |= {f"feature_{each.name}": ("BL", (each.size,) * (each.kind == "vector")) for each in from_batch(encoder.features)}
    dtypes = {name: jnp.dtype("float32" if width else "int32") for name, (_, width) in offered.items()}
    specs = {
        name: jax.ShapeDtypeStruct((*(sizes[letter] for letter in axes), *width), dtypes[name])
        for name, (axes, width) in offered.items()
    }
    noted: set[str] = set()

    class Noting(dict):
        def __getitem__(self, name):
            noted.add(name)
            return super().__getitem__(name)

    jax.eval_shape(lambda params, batch: objective.predict(params, Noting(batch)), params, specs)
    return {name: spec for name, spec in specs.items() if name in noted}


def _used(predict: Callable, shapes: dict, specs: dict) -> list[str]:
    """Names of the parameters that are read: some parts are of use in training alone."""
    jaxpr = jax.make_jaxpr(predict)(shapes, specs).jaxpr
    read = {id(var) for equation in jaxpr.eqns for var in equation.invars} | {id(var) for var in jaxpr.outvars}
    return [name for name, var in zip(sorted(shapes), jaxpr.invars) if id(var) in read]
