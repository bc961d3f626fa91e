"""A small directory of a Hugging Face model that needs neither torch nor transformers, and what it was made of."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from bert_jax.interop import huggingface, vocabulary
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.pretrain import bert
from bert_jax.text import wordpiece
from bert_jax.text.tokenizer import Tokenizer

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "##e", "the", "cat", "sat"]


class Made(NamedTuple):
    folder: Path
    encoder: EncoderConfig
    params: dict
    tokenizer: Tokenizer


def write(folder: Path) -> Made:
    """A BertForPreTraining of two layers."""
    folder.mkdir()
    wordpiece.save_vocab(PIECES, folder / "vocab.txt")
    tokenizer = wordpiece.load(folder / "vocab.txt", do_lower_case=True)
    encoder = EncoderConfig(
        len(PIECES), hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12, max_position_embeddings=16
    )
    shapes = jax.eval_shape(bert(encoder).init, jax.random.key(0))
    draw = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: draw.normal(scale=0.3, size=leaf.shape).astype(np.float32), shapes)
    huggingface.write(folder, encoder, params, [], tokenizer)
    vocabulary.write(folder, tokenizer, longest_row=encoder.longest_row, segments=True)
    return Made(folder, encoder, params, tokenizer)
