"""The heavy proofs, run by hand; each writes its figures to experiments/benchmarks/results/.

make acceptance                                     all of them, one after another
python -m experiments.acceptance quickstart kills   some
python -m experiments.acceptance own_text           needs BERT_JAX_DATA
"""

import json
import sys
import tempfile
from pathlib import Path

from bert_jax.command import exit_code
from bert_jax.errors import EXIT_DONE, UserError
from experiments.benchmarks import measure
from experiments.proofs import (
    beam,
    compression,
    doctor,
    exports,
    family,
    finetuning,
    launch_tools,
    launching,
    learning,
    next_items,
    on_track,
    others,
    plans,
    robust,
    searching,
    serving,
    serving_fuzz,
    students,
    tasks,
)

PROOFS = {
    "quickstart": robust.quickstart,
    "kills": robust.kills,
    "many_kills": robust.many_kills,
    "injected_faults": robust.injected_faults,
    "own_text": robust.own_text,
    "slurm": launching.slurm,
    "local_processes": launching.local_processes,
    "sweep_kills": launching.sweep_kills,
    "launch_tools": launch_tools.launch_tools,
    "beam": beam.beam,
    "learning": learning.learning,
    "beside_torch": learning.beside_torch,
    "family": family.family,
    "on_track": on_track.on_track,
    "reference_runs": on_track.reference_runs,
    "next_items": next_items.next_items,
    "simcse": students.simcse,
    "distilled_student": students.distilled_student,
    "tokenisers": others.tokenisers,
    "minilm": others.minilm,
    "every_mode": others.every_mode,
    "plan_memory": plans.plan_memory,
    "plan_borders": plans.plan_borders,
    "plan_table": plans.plan_table,
    "tasks_same_steps": finetuning.tasks_same_steps,
    "tasks_same_answers": finetuning.tasks_same_answers,
    "tasks_seeds": finetuning.tasks_seeds,
    "exports": exports.exports,
    "search": searching.search,
    "compression": compression.compression,
    "serve_load": serving.serve_load,
    "serve_fuzz": serving_fuzz.serve_fuzz,
    "sst2": tasks.sst2,
    "conll2003": tasks.conll2003,
    "squad_dev_split": tasks.squad_dev_split,
    "chinese": tasks.chinese,
    "doctor_hosts": doctor.doctor_hosts,
    "doctor_corpus": doctor.doctor_corpus,
}


def main(names: list[str]) -> int:
    return exit_code(lambda: _prove(names))


def _prove(names: list[str]) -> int:
    unknown = [name for name in names if name not in PROOFS]
    if unknown:
        raise UserError("no proof is called so", got=unknown[0], expected=f"some of {', '.join(PROOFS)}")
    for name in names or PROOFS:
        with tempfile.TemporaryDirectory() as scratch:
            figures = PROOFS[name](Path(scratch))
        measure.write(name, figures)
        print(f"{name}: {json.dumps(figures, indent=2)}")
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
