"""The verbs of the command line: what each does, and its options in a table."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bert_jax import buckets
from bert_jax.errors import EXIT_DONE, EXIT_RESTART, UserError
from bert_jax.predict.outputs import BATCH_SIZE
from bert_jax.ranges import PART_OR_ALL, require

# Each verb imports what it needs when it runs: help and text tools answer at once, without waiting for jax.


def vocab(args, config) -> int:
    from bert_jax import build, inputs
    from bert_jax.text import kinds

    build.loader_config(config)  # a wrong setting is said before hours go into the text
    path = inputs.make_vocabulary(config, args.workdir)
    print(f"vocabulary: {path}")
    if report := kinds.read_report(path):
        print(report.describe())
    return EXIT_DONE


def prepare(args, config) -> int:
    from bert_jax import build, inputs

    build.loader_config(config)
    print(f"token store: {inputs.prepare_store(config, args.workdir)}")
    return EXIT_DONE


def show(args, config) -> int:
    from bert_jax import inputs, show

    if args.step < 0:
        raise UserError("there is no such batch", got=args.step, expected="0 or more")
    batches, tokenizer = inputs.open_batches(config, args.workdir)
    batch = batches.batch(args.step)
    show.print_rows(batch, tokenizer, rows=range(min(args.rows, len(batch["input_ids"]))))
    return EXIT_DONE


def replay(args, config) -> int:
    from bert_jax import replay

    replay.replay(args.workdir, args.step, rows=args.rows)
    return EXIT_DONE


def train(args, config) -> int:
    from bert_jax import run, summary
    from bert_jax import workdir as workdirs
    from bert_jax.parallel import hosts

    already = workdirs.finished(args.workdir, config.train.num_train_steps)
    if not run.train(config, args.workdir):
        return EXIT_RESTART
    hosts.only_first(lambda: summary.print_summary(args.workdir, args.config, already_finished=already is not None))
    return EXIT_DONE


def plan(args, config) -> int:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # with libtpu installed jax would else look for a TPU of this machine
    from bert_jax import hardware
    from bert_jax.plan import planning, report

    require("plan", {"mfu": args.mfu}, {"mfu": PART_OR_ALL})
    target = hardware.parse_target(args.target)
    found = planning.make_plan(config, target, args.compile, say=lambda line: print(line, file=sys.stderr, flush=True))
    print("\n".join(report.lines(found, args.config, args.mfu)))
    return EXIT_DONE


def finetune(args, config) -> int:
    from bert_jax import finetune

    return _scored(finetune.finetune(config, args.workdir))


def prune(args, config) -> int:
    from bert_jax import pruning

    if buckets.is_bucket(args.workdir):  # of the rounds in it buckets do not know which files make a checkpoint
        raise UserError("the rounds of pruning lie on a disk", got=f"--workdir={args.workdir}", fix="copy the result afterwards")
    args.workdir = Path(args.workdir)
    return _scored(pruning.prune(config, args.workdir))


def _scored(result: dict | None) -> int:
    for name, value in (result or {"metrics": {}})["metrics"].items():
        print(f"{name:26s} {value:.4f}")
    return EXIT_DONE if result else EXIT_RESTART


def evaluate(args, config) -> int:
    from bert_jax import finetune, run
    from bert_jax import workdir as workdirs

    config = workdirs.read_trained_config(args.workdir)
    if "task" in config:
        metrics = finetune.evaluate_finetuned(args.workdir)
    else:
        metrics = run.evaluate_trained(args.workdir) if run.has_held_out(config) or not args.sts else {}
    if args.sts:
        metrics["stsb_spearman"] = finetune.sts_of_trained(args.workdir, args.sts)
    for name, value in metrics.items():
        print(f"{name:26s} {value:.4f}")
    return EXIT_DONE


def predict(args, config) -> int:
    from bert_jax import predicting

    return predicting.predict(
        args.workdir,
        predicting.Question(args.text, args.text_pair, args.file, args.split),
        to=args.to,
        submit_to=args.submission,
        skip_bad_rows=args.skip_bad_rows,
        top_k=args.top_k,
        pooling=args.pooling,
        batch_size=args.batch_size,
    )


def embed(args, config) -> int:
    from bert_jax import searching

    say = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
    settings = {"pooling": args.pooling, "dtype": args.dtype, "batch_size": args.batch_size}
    found = searching.embed(args.workdir, args.file, args.collection, **settings, say=say)
    print(f"{found.count:,} texts in {found.folder}")
    return EXIT_DONE


def search(args, config) -> int:
    from bert_jax import searching

    return searching.search(
        args.workdir,
        args.collection,
        args.text,
        pooling=args.pooling,
        rerank=args.rerank,
        reader=args.reader,
        top_k=args.top_k,
        threshold=args.threshold,
        kind=args.index,
    )


def serve(args, config) -> int:
    from bert_jax.serve import server
    from bert_jax.serve.guard import Limits

    return server.serve(
        args.workdir,
        host=args.host,
        port=args.port,
        token_file=args.token_file,
        collection=args.collection,
        queue=args.queue,
        cache=args.cache,
        limits=Limits(args.max_bytes, args.max_texts, args.max_chars, seconds=args.timeout),
        batch_size=args.batch_size,
        top_k=args.top_k,
        pooling=args.pooling,
    )


def doctor(args, config) -> int:
    from bert_jax.doctor import check

    return check.run(config, args.workdir, only=args.only, against=args.against, timeout=args.timeout)


def convert(args, config) -> int:
    from bert_jax import convert

    if (args.source is None) == (args.to is None):
        raise UserError("one of --from and --to is needed", expected="--from=DIR makes the workdir, --to=DIR makes DIR from it")
    if args.source is not None:
        convert.bring_in(args.source, args.workdir, num_strings=args.num_strings)
    else:
        convert.take_out(args.workdir, args.to, num_strings=args.num_strings, form=args.format, part=args.part, int8=args.int8)
    return EXIT_DONE


class Verb(NamedTuple):
    run: Callable
    help: str
    needs_config: bool
    options: tuple = ()
    needs_workdir: bool = True
    reads_only: bool = False
    together: bool = False  # processes that fail end at once, so that none waits for them


VERBS = {
    "train": Verb(
        train,
        "pretrain, making vocabulary and token store on the way; the same command continues",
        needs_config=True,
        together=True,
    ),
    "vocab": Verb(vocab, "learn a vocabulary from the text, or extend one", needs_config=True),
    "prepare": Verb(prepare, "tokenise the text into a store", needs_config=True),
    "show": Verb(
        show,
        "print rows of a batch: words, masks, segments, labels",
        needs_config=True,
        options=(
            ("--step", {"type": int, "default": 0, "help": "which batch"}),
            ("--rows", {"type": int, "default": 4, "help": "how many rows"}),
        ),
    ),
    "replay": Verb(
        replay,
        "print the batch of a past step: text, masks, and the loss of each row, the worst first",
        needs_config=False,
        options=(
            ("--step", {"type": int, "required": True, "help": "number of the update, as in metrics.jsonl"}),
            ("--rows", {"type": int, "default": 8, "help": "how many rows"}),
        ),
        reads_only=True,
    ),
    "plan": Verb(
        plan,
        "check a pretraining job on a machine that is not here: memory, largest batch, time, cost",
        needs_config=True,
        options=(
            ("--target", {"required": True, "help": "v5e:16x16, v5litepod-256, H100:8, ..."}),
            ("--mfu", {"type": float, "default": 0.4, "help": "hours and cost are given for this share of the peak"}),
            (
                "--compile",
                {
                    "choices": ("no", "once", "border"),
                    "default": "once",
                    "help": "with libtpu, for a TPU: the step of each phase once, or until the largest batch is found",
                },
            ),
        ),
        needs_workdir=False,
    ),
    "finetune": Verb(
        finetune, "train a pretrained encoder on a task and score it; the same command continues", needs_config=True
    ),
    "prune": Verb(
        prune,
        "cut the heads and neurons that matter least to a task out of a model fine-tuned on it, and tune what is left; the same "
        "command continues",
        needs_config=True,
        options=(("--workdir", {"required": True, "help": "the folder of the run, on a disk"}),),
        needs_workdir=False,
    ),
    "evaluate": Verb(
        evaluate,
        "held-out metrics of a trained workdir, or of a fine-tuned one those of its dev set",
        needs_config=False,
        options=(("--sts", {"metavar": "POOLING", "help": "score its vectors of sentences on STS-B too: cls, mean or max"}),),
        reads_only=True,
    ),
    "predict": Verb(
        predict,
        "what a trained workdir answers to texts: JSON lines, in their order",
        needs_config=False,
        options=(
            ("--text", {"action": "append", "help": "a text; may be repeated; without it and --file lines of standard input"}),
            ("--text_pair", {"action": "append", "help": "the second text of a pair, one for each --text"}),
            ("--file", {"type": Path, "help": ".txt: a text a line; .jsonl: an object a line; or a file as the task has them"}),
            ("--split", {"help": "of the data of the task: test, dev or train"}),
            ("--to", {"type": Path, "metavar": "FILE", "help": "where the lines go, instead of standard output"}),
            ("--submission", {"type": Path, "metavar": "DIR", "help": "write what gluebenchmark.com takes of this task there"}),
            ("--skip_bad_rows", {"action": "store_true", "help": "leave them out and count them, instead of stopping"}),
            ("--top_k", {"type": int, "default": 5, "help": "how many guesses for a [MASK]"}),
            ("--pooling", {"default": "", "help": "vectors of the texts, from any encoder: cls, mean or max"}),
            ("--batch_size", {"type": int, "default": BATCH_SIZE, "help": "texts or windows read at a time, of long ones fewer"}),
        ),
        reads_only=True,
    ),
    "embed": Verb(
        embed,
        "make a collection of vectors from a file of texts, to be searched; the same command continues",
        needs_config=False,
        options=(
            (
                "--file",
                {"type": Path, "required": True, "help": ".jsonl: an object with a text a line; any other: a text a line"},
            ),
            ("--collection", {"type": Path, "required": True, "metavar": "DIR", "help": "where the vectors and the texts go"}),
            ("--dtype", {"choices": ("float32", "float16", "int8"), "default": "float16", "help": "of the vectors on disk"}),
            ("--pooling", {"default": "", "help": "cls, mean or max; by default as the model was trained, else mean"}),
            ("--batch_size", {"type": int, "default": BATCH_SIZE, "help": "texts read at a time, of long ones fewer"}),
        ),
        reads_only=True,
    ),
    "search": Verb(
        search,
        "the texts of a collection that are nearest to a question: JSON lines",
        needs_config=False,
        options=(
            ("--collection", {"type": Path, "required": True, "metavar": "DIR", "help": "that embed made, with this model"}),
            ("--text", {"action": "append", "help": "a question; may be repeated; without it lines of standard input"}),
            ("--top_k", {"type": int, "default": 5, "help": "how many texts are found"}),
            ("--threshold", {"type": float, "help": "least cosine; where no text has it, none is found"}),
            (
                "--rerank",
                {"type": Path, "metavar": "DIR", "help": "a model of similarity or ranking that orders the nearest 50 anew"},
            ),
            (
                "--reader",
                {"type": Path, "metavar": "DIR", "help": "a model of SQuAD's kind, that finds the answer in what is found"},
            ),
            ("--index", {"choices": ("exact", "hnsw"), "default": "exact", "help": "compare with all, or by an index of FAISS"}),
            ("--pooling", {"default": "", "help": "as it was given to embed"}),
        ),
        reads_only=True,
    ),
    "serve": Verb(
        serve,
        "answer over HTTP what predict and search answer, with a page to try it; on this machine alone, unless told otherwise",
        needs_config=False,
        options=(
            (
                "--workdir",
                {"action": "append", "required": True, "metavar": "[NAME=]DIR", "help": "a trained directory; may be repeated"},
            ),
            ("--collection", {"type": Path, "metavar": "DIR", "help": "that embed made with one of the models: to be searched"}),
            ("--host", {"default": "127.0.0.1", "help": "any but this machine's own address needs a token"}),
            ("--port", {"type": int, "default": 8000, "help": "0: any that is free"}),
            ("--token_file", {"type": Path, "metavar": "FILE", "help": "holds the token; without it BERT_JAX_TOKEN does"}),
            ("--batch_size", {"type": int, "default": 8, "help": "texts or windows read at a time, of long ones fewer"}),
            ("--top_k", {"type": int, "default": 5, "help": "how many guesses for a [MASK]"}),
            ("--pooling", {"default": "", "help": "vectors from any encoder: cls, mean or max"}),
            ("--queue", {"type": int, "default": 256, "help": "texts that may wait; who comes then is told when to come again"}),
            ("--cache", {"type": int, "default": 64, "metavar": "MIB", "help": "memory for answers that are kept"}),
            ("--timeout", {"type": float, "default": 30.0, "metavar": "SECONDS", "help": "for a request to come, or its answer"}),
            ("--max_bytes", {"type": int, "default": 2**20, "help": "of a request"}),
            ("--max_texts", {"type": int, "default": 64, "help": "of a request"}),
            ("--max_chars", {"type": int, "default": 20_000, "help": "of a text"}),
        ),
        needs_workdir=False,
        reads_only=True,
    ),
    "doctor": Verb(
        doctor,
        "what is wrong with the hosts and the corpus of a run, before it begins; exit code 1 where something is",
        needs_config=True,
        options=(
            ("--only", {"choices": ("hosts", "corpus"), "help": "one of the two parts"}),
            (
                "--against",
                {"default": "", "metavar": "SETS", "help": "tasks or files of texts that must not stand in the corpus"},
            ),
            ("--timeout", {"type": int, "default": 40, "metavar": "SECONDS", "help": "how long hosts wait for each other"}),
        ),
    ),
    "convert": Verb(
        convert,
        "a Hugging Face directory, a TensorFlow release or a file of word vectors to a workdir, or a workdir to the first, to "
        "StableHLO or to ONNX",
        needs_config=False,
        options=(
            ("--from", {"dest": "source", "type": Path, "metavar": "PATH", "help": "what to make the workdir from"}),
            ("--to", {"type": Path, "metavar": "DIR", "help": "where to put the workdir's model; must not exist, or be empty"}),
            (
                "--format",
                {
                    "choices": ("hf", "stablehlo", "onnx"),
                    "default": "hf",
                    "help": "with --to: for transformers, for jax alone, for ONNX Runtime",
                },
            ),
            ("--int8", {"action": "store_true", "help": "with --format=onnx: a quarter of the size, rounded"}),
            (
                "--part",
                {
                    "choices": ("encoder", "generator"),
                    "default": "encoder",
                    "help": "of a run of ELECTRA, with --to: the discriminator, that is the encoder, or the generator",
                },
            ),
            ("--num_strings", {"type": int, "default": 10_000, "help": "texts on which the two tokenisers are compared"}),
        ),
    ),
}
