"""What a tokenizer.json does to text before it is cut, and between what: ours does the same, or the file is refused."""

from itertools import chain
from pathlib import Path

from bert_jax.errors import UserError
from bert_jax.text.byte_level import LONGEST_LITERAL, NAMES, Rules

PARTS = {  # kind -> part -> the types in it that ours follows, one after the other
    "wordpiece": {"normalizer": [["BertNormalizer"]], "pre_tokenizer": [["BertPreTokenizer"]]},
    "bytelevel": {"normalizer": [[], ["NFC"], ["Lowercase"]], "pre_tokenizer": [["ByteLevel"]]},
}
# Type -> option -> the values with which it does what ours does; None where it may be left out. Other options change no piece.
OPTIONS = {
    "BertNormalizer": {"clean_text": [True], "handle_chinese_chars": [True]},
    "ByteLevel": {"add_prefix_space": [False], "use_regex": [True, None]},
}
MODEL_OPTIONS = {
    "wordpiece": {"continuing_subword_prefix": ["##", None]},
    "bytelevel": {
        "dropout": [None, 0],
        "continuing_subword_prefix": ["", None],
        "end_of_word_suffix": ["", None],
        "ignore_merges": [False, None],
    },
}
SPECIAL = frozenset(chain.from_iterable(NAMES))
AROUND = ("single_word", "lstrip", "rstrip")  # options of an added token: what must stand around it, what goes with it


def read(path: Path, described: dict, kind: str) -> Rules:
    """The rules of a tokenizer.json of WordPiece or byte-level BPE that are not those of every vocabulary of its kind.

    Added tokens that are special are no rule: transformers finds them in a text too, but to us a text that spells one is text.

    Raises:
        UserError: a rule that ours does not follow, by its name.
    """
    try:
        return _read(path, described, kind)
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no description of a tokeniser", got=error) from None


def _read(path: Path, described: dict, kind: str) -> Rules:
    steps = {part: _steps(described.get(part)) for part in PARTS[kind]}
    for part, followed in PARTS[kind].items():
        types = [step["type"] for step in steps[part]]
        if types not in followed:
            raise _refused(path, f"its {part}", _spelled(types), " or ".join(map(_spelled, followed)))
    _check(path, "its model", described["model"], MODEL_OPTIONS[kind])
    for step in (step for part in steps.values() for step in part):
        _check(path, step["type"], step, OPTIONS.get(step["type"], {}))
        if step["type"] == "BertNormalizer":  # accents go with case
            _check(path, step["type"], step, {"strip_accents": [None, step["lowercase"]]})
    types = [step["type"] for step in steps["normalizer"]]
    literals = _literals(path, described, changed=bool(types), kind=kind)
    if literals and "Lowercase" in types:
        raise _refused(path, "its normalizer", "Lowercase", "NFC or none, where added tokens are not special")
    return Rules("NFC" in types, literals)


def _steps(part: dict | None) -> list[dict]:
    """The steps of a normalizer or pre_tokenizer, which may be one, several in a sequence, or none."""
    if part is None:
        return []
    return part["normalizers" if "normalizers" in part else "pretokenizers"] if part["type"] == "Sequence" else [part]


def _literals(path: Path, described: dict, *, changed: bool, kind: str) -> tuple[str, ...]:
    """The added tokens that are not special, in the order of their numbers.

    Args:
        changed: whether a normalizer changes the text; it matters then whether they are looked for before or after.
    """
    added = sorted((token for token in described.get("added_tokens", []) if not token["special"]), key=lambda token: token["id"])
    for token in added:
        name = f"the added token {token['content']!r}"
        if kind == "wordpiece" or token["content"] in SPECIAL:
            raise _refused(path, name, "special: false", "special: true")
        if not token["content"].isascii():
            raise _refused(path, name, "characters that are not ASCII", "ASCII, in tokens that are not special")
        if len(token["content"]) > LONGEST_LITERAL:
            got = f"{len(token['content'])} characters"
            raise _refused(path, name, got, f"at most {LONGEST_LITERAL}, in tokens that are not special")
        _check(path, name, token, dict.fromkeys(AROUND, [False]))
        # Before or after is the same where no text is changed and all are looked for at the same time.
        _check(path, name, token, {"normalized": [True] if changed else [added[0]["normalized"]]})
    return tuple(token["content"] for token in added)


def _check(path: Path, name: str, described: dict, options: dict[str, list]) -> None:
    for option, followed in options.items():
        if described.get(option) not in followed:
            raise _refused(path, f"{option} of {name}", described.get(option), " or ".join(map(str, followed)))


def _spelled(types: list[str]) -> str:
    return " and ".join(types) or "none"


def _refused(path: Path, rule: str, got: object, expected: str) -> UserError:
    return UserError(f"{path}: {rule} is not one that is supported here", got=got, expected=expected)
