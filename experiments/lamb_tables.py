"""LAMB paper, table 1: as many rows in all, in batches of 512 to 32K. Without the row of AdamW and the one of 76 minutes, of
two sizes."""

from experiments import scales
from experiments.scales import SICK, SQUAD1, SST2, TINY_MASKS
from experiments.tables import Claim, Column, Config, Encoder, Row, Table

DESK_ROWS = {"512": 32, "1k": 64, "2k": 128, "4k": 256, "8k": 512, "16k": 1024, "32k": 2048}  # of a batch
DESK_TOTAL = 32 * 4000
LARGEST = {"rows": 2048, "rate": 1e-2}  # our choice; the others by the square root of the batch (section 4.3 and table 4)


def _desk(rows: int) -> Config:
    steps = DESK_TOTAL // rows
    changes = {
        "optim.name": "lamb",
        "optim.schedule": "linear",
        "optim.b2": 0.999,
        "optim.learning_rate": LARGEST["rate"] * (rows / LARGEST["rows"]) ** 0.5,
        "optim.num_warmup_steps": max(1, round(steps * rows / LARGEST["rows"] / 5)),  # by the batch, a fifth of the largest
        "train.train_batch_size": rows,
        "train.num_train_steps": steps,
        "train.eval_every_steps": steps,
        "train.save_every_steps": steps,
    }
    return Config("bert.py:tiny", TINY_MASKS | changes)


PUBLISHED = {name: Config(f"lamb.py:{name}") for name in DESK_ROWS}
TABLE1 = Table(
    name="lamb/table1",
    encoders={name: Encoder(name) for name in DESK_ROWS},
    rows={name: Row(name) for name in DESK_ROWS},
    claims=tuple(Claim(name, "512") for name in DESK_ROWS if name != "512"),
    scales={
        "desk": scales.desk(
            {name: _desk(rows) for name, rows in DESK_ROWS.items()},
            steps="by LAMB, its rate by the square root of the batch and 1e-2 for the largest, in batches of 32 for 512 to 2,048 "
            "for 32k, in all 128,000 rows",
            columns={"squad1_f1": Column((*SICK.scores, *SST2.scores), "mean of SICK and SST-2")},
        ),
        "paper": scales.paper(
            PUBLISHED,
            {"squad1_f1": SQUAD1},
            about="; rates and warm-ups of the later versions, the published numbers of the first",
            judges_values=False,
        ),
    },
)

TABLES = (TABLE1,)
