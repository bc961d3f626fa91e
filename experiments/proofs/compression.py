"""Models made smaller from the published MiniLM encoder, on SST-2 with three seeds: what the smaller ones lose, and gain."""

from pathlib import Path

from bert_jax.errors import UserError
from bert_jax.metrics.statistics import Summary
from experiments import compression as tradeoff

TASK, SCALE = "sst2", tradeoff.SCALES["desk"]
FOLDER = Path("runs/reproduce") / f"{tradeoff.NAME.replace('/', '-')}-desk"  # those of the table: what is there is not run again
PRUNED_LOSS, PRUNED_FASTER = 3.0, 1.6
INT8_LOSS, INT8_SIZE = 1.0, 0.3
STUDENT_KEEPS, STUDENT_FASTER = 0.95, 2.0
STUDENTS = ("student of 3 layers", "student of 2 layers")


def compression(scratch: Path, folder: Path = FOLDER, scale: tradeoff.Scale = SCALE) -> dict:
    """Points of accuracy are paired by seed; what is judged is their mean. Killed at any moment, the same command goes on."""
    if not tradeoff.train(scale._replace(tasks={TASK: scale.tasks[TASK]}), folder):
        raise UserError("a signal stopped the proof", fix="the same command goes on")
    rows = tradeoff.rows_of(TASK, scale, folder)
    return judged(rows) | {"rows": {name: row._asdict() for name, row in rows.items()}, "seeds": list(scale.seeds)}


def judged(rows: dict[str, tradeoff.Row]) -> dict:
    """What must hold of the rows, and whether it does."""
    full, pruned, int8 = (rows[name] for name in ("full", "pruned to 50%", "full, int8"))
    pruned_lost, int8_lost = (-tradeoff.less(rows, name, "full").mean for name in ("pruned to 50%", "full, int8"))
    size = int8.megabytes / full.megabytes
    students = {name: _student(rows, name) for name in STUDENTS}
    return {
        "pruned": {
            "points_lost": pruned_lost,
            "times_faster": pruned.faster,
            "less_random": _shown(tradeoff.less(rows, "pruned to 50%", "50% at random")),
            "holds": pruned_lost <= PRUNED_LOSS and pruned.faster >= PRUNED_FASTER,
        },
        "int8": {
            "points_lost": int8_lost,
            "part_of_the_size": size,
            "times_faster": int8.faster,
            "tuned_for_it_less_not": _shown(tradeoff.less(rows, "full, tuned for int8, int8", "full, int8")),
            "holds": int8_lost <= INT8_LOSS and size <= INT8_SIZE,
        },
        "students": students,
        "a_student_holds": any(student["holds"] for student in students.values()),
    }


def _student(rows: dict[str, tradeoff.Row], name: str) -> dict:
    kept = rows[name].summary.mean / rows["full"].summary.mean
    return {
        "part_of_the_accuracy": kept,
        "times_faster": rows[name].faster,
        "less_alone": _shown(tradeoff.less(rows, name, tradeoff.WITHOUT[name])),
        "holds": kept >= STUDENT_KEEPS and rows[name].faster >= STUDENT_FASTER,
    }


def _shown(difference: Summary) -> dict:
    return {"points": difference.mean, "low": difference.low, "high": difference.high}
