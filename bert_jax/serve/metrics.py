"""What a server counts, as Prometheus reads it. All of it belongs to one server."""

from collections.abc import Callable, Iterable

import jax
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
LOWERED = "jaxpr_to_mlir_module_duration"  # of jax's events: a shape that is new to a program


class Metrics:
    """
    Args:
        waiting: how many examples wait.
        tasks: what a path may end with.
    """

    def __init__(self, waiting: Callable[[], int], tasks: Iterable[str]):
        self.registry, self.tasks = CollectorRegistry(), frozenset(tasks)
        of = {"registry": self.registry, "namespace": "bert_jax"}
        self.requests = Counter("requests", "Requests by task and status of the answer.", ["task", "status"], **of)
        self.latency = Histogram("request_seconds", "From the head of a request to its answer.", ["task"], buckets=SECONDS, **of)
        self.batches = Histogram("batch_examples", "Examples that were answered together.", buckets=SIZES, **of)
        self.computing = Histogram("batch_seconds", "What a batch took.", buckets=SECONDS, **of)
        self.cached = Counter("cache", "Questions that were in the cache, and that were not.", ["found"], **of)
        self.compilations = Counter("compilations", "Programs that were compiled; none after the start.", **of)
        Gauge("waiting", "Examples that wait.", **of).set_function(waiting)

    def on_answer(self, path: str, status: int, seconds: float) -> None:
        task = path.rpartition("/")[2]
        task = task if task in self.tasks else "other"
        self.requests.labels(task, status).inc()
        self.latency.labels(task).observe(seconds)

    def on_batch(self, examples: int, seconds: float) -> None:
        self.batches.observe(examples)
        self.computing.observe(seconds)

    def on_event(self, event: str, seconds: float, **facts) -> None:
        if event.endswith(LOWERED):
            self.compilations.inc()

    def listen(self) -> None:
        jax.monitoring.register_event_duration_secs_listener(self.on_event)

    def listen_no_more(self) -> None:
        jax.monitoring.unregister_event_duration_listener(self.on_event)

    def text(self) -> bytes:
        return generate_latest(self.registry)
