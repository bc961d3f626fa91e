import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.data.sentences import split


@pytest.mark.parametrize(
    "sentences",
    [
        ["It rained.", "Nobody came!", "Why?", "Who knows..."],
        ["Dr. Who met Mrs. Smith.", "They left."],
        ["J. S. Bach was born in 1685.", "He wrote the U.S. Army no march."],
        ["Pi is 3.14 or so.", "Version 1.2.3 came out."],
        ["See Fig. 2 and Eq. 5, e.g. No. 7.", "The rest is plain, i.e. Short."],
        ['He said "Stop."', "She did (at once.)", "“So it is.”", "They agreed."],
        ["Was it so?", '"Yes," he said.', "(It was.)"],
        ["It was World War I.", "The end was near."],
        ["It ended in 1990.", "Then came more."],
        ["1. First of all.", "2. Then the rest."],
        ["He stopped... and went on.", "She came at 5 p.m. on Monday."],
        ["今天下雨。", "没有人来！", "为什么？”", "他问。"],
        ["他说：“今天下雨。”", "然后走了；", "为什么？！", "因为……没有（真的。）", "价格是3.5元。", "《雨。》", "好"],
        ["忽念及女子．", "一一细考较去，觉其行止３．５倍．", "何我堂堂须眉"],
        ["Er kam am 3. Oktober an.", "Das war z. B. Berlin, d. h. ca. 50 Jahre im 19. Jahrhundert.", "Vgl. Nr. 5."],
        ["„Komm her!“, sagte er.", "„Nein.“", "Sie ging.", "»Ja.«", "»Nein!« rief Dr. Müller.", "„So?“"],
        ["— Hé !", "Mandine, viens.", "« Oui. »", "Il partit.", "« Non ! » dit-elle à M. Dupont.", "C'est J.-J. Rousseau ?"],
        ["One line", ],
    ],
)  # fmt: skip
def test_sentences_end_where_a_reader_would_end_them(sentences):
    blank = "" if sentences[0][-1] in "。．”" and sentences[0] != "“So it is.”" else " "
    assert split(blank.join(sentences)) == sentences


def test_blanks_alone_are_no_sentence():
    assert split("") == split(" \t ") == []


@given(st.text(alphabet="aA1 .!?…\"')(]“”„«»\u00a0。！；．雨\n", max_size=60))
def test_nothing_but_blanks_is_lost(text):
    assert "".join("".join(split(text)).split()) == "".join(text.split())


@pytest.mark.parametrize(
    "text",
    [
        "." * 300_000,
        ". " * 150_000,
        '."' * 150_000,
        "。" * 300_000,
        "雨．" * 150_000,
        ". »" * 100_000,
        "a. «" * 100_000,
        "a." + "(" * 300_000,
        " " * 300_000,
    ],
)
def test_hostile_paragraphs_take_linear_time(text):
    # With quadratic time each of these would run for hours: the test then fails by its time limit.
    assert "".join("".join(split(text)).split()) == "".join(text.split())
