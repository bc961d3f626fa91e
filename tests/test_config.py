import sys

import pytest

from bert_jax import config as configs
from bert_jax.errors import UserError

SOURCE = """
from ml_collections import ConfigDict
def get_config(arg=None):
    if arg not in (None, "big"):
        raise ValueError(f"{arg} is not a size")
    model = {"width": 8 if arg else 4, "sizes": (1, 2)}
    return ConfigDict({"seed": 0, "optim": {"learning_rate": 1e-3, "clip": True}, "model": model, "name": "x"})
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "c.py"
    path.write_text(SOURCE)
    return path


def test_overrides_keep_the_type_of_the_default(file):
    overrides = [
        "--config.optim.learning_rate=1",
        "--config.optim.clip=false",
        "--config.model.sizes=(3,4,5)",
        "--config.name=7",
        "seed=3",
    ]
    config = configs.load(f"{file}:big", overrides)
    assert config.to_dict() == {
        "seed": 3,
        "optim": {"learning_rate": 1.0, "clip": False},
        "model": {"width": 8, "sizes": (3, 4, 5)},
        "name": "7",
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.optim.learning_rte=1", "optim.learning_rate"),
        ("--config.learning_rate=1", "optim.learning_rate"),
        ("--config.model.width=wide", "expected: int"),
        ("--config.model.width=2.5", "expected: int"),
        ("--config.seed=True", "expected: int"),
        ("--config.model=4", "no key 'model'"),
        ("--config.seed", "has no value"),
    ],
)
def test_a_wrong_override_says_what_would_be_right(file, override, message):
    with pytest.raises(UserError) as error:
        configs.load(str(file), [override])
    assert message in str(error.value)


def test_a_missing_file_and_a_wrong_argument_are_the_users_errors(file, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        configs.load(str(tmp_path / "absent.py"))
    with pytest.raises(UserError, match="huge is not a size"):
        configs.load(f"{file}:huge")


def test_a_config_file_leaves_nothing_behind_in_the_interpreter(file):
    configs.load(str(file))
    assert "bert_jax_config_file" not in sys.modules


def test_difference_names_each_changed_leaf():
    before, after = {"a": {"b": 1, "c": 2}, "gone": 0}, {"a": {"b": 1, "c": 3}, "new": 4}
    assert configs.difference(before, after) == [("a.c", 2, 3), ("gone", 0, None), ("new", None, 4)]


def test_recorder_knows_the_keys_that_nobody_read(file):
    recorder = configs.Recorder(configs.load(str(file)))
    assert dict(**recorder.model) == {"width": 4, "sizes": (1, 2)} and recorder.optim.clip
    assert recorder.never_read() == ["name", "optim.learning_rate", "seed"]


def test_json_is_replaced_whole(tmp_path):
    configs.write_json(tmp_path / "a.json", {"b": 1})
    with pytest.raises(TypeError):
        configs.write_json(tmp_path / "a.json", {"b": object()})
    assert (tmp_path / "a.json").read_text() == '{\n  "b": 1\n}\n'


def test_a_run_of_an_earlier_version_is_the_same_run_and_has_the_same_name():
    now = {"seed": 1, "data": {"store": "", "drop_duplicates": False}, "model": {"matmul_dtype": "auto"}}
    then = {"seed": 1, "data": {"store": ""}, "model": {"matmul_dtype": "auto"}}
    assert configs.difference(then, now) == [] == configs.difference(now, then)
    assert configs.without_later(now) == then == configs.without_later(then)
    changed = now | {"data": {"store": "", "drop_duplicates": True}}
    assert configs.difference(then, changed) == [("data.drop_duplicates", False, True)]
    assert configs.without_later(changed) == changed
