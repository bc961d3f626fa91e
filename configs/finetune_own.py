"""Fine-tuning on your own files.

    python -m bert_jax finetune --config=configs/finetune_own.py:classification --workdir=W --config.init_checkpoint=P \\
        --config.data.train_file=train.tsv --config.data.dev_file=dev.tsv --config.data.text_columns="('text',)"

P is the workdir of a trained model. Argument, the form of the task, and what its files hold:

    classification   tables: one text or two (data.text_columns), its label (data.label_column)
    regression       the same, and the label is a number
    tagging          a word a line, its tag in the last column, empty lines between sentences; or tables (data.tag_columns)
    answering        JSON of SQuAD 1.1; answering_or_none: of SQuAD 2.0
    choice           tables: a context, options, the number of the right one from 0
    ranking          tables: query id, query, passage, relevance from 0 on

Tables are .tsv (tabs, quotes are ordinary characters), .csv or .jsonl, compressed or not; a column is a name in the header line,
or a place from 0 in a file without one. Without data.dev_file a share of the training examples is held out, data.dev_fraction.
Hardware: any.
Source of the recipe: that of configs/finetune_glue.py.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict


def get_config(arg=None):
    form = arg or "classification"
    if form not in FORMS:
        raise ValueError(f"{form!r} is none of {', '.join(FORMS)}")
    config = runpy.run_path(str(Path(__file__).with_name("finetune_glue.py")))["recipe"](form)
    del config.data.folder
    config.data.train_file = ""
    config.data.dev_file = ""  # empty: a share of the training examples is held out
    config.data.test_file = ""  # for predict
    config.data.dev_fraction = 0.1
    FORMS[form](config)
    return config


def classification(config):
    texts(config)
    config.objective = ConfigDict(
        {"name": "classify", "class_weights": ()}
    )  # a number for each class, in the order of the alphabet


def regression(config):
    texts(config)
    config.objective = ConfigDict({"name": "regress"})


def texts(config):
    config.data.text_columns = ("text",)  # or two
    config.data.label_column = "label"
    config.data.long_texts = "head"  # what is read of a text too long: head, head_tail, chunks (all of it, in several rows)


def tagging(config):
    config.data.tag_scheme = "IOB2"  # IOB1, IOB2, BIOES, BMES
    config.data.words_are_numbered = False  # in the first column, as in CoNLL-U
    config.data.tag_columns = ("text", "tags")  # of a table, words and tags between blanks
    config.data.document_context = False
    config.objective = ConfigDict({"name": "tag", "word_vector": "first"})


def answering(config):
    config.data.max_seq_length = 384
    config.data.doc_stride = 128
    config.data.max_query_length = 64
    config.objective = ConfigDict({"name": "answer"})
    config.predict = ConfigDict({"n_best_size": 20, "max_answer_length": 30})


def answering_or_none(config):
    answering(config)
    config.predict.null_threshold = 0.0


def choice(config):
    config.data.context_column = "sent1"
    config.data.beginning_column = ""  # of what stands before each option
    config.data.option_columns = ("ending0", "ending1", "ending2", "ending3")
    config.data.label_column = "label"
    config.objective = ConfigDict({"name": "choose"})
    config.train.train_batch_size = 16


def ranking(config):
    config.data.candidate_columns = ("query_id", "query", "passage", "relevance")
    config.objective = ConfigDict({"name": "classify"})


FORMS = {
    "classification": classification,
    "regression": regression,
    "tagging": tagging,
    "answering": answering,
    "answering_or_none": answering_or_none,
    "choice": choice,
    "ranking": ranking,
}
