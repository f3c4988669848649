"""A run's folder at its start: made, refused where it is taken, emptied of what a run wrote."""

from pathlib import Path

from pipelines.errors import TsgcError
from pipelines.files import write_atomic
from tsgc.config import to_yaml
from tsgc.training import snapshots
from tsgc.training.run import Training
from tsgc.workspace import runs


def open_folder(run: Training, *, resume: bool, overwrite: bool) -> None:
    """Make the run's folder, or refuse one that is taken."""
    # A run that ended before its first checkpoint has nothing to keep.
    taken = snapshots.state_path(run.folder).exists()
    if taken and not (resume or overwrite):
        raise TsgcError(
            f"{run.folder}: holds a run already; give --resume to go on, --overwrite to start again"
        )
    teachers = run.train_step.teachers
    if not resume:
        _spare(run.folder, list(teachers.files) if teachers else [])
        remove_run(run.folder)
        (run.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        (run.folder / "scores").mkdir(exist_ok=True)
        runs.write_environment(
            run.folder,
            run.benchmark,
            {
                "preset": run.manifest.preset,
                "manifest_digest": run.manifest.digest,
                "world": run.process.world,
                "device": run.process.device.type,
                "launchers": sorted(set(run.process.launchers)),
                "init": run.init,
                "teachers": teachers.files if teachers else {},
            },
        )
        write_atomic(run.folder / "config.yaml", to_yaml(run.config).encode())


def _spare(folder: Path, needed: list[str]) -> None:
    """Refuse to take away files that the run itself needs: a resumed run would look for them."""
    for name in needed:
        if Path(name).resolve().is_relative_to(folder.resolve()):
            raise TsgcError(
                f"{name}: a teacher in the run's own folder, which starting again would empty;"
                " move it, or give another --run-dir or --seed"
            )


def remove_run(folder: Path) -> None:
    """Take away what a run wrote, and nothing else that may lie beside it."""
    for pattern in (
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "steps.jsonl",
        "checkpoints/*",
        "scores/*",
        "tensorboard/*",
    ):
        for path in folder.glob(pattern):
            path.unlink()
