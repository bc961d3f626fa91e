"""What a fine-tuned encoder makes of examples on the way: a vector for each, and where it looks in one of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.data.finetune import Rows
from bert_jax.models.attention import probabilities, visible
from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.objectives.apply import encode_layers
from bert_jax.objectives.texts import row_vectors

MOST_ROWS = 2000  # whose vectors are looked at, evenly spread over the set
LONGEST_SHOWN = 24  # pieces of a sentence whose attention can still be read
READ = ("input_ids", "input_mask", "segment_ids")
ROUND_TO = 16  # pieces: rows are padded to a multiple, so that few shapes are compiled


class Inside(NamedTuple):
    """What the model made of rows of one text or pair each.

    Attributes:
        examples: int[N], the numbers of the examples whose vectors these are.
        vectors_ND: float32, of their rows; pooling says what they are.
        pieces: the L pieces of one row, and example, the number of what it shows.
        attention_NHLL: float32, of that row, each layer and head; None where without_attention says why there is none.
    """

    examples: np.ndarray
    vectors_ND: np.ndarray
    pooling: str
    pieces: tuple[str, ...] = ()
    example: int = 0
    attention_NHLL: np.ndarray | None = None
    without_attention: str = ""


def look(
    config: EncoderConfig, params: dict, rows: Rows, tokenizer, *, example: int | None = None, pooling: str = "cls"
) -> Inside:
    """The vectors of at most MOST_ROWS rows, and the attention of one.

    Args:
        params: of the encoder alone.
        rows: of a dev set, each [CLS] A [SEP] or [CLS] A [SEP] B [SEP].
        example: whose attention is shown; None for the first with a row of at most LONGEST_SHOWN pieces, or the shortest.
        pooling: of models/pooling.py.
    """
    number = _shown_row(rows, example)
    numbers = np.unique(np.linspace(0, len(rows.lengths) - 1, min(len(rows.lengths), MOST_ROWS)).astype(int))
    found = Inside(rows.owners[numbers], vectors(config, params, rows, numbers, pooling=pooling), pooling)
    if config.block != "post_norm" or not config.num_hidden_layers:
        kind = f"layers of the kind {config.block}" if config.num_hidden_layers else "no layers of attention"
        return found._replace(without_attention=f"This encoder has {kind}, whose attention is not shown.")
    batch = _batch(rows, np.array([number]), int(rows.lengths[number]))
    pieces = tuple(tokenizer.pieces_of(batch["input_ids"][0].tolist()))
    return found._replace(
        pieces=pieces, example=int(rows.owners[number]), attention_NHLL=np.asarray(attention(config, params, batch)[:, 0])
    )


def _shown_row(rows: Rows, example: int | None) -> int:
    if example is not None:
        return int(np.flatnonzero(rows.owners == example)[0])
    readable = np.flatnonzero(rows.lengths <= LONGEST_SHOWN)
    return int(readable[0]) if len(readable) else int(rows.lengths.argmin())


def vectors(
    config: EncoderConfig, params: dict, rows: Rows, numbers: np.ndarray, *, pooling: str = "cls", batch_size: int = 32
) -> np.ndarray:
    """float32[N, D] of the rows with these numbers, in their order; those of like length share a batch."""
    encoder = Encoder(config)
    of_batch = jax.jit(lambda params, batch: row_vectors(encoder, params, batch, pooling))
    found_ND = np.zeros((len(numbers), config.hidden_size), np.float32)
    by_length = np.argsort(-rows.lengths[numbers], kind="stable")
    for start in range(0, len(numbers), batch_size):
        mine = by_length[start : start + batch_size]
        filled = np.concatenate([mine, np.repeat(mine[-1:], batch_size - len(mine))])
        longest = -(-int(rows.lengths[numbers[mine]].max()) // ROUND_TO) * ROUND_TO
        batch = _batch(rows, numbers[filled], min(longest, int(rows.lengths.max())))
        found_ND[mine] = np.asarray(of_batch(params, batch), np.float32)[: len(mine)]
    return found_ND


def _batch(rows: Rows, numbers: np.ndarray, length: int) -> dict[str, np.ndarray]:
    batch = rows.batch(numbers, np.ones(len(numbers), np.float32), length)
    return {name: batch[name] for name in READ}


def attention(config: EncoderConfig, params: dict, batch: dict) -> jax.Array:
    """float32[N, B, H, L, L] of an encoder of N layers of model.block=post_norm: how much of each head's sum comes from where,
    softmax(q k / sqrt(K)) over the keys that are not padding (Vaswani et al. 2017, arXiv 1706.03762, section 3.2.1)."""
    seen_B1LL = visible(jnp.asarray(batch["input_mask"]), left_to_right=config.left_to_right)

    def of_layers(params, batch):
        _, layers = encode_layers(Encoder(config), params, batch, None)
        of_layer = lambda query_key: probabilities(config, *query_key, seen_B1LL)  # noqa: E731
        return jax.lax.map(of_layer, (layers.query_NBLHK, layers.key_NBLHK))

    return jax.jit(of_layers)(params, batch)
