"""Chinese BERT with whole words hidden as one, beside one whose characters are hidden one by one. Words are jieba's, in the paper
LTP's."""

from experiments import scales
from experiments.scales import TINY_MASKS
from experiments.tables import Claim, Column, Config, Encoder, Row, Score, Table

CHARACTERS, WORDS = "BERT", "BERT-wwm"
SEGMENTED = {"data.segmenter": "jieba"}  # for both: one token store
CHNSENTICORP = Column((Score("finetune_texts.py:chnsenticorp"),))
LCQMC = Column((Score("finetune_texts.py:lcqmc"),))
RESUME = Column((Score("finetune_ner.py:resume_zh", "f1"),), "Resume NER")


def _cmrc(config: str, stand_in: str = "") -> dict[str, Column]:
    name = f"finetune_squad.py:{config}"
    return {"cmrc_em": Column((Score(name, "exact"),), stand_in), "cmrc_f1": Column((Score(name, "f1"),), stand_in)}


WHOLE_WORD = Table(
    name="chinese_bert_wwm/whole_word",
    encoders={
        CHARACTERS: Encoder(CHARACTERS, {"data.mask_unit": "token"}),
        WORDS: Encoder(CHARACTERS, {"data.mask_unit": "whole_word"}),
    },
    rows={CHARACTERS: Row(CHARACTERS), WORDS: Row(WORDS)},
    claims=(Claim(WORDS, CHARACTERS),),
    scales={
        "desk": scales.desk(
            {CHARACTERS: Config("bert.py:tiny-chinese", TINY_MASKS | SEGMENTED | {"text.vocab_size": 21128})},  # as published
            columns={"chnsenticorp": CHNSENTICORP, "cmrc_f1": RESUME},
            text="text/wiki_zh/*.xz",
        )._replace(
            about="2 x 128 encoders, 4,000 steps of 32 rows of 64 characters on Chinese Wikipedia; tasks: "
            "3 epochs at the one rate 5e-4",
        ),
        "lab": scales.lab(
            {CHARACTERS: Config("bert.py:base-chinese", SEGMENTED)},
            {"chnsenticorp": CHNSENTICORP} | _cmrc("cmrc2018_trial", "CMRC 2018: learned from dev, scored on trial"),
        ),
        "paper": scales.paper(
            {CHARACTERS: Config("bert.py:base-chinese", SEGMENTED)},
            _cmrc("cmrc2018") | {"chnsenticorp": CHNSENTICORP, "lcqmc": LCQMC},
            about="; BERT-wwm from the start, where the paper goes on from BERT",
            judges_values=False,
        ),
    },
)

TABLES = (WHOLE_WORD,)
