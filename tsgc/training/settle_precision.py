"""The precision that a run trains in: chosen once where it starts, and kept where it goes on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tsgc.config import TrainConfig, read_run_config
from tsgc.distributed.process import Process
from tsgc.network.precision import AUTO, agreed, fastest
from tsgc.networks import OURS


def settle_precision(config: TrainConfig, process: Process, resumed: Path | None = None) -> TrainConfig:
    """The config with `trained_in` decided, the same on all ranks.

    `auto` is what a `resumed` run's folder says that it was trained in; else the fastest that is safe on
    every rank's device.
    """
    chosen: Any = config.precision
    if chosen == AUTO:
        chosen = config.trained_in or agreed(fastest(process.device, config.network == OURS), process)
        if resumed is not None:
            chosen = process.gather(recorded(resumed) if process.main else "")[0] or chosen
    return replace(config, trained_in=chosen)


def recorded(folder: Path) -> str:
    """What the run in `folder` was trained in; empty where it does not say."""
    path = folder / "config.yaml"
    if not path.is_file():
        return ""
    said = read_run_config(path)
    return said.arithmetic if said.arithmetic != AUTO else ""
