"""BERT paper, table 5: what each pre-training task contributes, and reading from both sides."""

from experiments.tables import Claim, Column, Config, Encoder, Row, Scale, Score, Table

SICK = Column((Score("finetune_texts.py:sick"),), "SICK")
SST2 = Column((Score("finetune_glue.py:sst2"),))
MRPC = Column((Score("finetune_glue.py:mrpc"),))
TINY = {  # 2 x 128, minutes on two cores
    "text.vocab_size": 8000,
    "data.max_seq_length": 64,
    "data.later_phases": "()",
    "data.dupe_factor": 2,
    "data.num_eval_rows": 1000,
    "model.initializer_range": 0.05,  # 0.02 suits a width of 768
    "model.hidden_dropout_prob": 0.0,  # the text is read about twice: there is nothing to overfit
    "model.attention_probs_dropout_prob": 0.0,
    "model.matmul_dtype": "bfloat16",
    "optim.name": "adamw",  # at this rate bert_adam, whose first updates are large, stays at guessing by frequency
    "optim.b2": 0.98,
    "optim.learning_rate": 2e-3,
    "optim.num_warmup_steps": 100,
    "train.train_batch_size": 32,
    "train.num_train_steps": 4000,
    "train.eval_every_steps": 2000,
    "train.save_every_steps": 2000,
}
TINY_TASKS = {
    "data.max_seq_length": 64,
    "data.max_train_examples": 20000,
    "model.matmul_dtype": "bfloat16",
    "optim.learning_rate": 5e-4,  # the paper's 5e-5 is for encoders hundreds of times larger: here it would move little
}
MASKED, LEFT_TO_RIGHT = "masked", "left to right"
TINY_CONFIGS = {
    MASKED: Config("bert.py:tiny", {"data.max_predictions_per_seq": 10}),
    LEFT_TO_RIGHT: Config("bert.py:tiny-ltr"),
}
BASE_CONFIGS = {MASKED: Config("bert.py:base"), LEFT_TO_RIGHT: Config("bert.py:ltr")}

TABLE = Table(
    name="bert/table5",
    encoders={
        "BERT-base": Encoder(MASKED),
        "No NSP": Encoder(MASKED, {"objective.next_sentence": False}),
        "LTR & No NSP": Encoder(LEFT_TO_RIGHT),
    },
    rows={
        "BERT-base": Row("BERT-base"),
        "No NSP": Row("No NSP"),
        "LTR & No NSP": Row("LTR & No NSP"),
        "LTR & No NSP + BiLSTM": Row("LTR & No NSP", {"model.num_lstm_layers": 1}),
    },
    claims=(Claim("BERT-base", "No NSP"), Claim("No NSP", "LTR & No NSP"), Claim("LTR & No NSP", "LTR & No NSP + BiLSTM")),
    scales={
        "smoke": Scale(
            about="2 x 64 encoders, 300 steps of 32 rows of 64 pieces on docstrings; tasks: at most 6,400 examples, 1 epoch; "
            "one seed cannot tell rows apart: this shows that the way from text to table works",
            configs=TINY_CONFIGS,
            pretraining=TINY
            | {
                "text.vocab_size": 4000,
                "data.num_eval_rows": 320,
                "model.hidden_size": 64,
                "model.num_attention_heads": 2,
                "model.intermediate_size": 256,
                "optim.learning_rate": 5e-4,
                "train.num_train_steps": 300,
            },
            finetuning=TINY_TASKS | {"data.max_train_examples": 6400, "optim.learning_rate": 1e-3, "train.num_train_epochs": 1.0},
            columns={"mrpc_acc": MRPC, "sst2": SST2},
            seeds=(1,),
            text="",
        ),
        "desk": Scale(
            about="2 x 128 encoders, 4,000 steps of 32 rows of 64 pieces on 20 MB of Wikipedia, 8,000 word pieces; tasks: "
            "at most 20,000 examples each, 3 epochs at the one rate 5e-4",
            configs=TINY_CONFIGS,
            pretraining=TINY,
            finetuning=TINY_TASKS,
            columns={"mnli_m": SICK, "sst2": SST2},
            text="text/wiki_en/shard-0[0-3].txt.xz",
        ),
        "lab": Scale(
            about="the paper's encoders, 100,000 steps of 256 rows of 128 pieces on the text given; tasks by the paper's recipe "
            "at the one rate 5e-5",
            configs=BASE_CONFIGS,
            pretraining={"data.later_phases": "()", "train.num_train_steps": 100_000},
            finetuning={},
            columns={
                "mnli_m": SICK,
                "qnli": Column((Score("finetune_texts.py:qnli_dev_split"),), "QNLI dev, split"),
                "mrpc_acc": MRPC,
                "sst2": SST2,
                "squad1_f1": Column((Score("finetune_squad.py:squad1_dev_split", "f1"),), "SQuAD dev, split"),
            },
        ),
        "paper": Scale(
            about="the paper's recipe of pretraining on the text given; tasks at the one rate 5e-5 of its four",
            configs=BASE_CONFIGS,
            pretraining={},
            finetuning={},
            columns={
                "mnli_m": Column((Score("finetune_glue.py:mnli"),)),
                "qnli": Column((Score("finetune_glue.py:qnli"),)),
                "mrpc_acc": MRPC,
                "sst2": SST2,
                "squad1_f1": Column((Score("finetune_squad.py:squad1", "f1"),)),
            },
            judges_values=True,
        ),
    },
)
