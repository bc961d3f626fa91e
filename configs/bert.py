"""BERT as published: masked LM and next sentence, in every size and kind that was released.

    python -m bert_jax train --config=configs/bert.py:base --workdir=W --config.data.input_file='text/*.txt'

Argument: SIZE or SIZE-KIND or SIZE-KIND-wwm, for instance base, large-cased-wwm, base-chinese; or d2l, ltr, tiny-ltr.
    SIZE   tiny, mini, small, medium, base (the default), large; or one of the 24 of arXiv 1908.08962: L2_H128 ... L12_H768
    KIND   uncased (the default), cased, chinese, multilingual (cased)
    wwm    whole words are masked
    d2l    the small teaching model of "Dive into Deep Learning", section 15.10: 2 x 128 with ReLU, length 64
    ltr    "LTR & No NSP" of table 5: base, but each piece is predicted from those before it, and sees no others
    tiny-ltr  the same with 2 x 128, which learns on two cores within minutes, by a schedule of our own
Hardware of the paper: base 4 days on 16 TPU chips, large 4 days on 64 (arXiv 1810.04805, appendix A.2).
Expected: MNLI-m dev 84.4 (base) and 86.6 (large) after fine-tuning, held-out masked-LM perplexity 3.99 and 3.23 (the same,
table 6); large with whole words masked 87.07 against 86.05 without (README of google-research/bert); ltr 82.1, MRPC 77.5, SST-2
92.1, and with a BiLSTM on top in fine-tuning (model.num_lstm_layers) 82.1, 75.7, 91.6 (table 5). Not yet run here at that scale.
Source of the recipe: appendix A.2, and google-research/bert run_pretraining.py, optimization.py and create_pretraining_data.py.

As in the paper, 90% of the steps are at length 128, with 20 predictions as in the released scripts, and the rest at 512, with 15%
of that. Length 128 throughout: --config.data.later_phases='()'.
"""

from ml_collections import ConfigDict

SIZES = {  # layers, width; one head per 64 of width, feed-forward four times as wide
    "tiny": (2, 128),
    "mini": (4, 256),
    "small": (4, 512),
    "medium": (8, 512),
    "base": (12, 768),
    "large": (24, 1024),
} | {f"L{layers}_H{width}": (layers, width) for layers in (2, 4, 6, 8, 10, 12) for width in (128, 256, 512, 768)}
KINDS = {  # pieces of the released vocab.txt; whether text is lower-cased
    "uncased": (30522, True),
    "cased": (28996, False),
    "chinese": (21128, True),
    "multilingual": (119547, False),
}


def get_config(arg=None):
    if arg in WHOLE_NAMES:
        return WHOLE_NAMES[arg]()
    size, *rest = (arg or "base").split("-")
    whole_words = rest[-1:] == ["wwm"]
    kind = "-".join(rest[: len(rest) - whole_words]) or "uncased"
    if size not in SIZES or kind not in KINDS:
        raise ValueError(f"{arg!r} is no SIZE-KIND-wwm of sizes {', '.join([*SIZES, *WHOLE_NAMES])} and kinds {', '.join(KINDS)}")
    config = published(*SIZES[size], *KINDS[kind])
    if whole_words:
        config.data.mask_unit = "whole_word"
        config.data.segmenter = (
            "jieba" if kind == "chinese" else ""
        )  # Chinese does not show its words: pip install -e '.[chinese]'
    return config


def d2l():
    config = published(2, 128, 30522, True)
    config.data.max_seq_length = 64
    config.data.max_predictions_per_seq = 10
    config.data.later_phases = ()
    config.model.intermediate_size = 256
    config.model.hidden_act = "relu"
    config.model.hidden_dropout_prob = 0.2
    config.model.attention_probs_dropout_prob = 0.2
    config.optim.name = "adamw"
    config.optim.schedule = "constant"
    config.optim.learning_rate = 1e-2  # the book's; for more than its 50 steps take 1e-3
    config.optim.num_warmup_steps = 0
    config.optim.weight_decay = 0.0
    config.optim.eps = 1e-8
    config.optim.clip = 0.0
    config.train.train_batch_size = 512
    config.train.num_train_steps = 50
    config.train.log_every_steps = 10
    config.train.eval_every_steps = 50
    config.train.save_every_steps = 50
    return config


def ltr():
    config = published(*SIZES["base"], *KINDS["uncased"])
    config.data.masked_lm_prob = 1.0  # all of the text but the first piece of a row is predicted, and nothing hidden
    config.data.mask_token_prob = 0.0
    config.data.random_token_prob = 0.0
    config.data.max_predictions_per_seq = 125
    config.data.later_phases = ((0.9, 512, 509, 256),)
    config.model.left_to_right = True
    config.objective = ConfigDict({"name": "causal_lm"})
    return config


def tiny_ltr():
    config = ltr()
    config.text.vocab_size = 8000
    config.data.max_seq_length = 64
    config.data.max_predictions_per_seq = 61
    config.data.later_phases = ()
    config.data.num_eval_rows = 1000
    config.model.num_hidden_layers = 2
    config.model.hidden_size = 128
    config.model.num_attention_heads = 2
    config.model.intermediate_size = 512
    config.model.initializer_range = 0.05  # 0.02 suits a width of 768
    config.model.hidden_dropout_prob = 0.0
    config.model.attention_probs_dropout_prob = 0.0
    config.optim.name = "adamw"
    config.optim.b2 = 0.98
    config.optim.learning_rate = 2e-3  # at which bert_adam, whose first updates are large, stays at word frequency
    config.optim.num_warmup_steps = 100
    config.train.train_batch_size = 32
    config.train.num_train_steps = 4000
    config.train.eval_every_steps = 1000
    config.train.save_every_steps = 1000
    return config


WHOLE_NAMES = {"d2l": d2l, "ltr": ltr, "tiny-ltr": tiny_ltr}


def published(layers: int, width: int, vocab_size: int, do_lower_case: bool):
    config = ConfigDict()
    config.seed = 12345
    config.init_checkpoint = ""  # the workdir of a run of the same sizes, or fewer positions, to start from with its vocabulary

    config.text = ConfigDict()
    config.text.kind = "wordpiece"  # wordpiece (vocab.txt), unigram, bpe (.model), bytelevel (vocab.json, merges.txt beside it)
    config.text.vocab_file = ""  # empty: learned from the text and kept in the workdir
    config.text.new_words = ""  # a file of words, one a line, that extends the vocabulary of init_checkpoint (wordpiece)
    config.text.vocab_size = vocab_size
    config.text.do_lower_case = do_lower_case

    config.data = ConfigDict()
    config.data.input_file = (
        ""  # files or patterns, comma-separated, or tfds:NAME/SPLIT; empty: docstrings of the installed packages
    )
    config.data.input_format = "auto"  # auto, sentences (one a line), paragraphs, wiki (<doc> blocks), jsonl, parquet
    config.data.on_bad_input = "stop"  # or skip: leave out what cannot be read, and count it
    config.data.drop_duplicates = False  # of documents with the same text keep the first alone
    config.data.segmenter = ""  # Chinese words for whole-word masking: jieba, or presegmented (by blanks in the text)
    config.data.num_workers = 0  # processes that tokenise; 0: one for each core
    config.data.store = ""  # where the tokenised text lies; empty: in the workdir
    config.data.held_out_fraction = 0.005
    config.data.max_seq_length = 128
    config.data.max_predictions_per_seq = 20
    config.data.masked_lm_prob = 0.15
    config.data.short_seq_prob = 0.1
    config.data.dupe_factor = 10  # different pairings of sentences
    config.data.rows = "pairs"  # pairs (next sentence), sop (order), full_sentences, doc_sentences, segments, sentences
    config.data.max_examples_per_row = 1  # more packs so many short examples into a row, each seeing itself alone
    config.data.later_phases = ((0.9, 512, 77, 256),)  # (share of the steps before it, length, predictions, rows) each
    config.data.mask_unit = "token"  # hidden as one: token, whole_word, ngram (1 to 3 words), span (SpanBERT)
    config.data.mask_token_prob = 0.8  # of the hidden units become [MASK]
    config.data.random_token_prob = 0.1  # of them become random pieces; the rest stays as it is
    config.data.max_ngram = 3  # words, n of them with probability proportional to 1/n
    config.data.span_p = 0.2  # lengths of spans are geometric with this p
    config.data.max_span_words = 10
    config.data.masks = "static"  # once for each of dupe_factor pairings, or dynamic: drawn anew in every epoch
    config.data.num_loader_threads = 1  # threads that make batches; their number changes nothing else
    config.data.num_eval_rows = 4096

    config.model = ConfigDict()
    config.model.num_hidden_layers = layers
    config.model.hidden_size = width
    config.model.num_attention_heads = width // 64
    config.model.intermediate_size = 4 * width
    config.model.hidden_act = "gelu"
    config.model.max_position_embeddings = 512
    config.model.initializer_range = 0.02
    config.model.hidden_dropout_prob = 0.1
    config.model.attention_probs_dropout_prob = 0.1
    config.model.remat = "elementwise"  # computed anew in the backward pass: none, elementwise, dots, full; ever less memory
    config.model.matmul_dtype = "auto"  # auto: as dtype; bfloat16 beside float32 activations is faster on CPUs that have it
    config.model.dtype = "auto"  # float32 on CPU, bfloat16 on TPU and GPU

    config.objective = ConfigDict()
    config.objective.name = "bert"
    config.objective.next_sentence = True
    config.objective.loss_weights = ()  # (name of a loss, factor) each: (("next_sentence_loss", 0.5),)

    config.optim = ConfigDict()
    config.optim.name = "bert_adam"  # bert_adam, adamw, lamb
    config.optim.schedule = "bert"  # bert, linear, polynomial, cosine, constant, warmup_stable_decay
    config.optim.learning_rate = 1e-4
    config.optim.num_warmup_steps = 10_000
    config.optim.weight_decay = 0.01
    config.optim.b1 = 0.9
    config.optim.b2 = 0.999
    config.optim.eps = 1e-6
    config.optim.clip = 1.0  # global norm of the gradients; 0: no clipping
    config.optim.layer_decay = 1.0  # factor of the rate from each layer to the one below it

    config.train = ConfigDict()
    config.train.train_batch_size = 256  # rows over all devices
    config.train.accumulate = 1  # micro-batches of each update, one after another: less memory, the same result
    config.train.num_train_steps = 1_000_000
    config.train.log_every_steps = 100
    config.train.eval_every_steps = 10_000
    config.train.save_every_steps = 5_000
    config.train.max_skipped_steps = 20  # so many in a row that are not finite end the run; fewer are skipped and counted
    config.train.keep_checkpoints = 3

    config.parallel = ConfigDict()
    config.parallel.mode = "jit"  # jit, or pmap: one process per host, replicated data parallel
    config.parallel.fsdp = 1  # devices over which each parameter is spread (jit)
    config.parallel.tensor = 1  # devices over which each matrix product is split (jit)
    return config
