"""JobSets: every field against a strict schema of our own, commands as Kubernetes reads them, and an imitation of kubectl."""

import os
import re
import sys

import pytest
import yaml

from launch import __main__ as launch
from tests.launch.test_tpu_vm import CONFIG, HOSTILE, ROOT

TEXT, WHOLE = str, int


class Maybe(tuple):
    """A key that may be absent."""


# Written from the JobSet API (v1alpha2), batch/v1 Job, core/v1 Pod: only what is used here; any other key is an error.
POD = {
    "restartPolicy": "Never",
    "terminationGracePeriodSeconds": WHOLE,
    "nodeSelector": {
        "cloud.google.com/gke-tpu-accelerator": TEXT,
        "cloud.google.com/gke-tpu-topology": re.compile("[0-9]+x[0-9]+(x[0-9]+)?"),
        "cloud.google.com/gke-spot": Maybe(["true"]),
    },
    "tolerations": [{"key": "google.com/tpu", "operator": "Exists", "effect": "NoSchedule"}],
    "containers": [
        {
            "name": "train",
            "image": TEXT,
            "command": [TEXT],
            "env": [{"name": TEXT, "value": TEXT}],
            "resources": {"limits": {"google.com/tpu": WHOLE}},
            "volumeMounts": [{"name": TEXT, "mountPath": TEXT}],
        }
    ],
    "volumes": [
        {
            "name": TEXT,
            "persistentVolumeClaim": Maybe([{"claimName": TEXT}]),
            "emptyDir": Maybe([{"medium": "Memory"}]),
        }
    ],
}
EXIT_CODES = {"containerName": "train", "operator": "In", "values": [WHOLE]}
JOB = {
    "parallelism": WHOLE,
    "completions": WHOLE,
    "backoffLimit": WHOLE,
    "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": EXIT_CODES}]},
    "template": {"spec": POD},
}
JOBSET = {
    "apiVersion": "jobset.x-k8s.io/v1alpha2",
    "kind": "JobSet",
    "metadata": {
        "name": re.compile("[a-z]([-a-z0-9]{0,61}[a-z0-9])?"),
        "namespace": TEXT,
        "labels": Maybe([{"kueue.x-k8s.io/queue-name": TEXT}]),
        "annotations": Maybe([{"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}]),
    },
    "spec": {
        "failurePolicy": {
            "maxRestarts": WHOLE,
            "rules": [{"name": TEXT, "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}],
        },
        "replicatedJobs": [{"name": "train", "replicas": WHOLE, "template": {"spec": JOB}}],
    },
}
KUEUE = {
    "ResourceFlavor": {"nodeLabels": {key: value for key, value in POD["nodeSelector"].items()}},
    "ClusterQueue": {
        "namespaceSelector": {},
        "resourceGroups": [
            {
                "coveredResources": [TEXT],
                "flavors": [{"name": TEXT, "resources": [{"name": TEXT, "nominalQuota": WHOLE}]}],
            }
        ],
    },
    "LocalQueue": {"clusterQueue": TEXT},
}


def faults(value, schema, at: str = "") -> list[str]:
    """Where a value differs from its schema."""
    if isinstance(schema, Maybe):
        return faults(value, schema[0], at)
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            return [f"{at}: no object"]
        missing = [f"{at}.{key}: missing" for key, known in schema.items() if key not in value and not isinstance(known, Maybe)]
        return missing + [
            fault
            for key, each in value.items()
            for fault in (faults(each, schema[key], f"{at}.{key}") if key in schema else [f"{at}.{key}: unknown"])
        ]
    if isinstance(schema, list):
        if not isinstance(value, list) or not value:
            return [f"{at}: no list"]
        return [fault for number, each in enumerate(value) for fault in faults(each, schema[0], f"{at}[{number}]")]
    if isinstance(schema, re.Pattern):
        return [] if isinstance(value, str) and schema.fullmatch(value) else [f"{at}: {value!r}"]
    good = type(value) is schema if isinstance(schema, type) else value == schema
    return [] if good else [f"{at}: {value!r}"]


def expanded(word: str) -> str:
    """What Kubernetes makes of a word of a command without such variables: $$ is $, and $(NAME) stays as it is."""
    return re.sub(r"\$\$", "$", word)


def flags(*more: str, type_: str = "v5litepod-16", name: str = "bert-1") -> list[str]:
    given = {"name": name, "type": type_, "image": "europe-docker.pkg.dev/p/r/bert_jax:1", "claim": "runs", "config": CONFIG}
    return ["submit", *(f"--{flag}={value}" for flag, value in given.items()), "--workdir=runs/bert", *more]


@pytest.fixture
def rendered(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)

    def render(*more: str, **given) -> list[dict]:
        assert launch.main(["gke", *flags("--dry-run", *more, **given)]) == 0
        return list(yaml.safe_load_all(capsys.readouterr().out))

    return render


@pytest.mark.parametrize(
    ("type_", "accelerator", "topology", "hosts", "chips"),
    [
        ("v4-8", "tpu-v4-podslice", "2x2x1", 1, 4),
        ("v4-32", "tpu-v4-podslice", "2x2x4", 4, 4),
        ("v5litepod-1", "tpu-v5-lite-podslice", "1x1", 1, 1),
        ("v5litepod-8", "tpu-v5-lite-podslice", "2x4", 1, 8),
        ("v5litepod-256", "tpu-v5-lite-podslice", "16x16", 64, 4),
        ("v5p-16", "tpu-v5p-slice", "2x2x2", 2, 4),
        ("v5p-256", "tpu-v5p-slice", "4x4x8", 32, 4),
        ("v6e-16", "tpu-v6e-slice", "4x4", 4, 4),
    ],
)
def test_a_jobset_asks_for_the_whole_slice(rendered, type_, accelerator, topology, hosts, chips):
    (jobset,) = rendered("--queue=tpu", "--spot", type_=type_)
    assert faults(jobset, JOBSET) == []
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    assert (job["parallelism"], job["completions"], job["backoffLimit"]) == (hosts, hosts, 0)
    assert list(pod["nodeSelector"].values()) == [accelerator, topology, "true"]
    assert pod["containers"][0]["resources"]["limits"] == {"google.com/tpu": chips}
    assert pod["containers"][0]["env"] == [{"name": "JAX_NUM_PROCESSES", "value": str(hosts)}]
    assert ("annotations" in jobset["metadata"]) == (hosts > 1)


def test_the_schema_knows_a_misspelt_key_and_a_missing_one(rendered):
    (jobset,) = rendered()
    assert faults(jobset, JOBSET) == []
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    job["paralelism"] = job.pop("parallelism")
    assert sorted(fault.rpartition(".")[2] for fault in faults(jobset, JOBSET)) == ["paralelism: unknown", "parallelism: missing"]


def test_hostile_text_reaches_the_trainer_unchanged(rendered):
    text = HOSTILE + "$$(HOME) ${y} $"
    (jobset,) = rendered(f"--config.data.input_file={text}")
    command = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]["command"]
    assert [expanded(word) for word in command] == [
        *("python", "-m", "bert_jax", "train", "--config=configs/quickstart.py"),
        *(f"--config.data.input_file={text}", "--workdir=/mnt/runs/runs/bert"),
    ]
    assert not re.search(r"(?<!\$)(\$\$)*\$\(", " ".join(command))  # nothing is left that Kubernetes would replace


def test_the_committed_queues_are_what_kueue_reads_and_name_a_slice_as_the_jobset_does(rendered):
    documents = list(yaml.safe_load_all((ROOT / "launch/kueue.yaml").read_text()))
    assert [document["kind"] for document in documents] == list(KUEUE)
    for document in documents:
        assert faults(document["spec"], KUEUE[document["kind"]]) == []
        assert document["apiVersion"] == "kueue.x-k8s.io/v1beta2" and document.keys() == {
            "apiVersion",
            "kind",
            "metadata",
            "spec",
        }
    (jobset,) = rendered("--queue=tpu")
    selector = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["nodeSelector"]
    assert documents[0]["spec"]["nodeLabels"] == selector


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--name=Bert_1", "--name cannot be right"),
        (f"--name={'a' * 48}", "--name cannot be right"),  # with -train-0-3-xxxxx 64 characters
        ("--type=v6e-17", "perhaps v6e-16"),
        ("--type=v3-32", "GKE has no such TPUs"),
        ("--image=", "--image cannot be right"),
        ("--image=a b", "--image cannot be right"),
        ("--claim=Runs", "--claim cannot be right"),
        ("--queue=a/b", "--queue cannot be right"),
        ("--workdir=/tmp/x", "the workdir would be elsewhere"),
    ],
)
def test_a_mistake_is_refused(capsys, change, message):
    assert launch.main(["gke", *flags("--dry-run", change)]) == 2
    assert message in capsys.readouterr().err


def test_the_longest_name_is_accepted(rendered):
    (jobset,) = rendered(name="a" * 47)
    assert jobset["metadata"]["name"] == "a" * 47


# kubectl: a JobSet is a file that holds its condition.
FAKE_KUBECTL = """
if sys.argv[1] == "config":
    print(*([(here / "context").read_text()] if (here / "context").exists() else sys.exit("error: current-context is not set")))
if sys.argv[1] == "get":
    items = [{"metadata": {"name": path.name[4:]}, "status": {"conditions": [{"type": path.read_text(), "status": "True"}]}}
             for path in here.glob("set-*")]
    print(json.dumps({"items": items}))
if sys.argv[1] == "create":
    file = sys.argv[2].removeprefix("--filename=")
    for name in re.findall("^  name: (.*)$", open(file).read(), re.MULTILINE):
        with open(here / f"set-{name}", "x") as made:
            made.write("Suspended")
if sys.argv[1] == "delete":
    for name in sys.argv[3:]:
        (here / f"set-{name}").unlink(missing_ok=True)
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    file = tmp_path / "bin/kubectl"
    file.parent.mkdir()
    head = f"#!{sys.executable}\nimport json, pathlib, re, sys\nhere = pathlib.Path({str(tmp_path)!r})"
    file.write_text(f"{head}\nopen(here / 'calls', 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n{FAKE_KUBECTL}")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "context").write_text("gke_p_z_c")
    return tmp_path


def test_without_a_cluster_nothing_is_created(cluster, capsys):
    (cluster / "context").unlink()
    assert launch.main(["gke", *flags()]) == 2
    assert "current-context is not set" in capsys.readouterr().err and not (cluster / "runs/bert/gke.json").exists()


def test_a_sweep_is_a_jobset_a_run_and_only_what_failed_is_created_anew(cluster, capsys, monkeypatch):
    sweep = ["sweep", "submit", "--engine=gke", "--cells=batch16-lr5e-05,batch32-lr2e-05", "--config.init_checkpoint=P"]
    given = {"name": "mrpc", "type": "v6e-8", "image": "i:1", "claim": "runs", "config": f"{ROOT}/configs/finetune_glue.py:mrpc"}
    given = [f"--{flag}={value}" for flag, value in given.items()]
    assert launch.main([*sweep, *given, "--workdir=w", "--seeds=0,1"]) == 0
    sets = sorted(cluster.glob("set-mrpc-*"))
    assert len(sets) == 4
    sets[0].write_text("Failed")
    sets[1].write_text("Completed")
    capsys.readouterr()
    assert launch.main(["sweep", "resume", "--workdir=w"]) == 0
    assert "4 to make, 3 of these already with gke" in capsys.readouterr().out
    assert sets[0].read_text() == "Suspended" and sets[1].read_text() == "Completed"
    assert launch.main(["gke", "status", "--workdir=w"]) == 0
    assert capsys.readouterr().out.count(": Suspended\n") == 3
    monkeypatch.setattr("builtins.input", lambda prompt: "n")
    assert launch.main(["gke", "cancel", "--workdir=w"]) == 2 and len(list(cluster.glob("set-*"))) == 4
    assert launch.main(["gke", "cancel", "--workdir=w", "--yes"]) == 0
    assert not list(cluster.glob("set-*"))


def test_a_sweep_that_would_share_what_is_not_made_yet_is_refused(cluster, capsys):
    given = flags("--engine=gke", "--dry-run")[1:]
    given = [word for word in given if not word.startswith("--config=")]
    assert launch.main(["sweep", "submit", *given, f"--config={ROOT}/configs/sweep_quickstart.py"]) == 2
    assert "share a vocabulary and a store that are not made yet" in capsys.readouterr().err


def test_without_kubectl_the_message_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert launch.main(["gke", *flags()]) == 2
    assert "kubectl is not on PATH" in capsys.readouterr().err
