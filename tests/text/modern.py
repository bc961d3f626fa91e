"""A small tokenizer.json of the form that ModernBERT was released with, made by the library."""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

LITERALS = (  # in the order of their numbers, which is not that of the file
    "|||IP_ADDRESS|||",
    *(" " * length for length in range(24, 1, -1)),
    "|||EMAIL_ADDRESS|||",
    "|||PHONE_NUMBER|||",
    "[unused0]",
    "[unused1]",
)
SPECIAL = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")
NEVER_SEEN = {chr(byte) for byte in (0xC0, 0xC1, *range(0xF5, 0x100))}  # UTF-8 has no such bytes, the vocabulary no such pieces


def described(texts: Iterable[str], vocab_size: int = 400) -> dict:
    """What the file holds. `vocab_size` counts the pieces that are learned."""
    bytes_alone = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = bytes_alone
    alphabet = sorted(set(bytes_alone.alphabet()) - NEVER_SEEN)
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    learner.train_from_iterator(texts, trainer)
    model = json.loads(learner.to_str())["model"]
    first, rest = [LITERALS[0], "<|padding|>"], [*LITERALS[1:-2], "<|endoftext|>", *SPECIAL, *LITERALS[-2:]]
    learned = sorted(model["vocab"], key=model["vocab"].get)
    number_of = {piece: number for number, piece in enumerate([*first, *learned, *rest])}
    model["vocab"] = {piece: number_of[piece] for piece in (*first, *learned)}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    around = {name: {"SpecialToken": {"id": name, "type_id": 0}} for name in ("[CLS]", "[SEP]")}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "version": "1.0",
        "added_tokens": [added(piece, number_of[piece]) for piece in (*first, *rest)],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [around["[CLS]"], text, around["[SEP]"]],
            "pair": [around["[CLS]"], text, around["[SEP]"]],
            "special_tokens": {name: {"id": name, "ids": [number_of[name]], "tokens": [name]} for name in around},
        },
        "decoder": byte_level,
        "model": model,
    }


def added(piece: str, number: int) -> dict:
    special = piece not in LITERALS
    options = {"single_word": False, "lstrip": piece == "[MASK]", "rstrip": False, "normalized": not special, "special": special}
    return {"id": number, "content": piece, **options}


def write(folder: Path, texts: Iterable[str]) -> dict:
    """The files of the release that tell of pieces; what its config.json says of them."""
    found = described(texts)
    (folder / "tokenizer.json").write_text(json.dumps(found), encoding="utf-8")
    settings = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "cls", "sep", "pad", "mask")}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"} | settings))
    number_of = {token["content"]: token["id"] for token in found["added_tokens"]}
    named = {"pad": "[PAD]", "bos": "[CLS]", "cls": "[CLS]", "eos": "[SEP]", "sep": "[SEP]"}
    return {"vocab_size": 1 + max(number_of.values())} | {f"{name}_token_id": number_of[piece] for name, piece in named.items()}
