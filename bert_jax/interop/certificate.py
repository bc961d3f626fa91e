"""Proof that a directory of Hugging Face and a model of ours compute the same: tensors, hidden states, logits, piece numbers."""

import hashlib
import inspect
import unicodedata
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer as RustTokenizer

from bert_jax.errors import UserError
from bert_jax.interop import names
from bert_jax.interop.huggingface import POOLED, Model
from bert_jax.interop.strings import strings
from bert_jax.interop.vocabulary import MODEL
from bert_jax.models import pre_norm
from bert_jax.models.attention import visible
from bert_jax.models.encoder import Block, Embeddings, Encoder, EncoderConfig
from bert_jax.models.heads import ClassHead, MaskedLMHead, PieceHead, TokenHead
from bert_jax.models.layers import LayerNorm
from bert_jax.text.tokenizer import Tokenizer

TOLERANCE = 1e-4  # of a difference in float32, where the values are at most 1 in size; of the largest value where it is more
ROWS, LENGTH = 4, 24
MAY_DIFFER = {"sentencepiece": 0.005}  # share of the texts: two libraries, two choices between cuts of equal probability
CHECKED = (".json", ".safetensors", ".txt", ".model", ".index", ".data-")  # suffixes of files whose hashes are written down
LOGITS = {  # what we compute -> how the outputs of transformers call it
    "masked_lm": ("prediction_logits", "logits"),
    "next_sentence": ("seq_relationship_logits", "sop_logits"),
    "classifier": ("logits",),
    "token_classifier": ("logits",),
    "answer_start": ("start_logits",),
    "answer_end": ("end_logits",),
    "choice": ("logits",),
    "replaced": ("logits",),
    "pooled": ("pooler_output",),
}


def certify(
    source: Path, peer: Path, model: Model, encoder: EncoderConfig, params: dict, tokenizer: Tokenizer, num_strings: int
) -> dict:
    """What was compared and the largest differences, plain JSON.

    Args:
        source: where `model` was read from.
        peer: what transformers reads it from: that directory itself, if it can.
        params: of ours, as they were read back from where they are kept.

    Raises:
        UserError: something differs; the tensor, layer, head or text is named.
    """
    return {
        "class": model.kind,
        "files": {
            path.name: sha256(path) for path in sorted(source.iterdir()) if path.is_file() and path.suffix.startswith(CHECKED)
        },
        "tensors_equal": compare_tensors(model, params),
        "largest_differences": compare_outputs(peer, model.kind, encoder, params, tokenizer.pad_id),
        "tokenizer": compare_tokenizers(peer, tokenizer, num_strings),
    }


def compare_tensors(model: Model, params: dict) -> int:
    """The number of tensors, all of them equal bit for bit."""
    ours = names.to_huggingface(params, model.names)
    for name, array in ours.items():
        if not np.isfinite(model.tensors[name]).all():
            raise _fails(f"{name} is not finite throughout", f"infinity or NaN in {model.file}", "numbers")
        if not np.array_equal(_bits(array), _bits(model.tensors[name])):
            difference = float(np.abs(array - model.tensors[name]).max())
            raise _fails(f"{name} is not the tensor of {model.file}", f"{difference:.3g} apart", "equal bits")
    return len(ours)


def _bits(array: np.ndarray) -> np.ndarray:
    """As numbers that are equal only where all bits are: 0.0 and -0.0 are not."""
    return np.ascontiguousarray(array, np.float32).view(np.uint32)


def compare_outputs(folder: Path, kind: str, encoder: EncoderConfig, params: dict, pad_id: int) -> dict | str:
    """Layer or head -> largest difference from the class of transformers in float32, at the real places of a padded batch."""
    try:
        import torch
        import transformers
    except ImportError as error:
        return f"not checked: {error.name} is not installed"
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    options = {"use_safetensors": True, "local_files_only": True, "dtype": torch.float32, "attn_implementation": "eager"}
    of_kind = getattr(transformers, kind)
    if "add_pooling_layer" in inspect.signature(of_kind).parameters:
        options["add_pooling_layer"] = encoder.pooler
    try:
        peer, loading = of_kind.from_pretrained(folder, **options, output_loading_info=True)
    except Exception as error:  # of no common kind
        raise _unreadable("the model", folder, error) from error
    if loading["missing_keys"]:
        raise _fails(f"{kind} finds no {sorted(loading['missing_keys'])[0]} in {folder}", "a new random one", "all its weights")
    encoder, batch = replace(encoder, dtype="float32", matmul_dtype="auto", quantize=""), padded_batch(encoder, pad_id)
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["input_mask"]}
    if encoder.type_vocab_size > 1:
        inputs["token_type_ids"] = batch["segment_ids"]
    if "choice" in params:  # the rows are the choices of one example
        inputs = {name: array[None] for name, array in inputs.items()}
    with torch.no_grad():
        out = peer.eval()(**{name: torch.from_numpy(array) for name, array in inputs.items()}, output_hidden_states=True)
    theirs = {f"layer {number}": hidden.numpy() for number, hidden in enumerate(out.hidden_states)}
    theirs["embeddings"] = theirs.pop("layer 0")
    ours = hidden_states(encoder, params["encoder"], batch) | head_outputs(encoder, params, batch)
    theirs |= {name: next(out[key] for key in LOGITS[name] if key in out).numpy() for name in ours if name in LOGITS}
    found, real = {}, batch["input_mask"] > 0
    for name, array in ours.items():
        expected, array = theirs[name], np.asarray(array)
        if array.shape[:2] == real.shape:
            expected, array = expected[real], array[real]
        found[name] = float(np.abs(array - expected).max())
        allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
        if not found[name] <= allowed:
            raise _fails(f"{name} is not what {kind} computes", f"{found[name]:.3g} apart", f"at most {allowed:.3g}")
    return found


def padded_batch(encoder: EncoderConfig, pad_id: int, rows: int = ROWS, length: int = LENGTH) -> dict[str, np.ndarray]:
    """Random pieces, rows of different lengths, two segments each; int32 arrays of bert_jax/batch.py."""
    draw, length = np.random.default_rng(0), min(length, encoder.longest_row)
    lengths = np.linspace(length, length // 2, rows).astype(int)[:, None]
    place = np.arange(length)[None]
    real = place < lengths
    ids = draw.integers(0, encoder.vocab_size - 1, real.shape)
    ids += ids >= pad_id
    batch = {"input_ids": np.where(real, ids, pad_id), "input_mask": real, "segment_ids": real & (place >= lengths // 2)}
    return {name: array.astype(np.int32) for name, array in batch.items()}


def hidden_states(encoder: EncoderConfig, params: dict, batch: dict) -> dict[str, jax.Array]:
    """ "embeddings", "layer 1", ... -> float32[B, L, D]: the layers one by one, of which the encoder makes a loop."""

    @jax.jit
    def embedded(params):
        return Embeddings(encoder).apply({"params": params}, batch["input_ids"], batch["segment_ids"], train=False)[0]

    @jax.jit
    def through(layer, x_BLD):
        return Block(encoder).apply({"params": layer}, x_BLD, visible(jnp.asarray(batch["input_mask"])), False)[0]

    found = {"embeddings": embedded(params["embeddings"])}
    if encoder.block == "pre_norm":
        return found | _pre_norm_states(encoder, params, batch, found["embeddings"])
    stacked = params["layers"]["block"] if encoder.num_hidden_groups else params["layers"]
    weights = encoder.num_hidden_groups or encoder.num_hidden_layers
    for number in range(encoder.num_hidden_layers):
        layer = jax.tree.map(lambda leaf: leaf[number * weights // encoder.num_hidden_layers], stacked)  # noqa: B023
        found[f"layer {number + 1}"] = through(layer, list(found.values())[-1])
    return found


def _pre_norm_states(encoder: EncoderConfig, params: dict, batch: dict, x_BLD) -> dict[str, jax.Array]:
    """The same of the layers of ModernBERT; with the last one, as in transformers, the LayerNorm behind it."""

    @partial(jax.jit, static_argnums=0)
    def through(kind: int, layer, x_BLD):
        return pre_norm.kinds(encoder, jnp.asarray(batch["input_mask"]))[kind].apply(x_BLD, layer, None, in_loop=False)

    found = {"layer 1": through(0, params["first_layer"], x_BLD)}
    for number in range(encoder.num_hidden_layers - 1):
        layer = jax.tree.map(lambda leaf: leaf[number], params["layers"])  # noqa: B023
        kind = 1 + number % encoder.global_attn_every_n_layers
        found[f"layer {number + 2}"] = through(kind, layer, found[f"layer {number + 1}"])
    last = f"layer {encoder.num_hidden_layers}"
    return found | {last: LayerNorm(encoder).apply({"params": params["final_norm"]}, found[last])}


def head_outputs(encoder: EncoderConfig, params: dict, batch: dict) -> dict[str, jax.Array]:
    """Head -> its logits, at all places, from the encoder as it trains; without any head, the pooled vector if there is one."""

    def outputs(params):
        inputs = (batch["input_ids"], batch["segment_ids"], batch["input_mask"])
        out = Encoder(encoder).apply({"params": params["encoder"]}, *inputs, train=False)
        places_BP = jnp.broadcast_to(jnp.arange(out.hidden_BLD.shape[1]), batch["input_ids"].shape)
        found = {}
        if "masked_lm" in params:
            head = MaskedLMHead(encoder)
            found["masked_lm"] = head.apply({"params": params["masked_lm"]}, out.hidden_BLD, places_BP, out.word_table_VD)
        for name in params.keys() & set(POOLED):
            classes = params[name]["dense"]["bias"].size
            logits_BC = ClassHead(encoder, classes).apply({"params": params[name]}, out.pooled_BD)
            found[name] = logits_BC.T if name == "choice" else logits_BC
        for name in params.keys() & {"token_classifier", "answer_span"}:
            classes = params[name]["logits"]["bias"].size
            logits_BLC = TokenHead(encoder, classes).apply({"params": params[name]}, out.hidden_BLD)
            sides = {"answer_start": logits_BLC[..., 0], "answer_end": logits_BLC[..., 1]}
            found |= sides if name == "answer_span" else {name: logits_BLC}
        if "replaced" in params:
            found["replaced"] = PieceHead(encoder).apply({"params": params["replaced"]}, out.hidden_BLD)
        return found or ({"pooled": out.pooled_BD} if encoder.pooler else {})

    return jax.jit(outputs)(params)


def compare_tokenizers(folder: Path, tokenizer: Tokenizer, count: int) -> dict | str:
    """How many texts were cut, and how many of them into other pieces, MAY_DIFFER at most."""
    peer = _peer(folder)
    if peer is None:
        return f"not checked: transformers is not installed, and there is no {MODEL}"
    peer.no_truncation()
    peer.no_padding()
    peer.encode_special_tokens = True  # as text, which to us they are when a text spells them
    texts = strings([piece for piece in tokenizer.pieces if piece not in tokenizer.special], count)
    if tokenizer.settings["kind"] == "bytelevel":  # every byte counts: whether letters and marks are composed shows
        texts[::2] = [unicodedata.normalize("NFD", text) for text in texts[::2]]
    theirs = [encoding.ids for encoding in peer.encode_batch(texts, add_special_tokens=False)]
    different = [numbers for numbers in zip(texts, tokenizer.encode(texts), theirs, strict=True) if numbers[1] != numbers[2]]
    if len(different) > count * MAY_DIFFER.get(tokenizer.settings["kind"], 0):
        text, ours, their = different[0]
        what = f"{len(different):,} of {count:,} texts are not cut as by the tokeniser of {folder}, the first {ascii(text)}"
        raise _fails(what, " ".join(tokenizer.pieces_of(ours)), " ".join(map(str, map(peer.id_to_token, their))))
    return {"texts": count, "different": len(different)}


def _peer(folder: Path) -> RustTokenizer | None:
    try:
        from transformers import AutoTokenizer
    except ImportError:
        AutoTokenizer = None
    try:
        if AutoTokenizer is None:
            return RustTokenizer.from_file(str(folder / MODEL)) if (folder / MODEL).exists() else None
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False).backend_tokenizer
    except Exception as error:  # what it raises for files that it cannot use has no common kind
        raise _unreadable("the tokeniser", folder, error) from error


def _unreadable(what: str, folder: Path, error: Exception) -> UserError:
    reason = str(error).strip().partition("\n")[0]
    return UserError(f"transformers cannot read {what} of {folder}", got=f"{type(error).__name__}: {reason}")


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fails(what: str, got: object, expected: str) -> UserError:
    return UserError(f"the certificate fails: {what}", got=got, expected=expected)
