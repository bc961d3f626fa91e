"""Published vocabularies against code that nobody here wrote."""

import unicodedata

import pytest
import sentencepiece

from bert_jax.text import kinds
from tests.paths import DATA, needs_data
from tests.text import hostile

VOCAB = DATA / "vocab"
ALBERT_MODEL = VOCAB / "albert-30k-clean-nonofficial.model"
XLNET_MODEL = VOCAB / "xlnet-base-cased-spiece.model"
USER_DEFINED = dict.fromkeys(map(ord, "().-\u2013\u00a3\u20ac\"'`"), " ")
published = pytest.mark.parametrize("path, do_lower_case", [(ALBERT_MODEL, True), (XLNET_MODEL, False)], ids=["albert", "xlnet"])

pytestmark = needs_data


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    folder = tmp_path_factory.mktemp("roberta")
    for name in ("vocab.json", "merges.txt"):
        (folder / name).write_bytes((VOCAB / f"roberta-base-{name}").read_bytes())
    return kinds.load("bytelevel", folder / "vocab.json", do_lower_case=False)


def test_wordpiece_is_the_python_tokenizer_of_transformers():
    """Its rules but for three: it also drops private-use and unassigned characters, composes text, and stops words at 100."""
    legacy = pytest.importorskip("transformers.models.bert.tokenization_bert_legacy")
    texts = hostile.natural(300) + hostile.strings(1000)
    texts = [text for text in texts if unicodedata.is_normalized("NFC", text) and hostile.known_to_every_unicode(text)]
    texts = [text for text in texts if not any(unicodedata.category(c) == "Co" for c in text)]
    assert len(texts) > 1700
    for name, lower in (("uncased", True), ("multilingual-cased", False)):
        ours = kinds.load("wordpiece", VOCAB / f"bert-base-{name}-vocab.txt", lower)
        words = legacy.BasicTokenizer(do_lower_case=lower).tokenize
        cut = legacy.WordpieceTokenizer(ours.id_of, "[UNK]", max_input_chars_per_word=200).tokenize
        for text, ids in zip(texts, ours.encode(texts), strict=True):
            assert ours.pieces_of(ids) == [piece for word in words(text) for piece in cut(word)], ascii(text)


def test_stores_of_before_there_were_rules_keep_their_vocabulary(roberta):
    assert roberta.content_hash == "1be44195d0e0fde814e8bb6909e0146f0d68e415eba10692d7a985b688154d3f"


def test_byte_level_is_roberta_of_transformers(roberta):
    transformers = pytest.importorskip("transformers")
    peer = transformers.RobertaTokenizer(
        vocab=str(VOCAB / "roberta-base-vocab.json"), merges=str(VOCAB / "roberta-base-merges.txt")
    )
    names = ("pad_token_id", "unk_token_id", "cls_token_id", "sep_token_id", "mask_token_id")
    assert [roberta.id_of[piece] for piece in roberta.special] == [getattr(peer, name) for name in names]
    peer.backend_tokenizer.encode_special_tokens = True  # "<s>" in a text is text
    texts = [text for text in hostile.natural(200) + hostile.strings(1000) if not any("\ud800" <= c < "\ue000" for c in text)]
    theirs = [encoding.ids for encoding in peer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)]
    assert roberta.encode(texts) == theirs


@published
def test_sentencepiece_is_the_library_on_prepared_text(path, do_lower_case):
    """preprocess_text of the released code, and EncodeAsIds of the untouched model."""
    ours, library = kinds.load("unigram", path, do_lower_case), sentencepiece.SentencePieceProcessor(model_file=str(path))
    texts = [text for text in hostile.natural(200) + hostile.strings(1000) if not any("\ud800" <= c < "\ue000" for c in text)]
    for text, ids in zip(texts, ours.encode(texts), strict=True):
        prepared = " ".join(text.strip().split()).replace("``", '"').replace("''", '"')
        prepared = "".join(c for c in unicodedata.normalize("NFKD", prepared) if not unicodedata.combining(c))
        assert ids == library.EncodeAsIds(prepared.lower() if do_lower_case else prepared), ascii(text)


def test_xlnet_is_that_of_transformers_where_no_user_defined_symbol_stands(tmp_path):
    """transformers 5 cuts a text at such a symbol and starts a new word behind it, which the library does not."""
    transformers = pytest.importorskip("transformers")
    (tmp_path / "spiece.model").write_bytes(XLNET_MODEL.read_bytes())
    peer = transformers.XLNetTokenizer.from_pretrained(tmp_path)
    ours = kinds.load("unigram", XLNET_MODEL, do_lower_case=False)
    texts = [text.translate(USER_DEFINED) for text in hostile.natural(300)]
    theirs = [encoding.ids for encoding in peer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)]
    assert ours.encode(texts) == theirs
    assert [ours.cls_id, ours.sep_id, ours.mask_id] == [peer.cls_token_id, peer.sep_token_id, peer.mask_token_id]


@published
def test_published_models_keep_their_own_special_pieces(path, do_lower_case):
    ours = kinds.load("unigram", path, do_lower_case)
    for ids in ours.encode([*ours.special, "a [MASK] b", "<mask><s>", "[CLS]"]):
        assert {ours.pad_id, ours.cls_id, ours.sep_id, ours.mask_id}.isdisjoint(ids)


def test_a_special_piece_that_a_model_matches_in_text_is_disarmed(tmp_path):
    model = sentencepiece.sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(ALBERT_MODEL.read_bytes())
    mask = next(piece for piece in model.pieces if piece.piece == "[MASK]")
    mask.type = model.SentencePiece.USER_DEFINED
    (tmp_path / "m.model").write_bytes(model.SerializeToString())
    library = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    ours = kinds.load("unigram", tmp_path / "m.model", do_lower_case=False)
    assert 4 in library.EncodeAsIds("a [MASK]") and ours.mask_id == 4
    assert 4 not in ours.encode(["a [MASK]"])[0]
