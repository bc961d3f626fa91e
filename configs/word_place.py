"""BERT that is told where each piece stands in its word: begin, middle, end or single, a feature summed into the embeddings.

    python -m bert_jax train --config=configs/word_place.py:base --workdir=W --config.data.input_file='text/*.txt'

Argument: base (the default), Chinese BERT-base with whole words masked, whose words jieba finds (pip install -e '.[chinese]'); or
tiny, the quickstart with this feature, on two cores within minutes.
Hardware: as configs/bert.py.
Expected: no published figure; the labels are those of "Softword" (Zhao and Kit 2008; Ma et al. 2020, arXiv 1908.05969, section
3.1), where taggers for Chinese read them. A masked piece keeps its label: the mask tells how long its word is.

What follows from the piece, as its pinyin, its glyph or a vector of knowledge, comes from a file; a config of one's own sets

    config.model.features = ConfigDict({"pinyin": {"kind": "ids", "size": 1500, "file": "pinyin.tsv"}})
    config.model.features = ConfigDict({"known": {"kind": "vector", "size": 100, "file": "known.txt"}})

with lines of a piece, a tab and a number below size, or of a piece and its vector as word2vec and GloVe write it. All these
features may stand in one section, beside word_place. The parameters keep what the files say (bert_jax/models/features.py).
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict


def get_config(arg=None):
    row = arg or "base"
    if row not in ROWS:
        raise ValueError(f"{arg!r} is none of {', '.join(ROWS)}")
    file, argument = ROWS[row]
    config = runpy.run_path(str(Path(__file__).with_name(file)))["get_config"](argument)
    # kind ids: rows of a table, so many, of its own or of the table named; hidden: not shown where a mask hides the piece
    config.model.features = ConfigDict({"word_place": {"kind": "ids", "size": 5, "table": "", "hidden": False}})
    return config


ROWS = {"base": ("bert.py", "base-chinese-wwm"), "tiny": ("quickstart.py", None)}
