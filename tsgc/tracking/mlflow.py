"""MLflow: the server or store that MLFLOW_TRACKING_URI names, or its own default, ./mlflow.db."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tsgc.tracking.tracker import Ending, RunFacts, with_prefix

AT_ONCE = 100  # parameters that MLflow takes in one call
LONGEST = 500  # letters of a parameter that every version of it takes
STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"


def start(facts: RunFacts, run_id: str | None) -> "MLflow":
    """Start a run, or go on with one. MLFLOW_EXPERIMENT_NAME wins over the benchmark's name."""
    from mlflow import MlflowClient

    client = MlflowClient()
    settings = {key: str(value)[:LONGEST] for key, value in facts.settings.items()}
    if run_id:
        _go_on(client, run_id, settings)
    else:
        with _few_retries():
            run_id = _begin(client, facts, settings)
    return MLflow(client, run_id, facts.epoch)


def _begin(client: Any, facts: RunFacts, settings: Mapping[str, str]) -> str:
    from mlflow.entities import Param

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", facts.project)
    known = client.get_experiment_by_name(name)
    experiment = known.experiment_id if known else client.create_experiment(name)
    tags = {"stream": facts.stream, "mlflow.source.name": "tsgc train"}
    run_id = client.create_run(experiment, run_name=facts.name, tags=tags).info.run_id
    params = [Param(key, value) for key, value in settings.items()]
    for first in range(0, len(params), AT_ONCE):
        client.log_batch(run_id, params=params[first : first + AT_ONCE])
    return str(run_id)


def _go_on(client: Any, run_id: str, settings: Mapping[str, str]) -> None:
    """Open the run again. MLflow lets no parameter change: tags say which have."""
    client.update_run(run_id, status="RUNNING")
    before = client.get_run(run_id).data.params
    for key, value in settings.items():
        if before.get(key) != value:
            client.set_tag(run_id, f"resumed/{key}", value)


@contextmanager
def _few_retries() -> Iterator[None]:
    """Give a server that is not there up after seconds: whoever starts a run is told why, and can act."""
    before = os.environ.get(RETRIES)
    os.environ.setdefault(RETRIES, "2")  # its default of 7 takes four minutes
    try:
        yield
    finally:
        if before is None:
            del os.environ[RETRIES]


class MLflow:
    """A run of MLflow's."""

    def __init__(self, client: Any, run_id: str, epoch: int) -> None:
        self.client = client
        self.id = run_id
        self.epoch = epoch

    def log_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        self.epoch = epoch
        self._log(figures, epoch)

    def log_step(self, step: int, figures: Mapping[str, float]) -> None:
        self._log(with_prefix("step", figures), step)

    def log_scores(self, figures: Mapping[str, float]) -> None:
        self._log(with_prefix("scores", figures), self.epoch)

    def _log(self, figures: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.id, [Metric(name, value, now, step) for name, value in figures.items()])

    def log_report(self, path: Path) -> None:
        self.client.log_artifact(self.id, str(path))

    def finish(self, ending: Ending) -> None:
        self.client.set_terminated(self.id, STATUS[ending])
