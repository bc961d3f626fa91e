"""A directory of Hugging Face to ONNX, by the exporter of torch, and what ONNX Runtime computes from it beside ours.

Needs torch, transformers, onnx, onnxscript and onnxruntime: pip install -e '.[onnx]'.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from bert_jax.errors import UserError
from bert_jax.interop import safetensors
from bert_jax.interop.certificate import LOGITS, TOLERANCE, head_outputs, padded_batch
from bert_jax.interop.huggingface import WEIGHTS
from bert_jax.models.encoder import Encoder, EncoderConfig

FILE = "model.onnx"
HIDDEN = "hidden"  # the vectors of the pieces
INPUTS = {"input_ids": "input_ids", "input_mask": "attention_mask", "segment_ids": "token_type_ids"}  # ours -> theirs
LARGEST_IN_ONE_FILE = 1.5e9  # bytes of weights: a file of ONNX ends at 2 GB
HOW = """import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
# int64 arrays of any number of rows of any one length
outputs = session.run(None, {name.name: array for name, array in zip(session.get_inputs(), (ids, mask, segments))})
"""
SHAPES = ((4, 24), (1, 5), (32, 9), (2, 512))  # rows and lengths on which both are compared, as far as rows may be so long


def write(folder: Path, source: Path, kind: str, encoder: EncoderConfig, params: dict, pad_id: int) -> None:
    """Writes FILE from a directory of Hugging Face, with rows and their length left open.

    Args:
        kind: the class of transformers.
        params: of ours, whose heads are the outputs; without any, the vectors of the pieces, and the pooled one if there is one.
    """
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    options = {"add_pooling_layer": encoder.pooler} if kind.endswith("Model") and encoder.type_vocab_size else {}
    loaded = _loaded(source, getattr(transformers, kind), encoder, options)
    batch = padded_batch(encoder, pad_id)
    names = _inputs(encoder)
    example = tuple(torch.from_numpy(batch[ours].astype(np.int64)) for ours in names)
    outputs = _outputs(loaded, example, names, outputs_of(encoder, params, batch))

    class Tuple(torch.nn.Module):
        """Tensors in order in, tensors in order out."""

        def __init__(self):
            super().__init__()
            self.model = loaded.eval()

        def forward(self, *arrays):
            found = self.model(**dict(zip(names.values(), arrays)))
            return tuple(found[name] for name in outputs.values())

    open_axes = {0: torch.export.Dim("rows"), 1: torch.export.Dim("length", max=encoder.longest_row)}
    with _quiet():
        torch.onnx.export(
            Tuple(),
            example,
            folder / FILE,
            dynamo=True,
            verbose=False,
            input_names=list(names.values()),
            output_names=list(outputs),
            dynamic_shapes=(tuple(open_axes for _ in example),),
            external_data=sum(tensor.numel() * 4 for tensor in loaded.parameters()) > LARGEST_IN_ONE_FILE,
        )


def with_whole_heads(encoder: EncoderConfig) -> EncoderConfig:
    """The sizes under which a class of transformers can be made, for `write` to cut to those of the encoder."""
    if encoder.attention_width == encoder.hidden_size:
        return encoder
    if encoder.block != "post_norm":
        raise UserError(
            "ONNX has no way for rotary heads that were cut", got=f"model.block={encoder.block}", fix="--format=stablehlo"
        )
    return replace(encoder, num_attention_heads=1, head_size=0)


def _loaded(source: Path, kind: type, encoder: EncoderConfig, options: dict):
    """The model in the directory. Where heads were cut, products get the sizes of their tensors, and attention that of its heads,
    by the names that all classes have for it."""
    import torch
    from transformers import AutoConfig

    if encoder.attention_width == encoder.hidden_size:
        return kind.from_pretrained(
            source, dtype=torch.float32, attn_implementation="eager", local_files_only=True, use_safetensors=True, **options
        )
    tensors = {name: torch.from_numpy(array) for name, array in safetensors.read(source / WEIGHTS).items()}
    model = kind(AutoConfig.from_pretrained(source, attn_implementation="eager", local_files_only=True), **options)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and (weight := tensors.get(f"{name}.weight")) is not None:
            module.out_features, module.in_features = weight.shape
            module.weight = torch.nn.Parameter(torch.empty_like(weight))
            module.bias = torch.nn.Parameter(torch.empty(len(weight))) if f"{name}.bias" in tensors else None
        if hasattr(module, "attention_head_size"):
            module.attention_head_size, module.all_head_size = encoder.head_width, encoder.attention_width
            module.num_attention_heads = module.n_heads = encoder.num_attention_heads
            module.scaling = encoder.head_width**-0.5
    model.load_state_dict(tensors, strict=False)  # what is tied, or only repeats a formula, is not stored
    return model


def to_int8(folder: Path) -> None:
    """Makes FILE one whose tables and products are of 8 bits, by ONNX Runtime: each output of a layer has a scale of its own for
    its weights, and what a layer is given is scaled by its largest value when it is run."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(folder / FILE, folder / f"int8-{FILE}", per_channel=True, weight_type=QuantType.QInt8)
    (folder / f"int8-{FILE}").replace(folder / FILE)
    (folder / f"{FILE}.data").unlink(missing_ok=True)  # where the weights of a large model were


@contextmanager
def _quiet() -> Iterator[None]:
    """Both libraries warn of what is of no concern here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(before)


def compare(folder: Path, encoder: EncoderConfig, params: dict, pad_id: int, *, rounded: bool = False) -> dict[str, float]:
    """Output -> largest difference between ONNX Runtime and ours in float32, at the real places of rows of SHAPES.

    Args:
        rounded: the file computes with int8, so that any finite difference is taken.

    Raises:
        UserError: one is larger than it may be.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / FILE, providers=["CPUExecutionProvider"])
    found: dict[str, float] = {}
    for rows, length in SHAPES:
        batch = padded_batch(encoder, pad_id, rows, min(length, encoder.longest_row))
        given = {theirs: batch[ours].astype(np.int64) for ours, theirs in _inputs(encoder).items()}
        names = [output.name for output in session.get_outputs()]
        theirs = dict(zip(names, session.run(None, given)))
        real = batch["input_mask"] > 0
        ours = outputs_of(encoder, params, batch)
        for name in names:
            array, expected = np.asarray(ours[name]), theirs[name]
            if array.shape[:2] == real.shape:
                array, expected = array[real], expected[real]
            found[name] = max(found.get(name, 0.0), float(np.abs(array - expected).max()))
            allowed = np.finfo(np.float32).max if rounded else TOLERANCE * max(1.0, float(np.abs(expected).max()))
            if not found[name] <= allowed:
                raise UserError(
                    f"{name} is not what ONNX Runtime computes", got=f"{found[name]:.3g} apart", expected=f"{allowed:.3g}"
                )
    return found


def outputs_of(encoder: EncoderConfig, params: dict, batch: dict) -> dict:
    """Ours, in float32."""
    encoder = _in_float32(encoder)
    found = head_outputs(encoder, params, batch)
    if params.keys() - {"encoder"}:
        return found
    inputs = (batch["input_ids"], batch["segment_ids"], batch["input_mask"])
    return {HIDDEN: Encoder(encoder).apply({"params": params["encoder"]}, *inputs, train=False).hidden_BLD} | found


def _inputs(encoder: EncoderConfig) -> dict[str, str]:
    return {ours: theirs for ours, theirs in INPUTS.items() if ours != "segment_ids" or encoder.type_vocab_size > 1}


def _in_float32(encoder: EncoderConfig) -> EncoderConfig:
    return replace(encoder, dtype="float32", matmul_dtype="auto", quantize="")


def _outputs(loaded, example: tuple, names: dict[str, str], ours: dict) -> dict[str, str]:
    """Our name of each head -> that of the output of transformers."""
    import torch

    with torch.no_grad():
        found = loaded.eval()(**dict(zip(names.values(), example)))
    called = LOGITS | {HIDDEN: ("last_hidden_state",)}
    return {name: next(key for key in called[name] if key in found) for name in ours}
