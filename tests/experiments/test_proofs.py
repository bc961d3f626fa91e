"""What proofs say of what they saw; and of a mistake in their call."""

from bert_jax.errors import EXIT_USER_ERROR
from experiments import acceptance
from experiments.proofs.serving import Reply, recovered


def test_a_proof_that_does_not_exist_is_one_message(capsys):
    assert acceptance.main(["nothing"]) == EXIT_USER_ERROR
    said = capsys.readouterr()
    assert said.err.startswith("error: no proof is called so") and "nothing" in said.err and said.out == ""


def replies(*seconds: list[tuple[int, float]]) -> list[Reply]:
    """From (status, lateness) of those asked in each second."""
    return [
        Reply(status, 100.0 + second + place / 10, late, None)
        for second, asked in enumerate(seconds)
        for place, (status, late) in enumerate(asked)
    ]


def test_it_has_recovered_when_none_is_refused_any_more_and_no_more_than_half_of_a_second_are_late():
    good, late, refused = (200, 0.1), (200, 0.5), (429, 0.0)
    assert recovered(replies([good, late], [good]), 0.2) == 0
    assert recovered(replies([good], [late, late, good], [good]), 0.2) == 2
    assert recovered(replies([refused, good, good], [good]), 0.2) == 1
    assert recovered(replies([good], [good], [late]), 0.2) == 3
