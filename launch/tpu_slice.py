"""The engine of Cloud TPU slices of one host or many: a queued resource, and a startup script that goes on where another ended.

The commands are those of the page "gcloud compute tpus queued-resources" of the Google Cloud SDK reference, the states those of
"Manage queued resources" of the Cloud TPU documentation. Google does not give a slice back that it has taken away: `watch` asks
for a new one. The workdir is on the disk of the first host, and its copy in a bucket is what a new slice begins with.
"""

import re
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bert_jax import hardware
from bert_jax.errors import EXIT_DIVERGED, EXIT_DONE, EXIT_RESTART, EXIT_USER_ERROR, UserError
from launch import table
from launch.engine import answer, call, job_name, remember, require_portable, require_sent, sent
from launch.runs import Run, distinct
from launch.tpu_vm import PYTHON, ZONE, archive, pushed_path, require_account

FLAGS = {
    "name": ("", "name of the slice, yours to choose"),
    "zone": ("", "where it is, such as us-west4-a"),
    "project": ("", "Google Cloud project; without it, the one gcloud is set to"),
    "type": ("", "accelerator type: v5litepod-16, v6e-256, v4-32, ..."),
    "capacity": ("on-demand", "on-demand, spot, or reserved"),
    "bucket": ("", "gs://BUCKET or a folder in it: code, results and what a new slice goes on from"),
    "data": ("", "gs:// folder, of text or models, that every host copies into data/"),
    "max_crashes": (3, "how often a trainer that crashed is started again on one slice"),
}
ENDED = ()
CAPACITY = {"on-demand": [], "spot": ["--spot"], "reserved": ["--reserved"]}
BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[A-Za-z0-9._=+-]+)*")
TAKEN, REFUSED = ("SUSPENDING", "SUSPENDED"), ("FAILED",)
SAVE_SECONDS = 300  # between two copies of the workdir
POLL_SECONDS = 60
LONGEST_NAME = 63


def render(runs: Sequence[Run], workdir: Path, settings: Mapping, trainer: Sequence[str]) -> str:
    """The commands, and the startup script of each slice."""
    _check(runs, settings)
    shown = []
    for run in distinct(runs):
        job = job_name(settings["name"], run, LONGEST_NAME)
        script = workdir / f"{job}.sh"
        commands = [*_upload(job, settings), _create(job, script, settings)]
        shown += [*map(shlex.join, commands), f"# {script}:", _script(run, job, settings)]
    return "\n".join([_price(settings), *shown])


def submit(runs: Sequence[Run], workdir: Path, settings: Mapping, trainer: Sequence[str], lock: int) -> int:
    """Asks for a slice for each run; they wait in Google's queue."""
    _check(runs, settings)
    require_account()
    print(_price(settings))
    for run in distinct(runs):
        job = job_name(settings["name"], run, LONGEST_NAME)
        script = workdir / f"{job}.sh"
        table.write(script, _script(run, job, settings))
        # written down first: whatever happens to the commands, status and cancel know the name
        remember(workdir, "tpu-slice", dict(settings), {run.folder: job})
        for command in [*_leftovers({**settings, "job": job}), *_upload(job, settings), _create(job, script, settings)]:
            print(shlex.join(command), flush=True)
            code = call(command)
            if code:
                print(
                    f"error: it ended with exit code {code}; {job} may exist and cost money: see status, cancel", file=sys.stderr
                )
                return code
    print(f"python -m launch tpu-slice watch --workdir={shlex.quote(str(workdir))} asks again for what Google takes away")
    return EXIT_DONE


def in_hand(runs: Sequence[Run], workdir: Path) -> set[Path]:
    """Folders of the runs whose slice exists and was not taken away or refused, or that are done or diverged."""
    known = sent(workdir, "tpu-slice")
    jobs = {run.folder: known.get(run.folder.relative_to(workdir).as_posix()) for run in runs}
    gone, final = ("", *TAKEN, *REFUSED), (EXIT_DONE, EXIT_DIVERGED)

    def held(job: Mapping) -> bool:
        code = _exit_code(job)
        return code in final or (code is None and _state(job) not in gone)

    return {folder for folder, job in jobs.items() if job and held(job)}


def status(workdir: Path) -> int:
    for folder, job in require_sent(workdir, "tpu-slice").items():
        code = _exit_code(job)
        ended = f"ended with exit code {code}; its results are in {_place(job)}/workdir" if code is not None else "not ended"
        print(f"{workdir / folder}: {job['job']}: {_state(job) or 'does not exist'}, {ended}")
    return EXIT_DONE


def places(workdir: Path) -> dict[str, str]:
    return {folder: f"{_place(job)}/workdir" for folder, job in sent(workdir, "tpu-slice").items()}


def cancel(workdir: Path) -> list[list[str]]:
    """The commands that delete the slices, with what is on their disks; the copies in the bucket stay."""
    return [_delete(job) for job in require_sent(workdir, "tpu-slice").values()]


def watch(workdir: Path) -> int:
    """Until every run has ended: asks again for slices that were taken away, gives back those whose run has ended.

    Returns:
        0 when every run is done, else the largest exit code; 1 for a slice that Google refused.
    """
    waiting, codes = require_sent(workdir, "tpu-slice"), [EXIT_DONE]
    before: dict[str, str] = {}
    while waiting:
        for folder, job in list(waiting.items()):
            name, state, code = job["job"], _state(job), _exit_code(job)
            if state != before.get(folder):
                print(f"{name}: {state or 'does not exist'}", flush=True)
            before[folder] = state
            if code is not None:
                print(f"{name}: the run ended with exit code {code}", flush=True)
                codes.append(code)
                del waiting[folder]
            if state in REFUSED:
                print(
                    f"error: {name}: Google refused it; the reason is in: {shlex.join(_describe(job, 'state'))}", file=sys.stderr
                )
                codes.append(1)
                waiting.pop(folder, None)
            if state and (code is not None or state in TAKEN):
                _run(_delete(job))
            if code is None and (state in TAKEN or not state):
                _run(_create(name, workdir / f"{name}.sh", job))
        if waiting:
            time.sleep(POLL_SECONDS)
    return max(codes)


def _check(runs: Sequence[Run], settings: Mapping) -> None:
    for flag, pattern, expected in [
        ("zone", ZONE, "a zone such as us-west4-a"),
        ("bucket", BUCKET, "gs://BUCKET or gs://BUCKET/FOLDER"),
    ]:
        if not pattern.fullmatch(settings[flag]):
            raise UserError(f"--{flag} cannot be right", got=repr(settings[flag]), expected=expected)
    if settings["data"] and not BUCKET.fullmatch(settings["data"]):
        raise UserError("--data cannot be right", got=repr(settings["data"]), expected="gs://BUCKET/FOLDER")
    if settings["capacity"] not in CAPACITY:
        raise UserError("there is no such capacity", got=settings["capacity"], expected=" or ".join(CAPACITY))
    hardware.parse_accelerator_type(settings["type"])
    require_portable(runs)


def _price(settings: Mapping) -> str:
    slice_ = hardware.parse_accelerator_type(settings["type"])
    price = slice_.usd_per_hour(settings["capacity"] == "spot")
    cost = "price unknown" if price is None else f"${price:.2f} per hour (read {hardware.PRICES_READ}; check yours)"
    return f"# {slice_.gcloud_type}: {slice_.chips} chips of {slice_.chip} on {slice_.hosts} hosts; {cost} each"


def _place(job: Mapping) -> str:
    return f"{job['bucket']}/{job['job']}"


def _upload(name: str, settings: Mapping) -> list[list[str]]:
    path = str(Path(tempfile.gettempdir()) / f"{name}-code.tar.gz")
    return [archive(path), ["gcloud", "storage", "cp", path, f"{settings['bucket']}/{name}/code.tar.gz"]]


def _create(name: str, script: Path, settings: Mapping) -> list[str]:
    slice_ = hardware.parse_accelerator_type(settings["type"])
    return [
        *_queued("create", name, settings),
        f"--node-id={name}",
        f"--accelerator-type={slice_.gcloud_type}",
        f"--runtime-version={slice_.runtime_version}",
        f"--metadata-from-file=startup-script={script}",
        "--scopes=https://www.googleapis.com/auth/cloud-platform",
        *CAPACITY[settings["capacity"]],
    ]


def _delete(job: Mapping) -> list[str]:
    return [*_queued("delete", job["job"], job), "--force", "--quiet"]


def _leftovers(job: Mapping) -> list[list[str]]:
    """The commands that remove what an earlier slice of that name left, but for the workdir."""
    delete = [_delete(job)] if _state(job) else []
    forget = [["gcloud", "storage", "rm", f"{_place(job)}/exit_code"]] if _exit_code(job) is not None else []
    return [*delete, *forget]


def _describe(job: Mapping, what: str) -> list[str]:
    return [*_queued("describe", job["job"], job), f"--format=value({what})"]


def _queued(verb: str, name: str, settings: Mapping) -> list[str]:
    where = [f"--zone={settings['zone']}"] + ([f"--project={settings['project']}"] if settings["project"] else [])
    return ["gcloud", "compute", "tpus", "queued-resources", verb, name, *where]


def _state(job: Mapping) -> str:
    """Of the queued resource; "" where there is none."""
    try:
        return answer(_describe(job, "state.state")).strip()
    except UserError as error:
        if "NOT_FOUND" in str(error) or "not found" in str(error):
            return ""
        raise


def _exit_code(job: Mapping) -> int | None:
    """What the trainer ended with, None before that."""
    try:
        return int(answer(["gcloud", "storage", "cat", f"{_place(job)}/exit_code"]))
    except (UserError, ValueError):  # gcloud refuses to show what is not there
        return None


def _run(command: Sequence[str]) -> None:
    print(shlex.join(command), flush=True)
    answer(command)


def _script(run: Run, name: str, settings: Mapping) -> str:
    """The startup script: the same on every host, run as root at each of its starts."""
    slice_ = hardware.parse_accelerator_type(settings["type"])
    remote = run._replace(config=pushed_path(run.config))
    quoted = {
        "place": f"{settings['bucket']}/{name}",
        "data": settings["data"],
        "workdir": run.folder.as_posix(),
    }
    values = "\n".join(f"{key}={shlex.quote(value)}" for key, value in quoted.items())
    final = "|".join(map(str, (EXIT_DONE, EXIT_USER_ERROR, EXIT_DIVERGED)))
    return f"""#!/bin/bash
# Trains on every host of a TPU slice; written by python -m launch tpu-slice.
{values}
trainer=(.venv/bin/python -m bert_jax {shlex.join(remote.training)})
export JAX_NUM_PROCESSES={slice_.hosts} HOME="${{HOME:-/root}}"
mkdir -p "$HOME/bert_jax" && cd "$HOME/bert_jax" || exit 1
worker=$(curl --silent --fail --header 'Metadata-Flavor: Google' \\
  http://metadata.google.internal/computeMetadata/v1/instance/attributes/agent-worker-number) || exit 1

if gcloud storage cat "$place/exit_code" >/dev/null 2>&1; then exit; fi  # the run has ended
gcloud storage cp "$place/code.tar.gz" code.tar.gz && tar -xzf code.tar.gz || exit 1
if [ -n "$data" ]; then mkdir -p data && gcloud storage rsync --recursive "$data" data || exit 1; fi
mkdir -p "$workdir"
if gcloud storage ls "$place/workdir" >/dev/null 2>&1; then
  gcloud storage rsync --recursive "$place/workdir" "$workdir" || exit 1
fi
python3 -m pip install --quiet --user uv &&
  python3 -m uv venv --quiet --allow-existing --python {PYTHON} .venv &&
  python3 -m uv pip install --quiet --python .venv/bin/python --editable '.[tpu]' || exit 1

save() {{  # what the first host has written; nothing there is deleted before its successor has arrived
  [ "$worker" = 0 ] || return 0
  gcloud storage rsync --recursive "$workdir" "$place/workdir" &&
    gcloud storage rsync --recursive --delete-unmatched-destination-objects "$workdir" "$place/workdir"
}}
ended() {{
  save
  [ "$worker" = 0 ] && echo "$1" | gcloud storage cp - "$place/exit_code"
  kill "$saver"
  exit "$1"
}}
while sleep {SAVE_SECONDS}; do save; done &
saver=$!
stopping=
trap 'stopping=yes; kill "$trainer_pid" 2>/dev/null' TERM  # the host is being taken away: let the trainer save
crashes=0
while true; do
  "${{trainer[@]}}" >>"$workdir/train.log" 2>&1 &
  trainer_pid=$!
  wait "$trainer_pid"
  code=$?
  if [ "$code" -gt 128 ]; then wait "$trainer_pid"; code=$?; fi  # a signal ended the waiting, not the trainer
  save
  if [ -n "$stopping" ]; then kill "$saver"; exit; fi
  case "$code" in
  {final}) ended "$code" ;;
  {EXIT_RESTART}) ;;
  *) crashes=$((crashes + 1)); if [ "$crashes" -gt {settings["max_crashes"]} ]; then ended "$code"; fi ;;
  esac
done
"""
