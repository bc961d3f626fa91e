"""A slice of a table at desk scale, trained for real: one row, one column, one seed, few steps."""

from experiments import __main__ as experiments
from experiments import reproduce
from tests import tiny
from tests.paths import DATA, needs_data

SMALL = {
    "text.vocab_size": 200,
    "data.num_eval_rows": 32,
    "model.hidden_size": 16,
    "model.intermediate_size": 32,
    "train.num_train_steps": 4,
}


@needs_data
def test_from_text_to_the_table_and_again_without_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BERT_JAX_DATA", str(DATA))
    whole = reproduce.TABLES["bert/table5"]
    scale = whole.scales["desk"]
    scale = scale._replace(
        pretraining=scale.pretraining | SMALL,
        finetuning=scale.finetuning | {"data.max_train_examples": 64, "train.num_train_epochs": 1.0},
        columns={"mnli_m": scale.columns["mnli_m"]},
        seeds=(1,),
    )
    row, encoder = "LTR & No NSP + BiLSTM", "LTR & No NSP"
    table = whole._replace(
        rows={row: whole.rows[row]}, encoders={encoder: whole.encoders[encoder]}, claims=(), scales={"desk": scale}
    )
    monkeypatch.setitem(reproduce.TABLES, table.name, table)
    text = tiny.write_corpus(tmp_path / "text.txt")
    command = ["reproduce", table.name, "--scale=desk", f"--workdir={tmp_path / 'W'}", f"--text={text}"]
    assert experiments.main(command) == 0
    first = capsys.readouterr().out
    (ours,) = [line for line in first.splitlines() if [cell.strip() for cell in line.split("|")[1:3]] == [row, "ours"]]
    assert "(1)" in ours and "not run" not in ours
    assert "mnli_m (SICK)" in first and "sick: 4,927 examples" in first and "56.7" in first  # 2,793 of them neutral
    assert experiments.main(command) == 0
    again = capsys.readouterr().out
    assert again.count("finished before") == 2 and again[again.index("# bert") :] == first[first.index("# bert") :]
