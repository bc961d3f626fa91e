"""The tokeniser files of Hugging Face directories: read into a vocabulary of ours, and written."""

from pathlib import Path
from typing import NamedTuple

from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as RustTokenizer

from bert_jax.config import write_json
from bert_jax.errors import UserError
from bert_jax.interop import text_rules
from bert_jax.interop.huggingface import read_json
from bert_jax.text import byte_level, kinds, wordpiece
from bert_jax.text.files import read_vocabulary, write_vocabulary
from bert_jax.text.sentence_piece import MODEL_TYPES, QUOTES, WORD_MARK, SentencePiece
from bert_jax.text.tokenizer import Tokenizer

MODEL, SETTINGS = "tokenizer.json", "tokenizer_config.json"
MAX_CHARS_PER_WORD = 100  # of transformers and the library under it, where no file says it; 200 in the code of google-research
LOWER_BY_DEFAULT = {"wordpiece": True, "unigram": True, "bpe": True, "bytelevel": False}  # of transformers' classes
# What a tokenizer_config.json may say and ours does in any case; strip_accents apart, which goes with lower case.
VALUES = {"tokenize_chinese_chars": True, "keep_accents": False, "add_prefix_space": False}


class Read(NamedTuple):
    kind: str  # of text.kinds
    tokenizer: Tokenizer


def read(source: Path, folder: Path, *, guess_case: bool = False) -> Read:
    """Puts the vocabulary of a Hugging Face directory into `folder`, under the name of a learned one, and opens it.

    Looked for are vocab.txt; byte-level BPE in tokenizer.json, whose rules no vocab.json has; vocab.json with merges.txt; a
    SentencePiece model under any name that ends in .model; and last WordPiece in tokenizer.json.

    Args:
        guess_case: where no file says whether text is lower-cased, it is when the pieces are.

    Raises:
        UserError: there is none of them, it is damaged, or its rules are none of ours.
    """
    described = read_json(source / MODEL) if (source / MODEL).exists() else {}
    if (source / "vocab.txt").exists():
        kind = "wordpiece"
        if described:
            text_rules.read(source / MODEL, described, kind)
        wordpiece.save_vocab(wordpiece.read_pieces(source / "vocab.txt"), folder / "vocab.txt", _longest_word(source, described))
    elif _kind_of_pieces(described) == "bytelevel":
        kind = _write_pieces(source / MODEL, described, folder)
    elif (source / "vocab.json").exists():
        kind = "bytelevel"
        for name in ("merges.txt", "vocab.json"):
            write_vocabulary(folder / name, read_vocabulary(source / name))
    elif model := next(iter(sorted(source.glob("*.model"))), None):
        kind = _type_of(model)
        write_vocabulary(folder / "spiece.model", read_vocabulary(model))
    elif described:
        kind = _write_pieces(source / MODEL, described, folder)
    else:
        expected = "vocab.txt, vocab.json with merges.txt, a .model of SentencePiece, or tokenizer.json"
        raise UserError("there is no vocabulary", got=source, expected=expected)
    file = folder / kinds.kind_of(kind).file_name
    lower = LOWER_BY_DEFAULT[kind] and not (guess_case and kind == "wordpiece" and _has_capitals(file))
    return Read(kind, kinds.load(kind, file, _do_lower_case(source, described, kind, lower)))


def _type_of(path: Path) -> str:
    model = sentencepiece_model_pb2.ModelProto()
    try:
        model.ParseFromString(read_vocabulary(path))
    except DecodeError:  # of which kinds.load tells
        return "unigram"
    return next((name for name, number in MODEL_TYPES.items() if number == model.trainer_spec.model_type), "unigram")


def _kind_of_pieces(described: dict) -> str | None:
    """What a tokenizer.json holds the pieces of, if we have such a kind. The first such files leave out the type of the model."""
    model = described.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        return None
    of_bytes = "bytelevel" if "ByteLevel" in str(described.get("pre_tokenizer")) else None
    return {"WordPiece": "wordpiece", "BPE": of_bytes}.get(model.get("type", "BPE" if "merges" in model else "WordPiece"))


def _write_pieces(path: Path, described: dict, folder: Path) -> str:
    """The pieces that tokenizer.json holds, as the files they came from, and its rules."""
    model, kind = described.get("model"), _kind_of_pieces(described)
    if kind is None:
        expected = "WordPiece or byte-level BPE; for SentencePiece its spiece.model"
        got = model.get("type") if isinstance(model, dict) else model
        raise UserError(f"{path} describes a tokeniser of another kind", got=got, expected=expected)
    try:
        number_of = model["vocab"] | {added["content"]: added["id"] for added in described.get("added_tokens", [])}
        pieces = sorted(number_of, key=number_of.get)
        merges = [merge.split(" ") if isinstance(merge, str) else list(map(str, merge)) for merge in model.get("merges", [])]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is no description of a tokeniser", got=error) from None
    if [number_of[piece] for piece in pieces] != list(range(len(pieces))):
        raise UserError(f"{path} does not number its pieces from 0 on, each once", got=f"{len(pieces)} pieces")
    rules = text_rules.read(path, described, kind)
    if kind == "wordpiece":
        wordpiece.save_vocab(pieces, folder / "vocab.txt", _longest_word(path.parent, described))
    else:
        byte_level.save(pieces, merges, folder / "vocab.json", rules)
    return kind


def _longest_word(source: Path, described: dict) -> int:
    """As tokenizer.json says; else as transformers reads a vocabulary that comes without one."""
    limit = described.get("model", {}).get("max_input_chars_per_word", MAX_CHARS_PER_WORD)
    if type(limit) is not int or limit < 1:
        what = f"{source / MODEL}: max_input_chars_per_word of its model is not one that is supported here"
        raise UserError(what, got=limit, expected="a whole number from 1 on")
    return limit


def _has_capitals(file: Path) -> bool:
    """More than a few: the lower-case Chinese vocabulary has two pieces with capitals."""
    pieces = [piece for piece in wordpiece.load(file, do_lower_case=True).pieces if not piece.startswith("[")]
    return sum(piece != piece.lower() for piece in pieces) > len(pieces) / 100


def _do_lower_case(source: Path, described: dict, kind: str, default: bool) -> bool:
    """As tokenizer_config.json says; else as tokenizer.json does; else the default."""
    settings = read_json(source / SETTINGS) if (source / SETTINGS).exists() else {}
    normalizer = str(described.get("normalizer"))
    in_model = "'lowercase': True" in normalizer or "'Lowercase'" in normalizer
    lower = settings.get("do_lower_case", in_model if described else default)
    values = VALUES if kind != "unigram" else {key: value for key, value in VALUES.items() if key != "add_prefix_space"}
    for key, wanted in (values | {"strip_accents": lower}).items():
        if settings.get(key) not in (None, wanted):
            raise UserError(f"{source / SETTINGS}: {key} is not one that is supported here", got=settings[key], expected=wanted)
    return bool(lower)


def write(folder: Path, tokenizer: Tokenizer, *, longest_row: int, segments: bool) -> None:
    """Writes tokenizer.json, tokenizer_config.json and the vocabulary by itself, if it can do without rules of its own.

    tokenizer.json gives the numbers of ours: with it AutoTokenizer reads the rules that are written there; a class asked for by
    name, such as BertTokenizer, takes the vocabulary and rules of its own, by which a word of more than 100 characters is [UNK]
    whatever tokenizer.json says.

    Raises:
        UserError: a SentencePiece model of type BPE, which transformers has no class for.
    """
    special, kind = tokenizer.special, tokenizer.settings["kind"]
    rust = WRITERS[kind](folder, tokenizer)
    # The blank before a mask is part of its word, but for WordPiece, where none is part of anything.
    rust.add_special_tokens([AddedToken(piece, lstrip=piece == special.mask and kind != "wordpiece") for piece in special])
    after = int(segments)
    rust.post_processor = processors.TemplateProcessing(
        single=f"{special.cls}:0 $A:0 {special.sep}:0",
        pair=f"{special.cls}:0 $A:0 {special.sep}:0 $B:{after} {special.sep}:{after}",
        special_tokens=[(special.cls, tokenizer.cls_id), (special.sep, tokenizer.sep_id)],
    )
    rust.save(str(folder / MODEL))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "do_lower_case": tokenizer.do_lower_case,
        "model_max_length": longest_row,
        "model_input_names": ["input_ids", *(["token_type_ids"] if segments else []), "attention_mask"],
        **{f"{name}_token": piece for name, piece in special._asdict().items()},
    }
    write_json(folder / SETTINGS, settings)


def _write_wordpiece(folder: Path, tokenizer: Tokenizer) -> RustTokenizer:
    wordpiece.save_vocab(tokenizer.pieces, folder / "vocab.txt")  # the limit stands in tokenizer.json
    limit = tokenizer.max_chars_per_word
    rust = RustTokenizer(models.WordPiece(tokenizer.id_of, unk_token=tokenizer.special.unk, max_input_chars_per_word=limit))
    rust.normalizer = normalizers.BertNormalizer(lowercase=tokenizer.do_lower_case)
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.decoder = decoders.WordPiece()
    return rust


def _write_byte_level(folder: Path, tokenizer: byte_level.ByteLevel) -> RustTokenizer:
    if tokenizer.rules == byte_level.PLAIN:  # else vocab.json would be read without its rules; ModernBERT comes without one
        byte_level.save(tokenizer.pieces, tokenizer.merges, folder / "vocab.json")
    rust = RustTokenizer(models.BPE(vocab=tokenizer.id_of, merges=list(tokenizer.merges)))
    if tokenizer.do_lower_case:
        rust.normalizer = normalizers.Lowercase()
    elif tokenizer.rules.nfc:
        rust.normalizer = normalizers.NFC()
    rust.add_tokens([AddedToken(literal, normalized=True) for literal in tokenizer.rules.literals])
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    return rust


def _write_sentence_piece(folder: Path, tokenizer: SentencePiece) -> RustTokenizer:
    model = sentencepiece_model_pb2.ModelProto.FromString(tokenizer.model)
    if model.trainer_spec.model_type != MODEL_TYPES["unigram"]:
        raise UserError("transformers has no class for this type of SentencePiece model", got="bpe", expected="text.kind=unigram")
    write_vocabulary(folder / "spiece.model", tokenizer.model)
    scores = [(piece.piece, piece.score) for piece in model.pieces]
    rust = RustTokenizer(models.Unigram(scores, unk_id=tokenizer.unk_id, byte_fallback=False))
    rules = tokenizer.rules
    steps = [normalizers.Replace(quotes, '"') for quotes in QUOTES if rules.released]
    if rules.released or rules.do_lower_case:
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if rules.do_lower_case:
        steps.append(normalizers.Lowercase())
    if model.normalizer_spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap))
    rust.normalizer = normalizers.Sequence(steps)
    rust.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(WORD_MARK)])
    rust.decoder = decoders.Metaspace(WORD_MARK)
    return rust


WRITERS = {"wordpiece": _write_wordpiece, "bytelevel": _write_byte_level, "sentencepiece": _write_sentence_piece}
