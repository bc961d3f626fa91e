from bert_jax.text.counting import Sample, count_words


def test_words_are_counted_exactly_while_the_table_has_room():
    table = count_words(["a b a", "b a"], str.split, max_words=2)
    assert table.counts == {"a": 3, "b": 2} and table.forgotten == 0


def test_at_the_cap_the_rarest_words_are_forgotten_until_half_the_table_is_free():
    table = count_words(["a a a b b b c c d d e", "f a"], str.split, max_words=4)
    # Five words after the first text: e (1) goes, then c and d (2 each); a and b are the half that stays.
    assert table.counts == {"a": 4, "b": 3, "f": 1} and table.forgotten == 5


def test_a_forgotten_word_is_counted_anew():
    table = count_words(["a a x z", "b b y", "x x x"], str.split, max_words=4)
    assert table.counts == {"a": 2, "b": 2, "x": 3} and table.forgotten == 3


def test_a_sample_is_spread_evenly_and_bounded():
    sample = Sample(max_chars=10)
    assert list(sample.watch(f"{n:02d}" for n in range(64))) == [f"{n:02d}" for n in range(64)]
    assert sample.texts == ["00", "16", "32", "48"]


def test_one_long_text_is_cut_to_the_sample():
    sample = Sample(max_chars=10)
    list(sample.watch(["x" * 50]))
    assert sample.texts == ["x" * 10]
