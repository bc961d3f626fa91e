"""BERT for a domain, of biomedicine, science or finance as published, or one's own: from nothing, or going on from another run.

    python -m bert_jax train --config=configs/domain.py:biobert --workdir=W --config.init_checkpoint=P --config.data.input_file=F

Argument, with where it starts, P being the workdir of a run or of a model that `convert` brought in:
    pubmedbert        from nothing, whole words masked, batches of 8,192 rows
    scibert           from nothing, lengths 128 and 512, each with a warm-up and a rate of its own
    finbert-finvocab  from nothing, with a vocabulary of its domain
    finbert           from BERT-base, uncased (`FinBERT-BaseVocab`)
    biobert           from BERT-base, cased (version 1.1), the default
    tiny              from a run of configs/quickstart.py: twice its positions, 1,000 steps, on two cores within minutes
Those that start from P keep its vocabulary. None of these models extended it: --config.text.new_words=words.txt does.
The rate warms up again from 0, and Adam's moments begin anew. google-research/bert (README.md) advises a rate of 2e-5 to go on
from a checkpoint.
Hardware of the papers: pubmedbert one DGX-2 for 5 days; finbert 4 P100 for 2 days; biobert 8 V100 for 23 days.
Expected after fine-tuning: finbert 0.870 and finbert-finvocab 0.872 accuracy on Financial PhraseBank, BERT 0.835 (table 2);
pubmedbert BLURB 81.16, BERT 76.11 (table 6); biobert 89.71 entity F1 on NCBI-disease, BERT 85.63 (table 6). Not yet run here at
that scale. Run here: tiny on 8,000 film reviews (IMDB), with the 500 commonest words that the quickstart cut up as new words:
held-out masked-LM loss 4.82 nats a piece, from nothing with the same pieces and steps 6.07, by frequency 6.45.
Sources of the recipes: Yang et al. 2020 (FinBERT, arXiv 2006.08097), section 4; SciBERT (arXiv 1903.10676) by the commands of its
released code, allenai/scibert scripts/cheatsheet.txt, and bert_config/s2vocab_uncased.json; Gu et al. 2020 (PubMedBERT, arXiv
2007.15779), section 2; Lee et al. 2019 (BioBERT, arXiv 1901.08746), section 3. The texts of the last two could not be read again;
what else says it is named here, and the rest is cited from memory, to be checked before printing:
    biobert     start, vocabulary and steps: README.md of dmis-lab/biobert; batch, length, and that all else is as in BERT:
                scripts/README.md of sy-wada/blue_benchmark_with_transformers, from the paper. From memory: hardware, figures
    pubmedbert  vocabulary and positions: config.json of models made from the released one. From memory: batch, steps, rate,
                warm-up, hardware, figures; for its BLURB README.md of michiyasunaga/LinkBERT has 81.10. Assumed: length 512
What a source does not say is as in BERT: masks, warm-ups and the share of length 512 of both finberts. SciBERT trained its second
length as a run of its own, with moments of its own.
"""

import runpy
from pathlib import Path

UNCASED, CASED = (30522, True), (28996, False)  # pieces; whether text is lower-cased
PREDICTIONS = {128: 20, 512: 77}


def get_config(arg=None):
    row = arg or "biobert"
    if row not in ROWS:
        raise ValueError(f"{arg!r} is none of {', '.join(ROWS)}")
    return ROWS[row]()


def _load(name: str) -> dict:
    return runpy.run_path(str(Path(__file__).with_name(name)))


def base(vocabulary: tuple[int, bool], *, length: int, rows: int, steps: int, rate: float, warmup: int):
    """BERT-base on rows of one length."""
    config = _load("bert.py")["published"](12, 768, *vocabulary)
    config.data.max_seq_length = length
    config.data.max_predictions_per_seq = PREDICTIONS[length]
    config.data.later_phases = ()
    config.optim.learning_rate = rate
    config.optim.num_warmup_steps = warmup
    config.train.train_batch_size = rows
    config.train.num_train_steps = steps
    return config


def pubmedbert():
    config = base(UNCASED, length=512, rows=8192, steps=62_500, rate=6e-4, warmup=6250)
    config.data.mask_unit = "whole_word"
    config.optim.schedule = "linear"
    return config


def scibert():
    steps = (500_000, 800_000)
    config = base((31_090, True), length=128, rows=256, steps=sum(steps), rate=1e-4, warmup=1000)
    first = steps[0] / sum(steps)
    config.data.later_phases = ((first, 512, 75, 64),)
    config.optim.schedule = "linear_twice"
    config.optim.second_begins = first  # share of the steps before it, as of the second phase
    config.optim.second_learning_rate = 1e-5
    config.optim.second_num_warmup_steps = 100
    return config


def finbert(vocabulary: tuple[int, bool] = UNCASED, steps: int = 250_000, rate: float = 2e-5):
    config = base(vocabulary, length=128, rows=128, steps=steps, rate=rate, warmup=10_000)
    config.data.later_phases = ((0.9, 512, PREDICTIONS[512], 128),)
    return config


def biobert():
    return base(CASED, length=512, rows=192, steps=1_000_000, rate=1e-4, warmup=10_000)


def tiny():
    config = _load("quickstart.py")["get_config"]()
    config.data.max_seq_length = 64
    config.data.max_predictions_per_seq = 10
    config.model.max_position_embeddings = 64
    config.optim.learning_rate = 3e-4
    config.optim.num_warmup_steps = 100
    config.train.num_train_steps = 1000
    config.train.eval_every_steps = 250
    return config


ROWS = {
    "pubmedbert": pubmedbert,
    "scibert": scibert,
    "finbert": finbert,
    "finbert-finvocab": lambda: finbert((30_873, True), steps=1_000_000, rate=1e-4),
    "biobert": biobert,
    "tiny": tiny,
}
