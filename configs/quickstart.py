"""A tiny BERT that learns English from the prose of the Python packages on this machine, within minutes on two cores.

    python -m bert_jax train --config=configs/quickstart.py --workdir=runs/quickstart

Your own text instead: --config.data.input_file='my_text/*.txt'. Every key below can be overridden in the same way.
"""

from ml_collections import ConfigDict


def get_config(arg=None):
    if arg:
        raise ValueError(f"configs/quickstart.py takes no argument after the colon, got {arg!r}")
    config = ConfigDict()
    config.seed = 0
    config.init_checkpoint = ""  # the workdir of a run of the same sizes, or fewer positions, to start from with its vocabulary

    config.text = ConfigDict()
    config.text.kind = "wordpiece"  # wordpiece (vocab.txt), unigram, bpe (.model), bytelevel (vocab.json, merges.txt beside it)
    config.text.vocab_file = ""  # empty: learned from the text and kept in the workdir
    config.text.new_words = ""  # a file of words, one a line, that extends the vocabulary of init_checkpoint (wordpiece)
    config.text.vocab_size = 6000
    config.text.do_lower_case = True

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
    config.data.held_out_fraction = 0.05  # of the documents, never trained on
    config.data.max_seq_length = 32
    config.data.max_predictions_per_seq = 5
    config.data.masked_lm_prob = 0.15
    config.data.short_seq_prob = 0.1
    config.data.dupe_factor = 4  # how many different pairings of sentences are laid out
    config.data.rows = "pairs"  # pairs (next sentence), sop (order), full_sentences, doc_sentences, segments, sentences
    config.data.max_examples_per_row = 1  # more packs so many short examples into a row, each seeing itself alone
    config.data.later_phases = ()  # (share of the steps before it, length, predictions, rows of a batch) each
    config.data.mask_unit = "token"  # hidden as one: token, whole_word, ngram (1 to 3 words), span (SpanBERT)
    config.data.mask_token_prob = 0.8  # of the hidden units become [MASK]
    config.data.random_token_prob = 0.1  # of them become random pieces; the rest stays as it is
    config.data.max_ngram = 3  # words, n of them with probability proportional to 1/n
    config.data.span_p = 0.2  # lengths of spans are geometric with this p
    config.data.max_span_words = 10
    config.data.masks = "dynamic"  # drawn anew in every epoch, or static: once for each of dupe_factor pairings
    config.data.num_loader_threads = 1  # threads that make batches; their number changes nothing else
    config.data.num_eval_rows = 2000

    config.model = ConfigDict()
    config.model.num_hidden_layers = 2
    config.model.hidden_size = 128
    config.model.num_attention_heads = 4
    config.model.intermediate_size = 256
    config.model.max_position_embeddings = 32
    config.model.hidden_dropout_prob = 0.0  # less than one pass over the text per pairing: nothing to overfit
    config.model.attention_probs_dropout_prob = 0.0
    config.model.initializer_range = 0.05  # 0.02 suits a width of 768; this narrow, attention would wake up later
    config.model.dtype = "auto"  # float32 on CPU, bfloat16 on TPU and GPU

    config.objective = ConfigDict()
    config.objective.name = "bert"
    config.objective.next_sentence = True

    config.optim = ConfigDict()
    config.optim.name = "bert_adam"  # bert_adam, adamw, lamb
    config.optim.schedule = "bert"  # bert, linear, polynomial, cosine, constant, warmup_stable_decay
    config.optim.learning_rate = 1e-3
    config.optim.num_warmup_steps = 200
    config.optim.weight_decay = 0.01

    config.train = ConfigDict()
    config.train.train_batch_size = 32  # rows over all devices
    config.train.accumulate = 1  # micro-batches of each update, one after another: less memory, the same result
    config.train.num_train_steps = 4000
    config.train.log_every_steps = 100
    config.train.eval_every_steps = 500
    config.train.save_every_steps = 500
    config.train.max_skipped_steps = 20  # so many in a row that are not finite end the run; fewer are skipped and counted
    config.train.keep_checkpoints = 2

    config.parallel = ConfigDict()
    config.parallel.mode = "jit"  # jit, or pmap: one process per host, replicated data parallel
    config.parallel.fsdp = 1  # devices over which each parameter is spread (jit)
    config.parallel.tensor = 1  # devices over which each matrix product is split (jit)
    return config
