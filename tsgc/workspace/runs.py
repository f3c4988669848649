"""Runs: where they lie, what is in their folders, and which ones a command means."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import orjson

from pipelines.errors import TsgcError, UsageError
from tsgc.config import TrainConfig, read_run_config
from tsgc.networks import recorded_name


@dataclass(frozen=True)
class Run:
    """A run: its folder, its settings, and the benchmark that it is of."""

    folder: Path
    config: TrainConfig
    benchmark: str

    @property
    def stream(self) -> tuple[str, str]:
        return self.network, self.config.modality

    @property
    def network(self) -> str:
        """What the run's folder is called after, before its stream: the variant, or another network."""
        return self.config.network_name

    @property
    def title(self) -> str:
        return f"{self.benchmark} {self.network} {self.config.modality} seed {self.config.seed}"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def age(self) -> float:
        """The time when it was started, in seconds since the epoch."""
        return (self.folder / "config.yaml").stat().st_mtime

    def checkpoint(self, name: str) -> Path:
        """The weights of that name: last, last-ema, best, best-ema."""
        path = self.checkpoints / f"{name}.safetensors"
        if not path.is_file():
            there = ", ".join(sorted(p.stem for p in self.checkpoints.glob("*.safetensors"))) or "none"
            raise TsgcError(f"{self.folder}: no checkpoint {name}; found: {there}")
        return path

    def scores(self, name: str) -> Path:
        return scores_path(self.folder, "test", name)


def run_folder(root: Path, benchmark: str, config: TrainConfig) -> Path:
    """The run's folder: runs/<data set>/<benchmark>/<network>/<modality>/seed<k>."""
    return root / benchmark / config.network_name / config.modality / f"seed{config.seed}"


def scores_path(folder: Path, split: str, name: str) -> Path:
    """The file of scores: scores/last.npz of the test split, scores/holdout-last.npz of others."""
    return folder / "scores" / (f"{name}.npz" if split == "test" else f"{split}-{name}.npz")


def is_run(folder: Path) -> bool:
    """Whether a folder looks like a run's."""
    return (folder / "config.yaml").is_file() and (folder / "environment.json").is_file()


def open_run(folder: Path) -> Run:
    """The run in a folder; raises TsgcError where there is none."""
    if not is_run(folder):
        inside = [str(path.parent) for path in islice(folder.rglob("environment.json"), 3)]
        hint = f"give one of its runs, such as {' or '.join(inside)}" if inside else "`tsgc train` makes one"
        raise TsgcError(f"{folder}: not a run (no config.yaml and environment.json); {hint}")
    try:
        benchmark = orjson.loads((folder / "environment.json").read_bytes())["benchmark"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise TsgcError(f"{folder / 'environment.json'}: does not name a benchmark; was it edited?") from None
    return Run(folder, read_run_config(folder / "config.yaml"), benchmark)


def checkpoint_path(run: Path, checkpoint: str, ema: bool) -> Path:
    """The file of weights: `run` itself where it is one, else the one of that name in the run's folder."""
    if run.suffix == ".safetensors":
        return run
    return open_run(run).checkpoint(f"{checkpoint}-ema" if ema else checkpoint)


def find_runs(root: Path, network: str | Sequence[str] | None = None) -> list[Run]:
    """All runs below `root`, oldest first; without those that are deleted meanwhile.

    `network`: only those of these networks, as `--network` names them.
    """
    names = {recorded_name(name) for name in ([network] if isinstance(network, str) else network or ())}
    found: list[tuple[float, str, Run]] = []
    for path in root.rglob("config.yaml"):
        folder = path.parent
        for again in (True, False):
            try:
                if is_run(folder):
                    run = open_run(folder)
                    found.append((run.age, str(folder), run))
                break
            except (TsgcError, FileNotFoundError):  # deleted, or begun again, meanwhile
                if not again:
                    raise
    runs = [run for *_, run in sorted(found, key=lambda one: one[:2])]
    return [run for run in runs if run.config.network in names] if names else runs


def newest_run(root: Path, network: str | Sequence[str] | None = None) -> Run:
    """The run that was started last, of these networks if any are given."""
    found = find_runs(root, network)
    if not found:
        raise TsgcError(f"{root}: no runs{of_networks(network)}; `tsgc train` makes one")
    return found[-1]


def of_networks(network: str | Sequence[str] | None) -> str:
    """` of network my.py:Net`, in a line that says what is not there; empty: of any."""
    names = [network] if isinstance(network, str) else network or ()
    return f" of network {', '.join(map(recorded_name, names))}" if names else ""


def refuse_twice(given: Sequence[Path], files: Sequence[Path], what: str, instead: str) -> None:
    """Raise UsageError where two of `given` lead to the same one of `files`, which would weigh double."""
    seen: dict[tuple[int, int], Path] = {}
    for path, file in zip(given, files):
        if not file.exists():
            continue  # refused where it is read
        found = file.stat()  # the file itself, so that links and spellings are seen through
        place = found.st_dev, found.st_ino
        if place in seen:
            raise UsageError(
                f"{path}: the same {what} as {seen[place]}, expected each stream once;"
                f" leave one out ({instead})"
            )
        seen[place] = path
