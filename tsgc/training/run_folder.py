"""A run's folder at its start: made, refused where it is taken, emptied of what a run wrote."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from pipelines.errors import TsgcError
from pipelines.files import write_atomic
from pipelines.prepared.store import tool_version
from shards.remote import safe
from tsgc.config import to_yaml
from tsgc.network.own.code import find_code, sha256
from tsgc.networks import NETWORKS
from tsgc.training import snapshots
from tsgc.training.run import Training
from tsgc.workspace.remove_run import remove_trained


def open_folder(run: Training, *, resume: bool, overwrite: bool) -> None:
    """Prepare the run's folder, in which this process is `at_work`, or refuse one that holds a run."""
    # A run that ended before its first checkpoint has nothing to keep.
    taken = snapshots.state_path(run.folder).exists()
    if taken and not (resume or overwrite):
        raise TsgcError(
            f"{run.folder}: holds a run already; give --resume to go on, --overwrite to start again"
        )
    teachers = run.train_step.teachers
    if not resume:
        _spare(run.folder, list(teachers.files) if teachers else [])
        remove_trained(run.folder)
        (run.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        (run.folder / "scores").mkdir(exist_ok=True)
        write_environment(
            run.folder,
            run.benchmark,
            {
                "preset": run.manifest.preset,
                "manifest_digest": run.manifest.digest,
                "world": run.process.world,
                "device": run.process.device.type,
                "launchers": sorted(set(run.process.launchers)),
                "init": run.init,
                **({"recipe_epochs": run.recipe_epochs} if run.recipe_epochs else {}),
                "teachers": teachers.files if teachers else {},
                **keep_network(run),
            },
        )
        write_atomic(run.folder / "config.yaml", to_yaml(run.config).encode())


def keep_network(run: Training) -> dict[str, Any]:
    """Copy one's own network, with what its file imports beside it, into the run's folder; facts about it."""
    name = run.config.network
    if name in NETWORKS:
        return {}
    code = find_code(name, "", "the settings")
    for path, source in {code.file.name: code.source, **code.beside}.items():
        place = run.folder / "network" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place, source)
    beside = {path: sha256(source) for path, source in code.beside.items()}
    facts = {"name": name, "file": f"network/{code.file.name}", "sha256": code.digest, "beside": beside}
    return {"network": facts}


def record_changes(run: Training, changes: Sequence[str]) -> None:
    """Write the settings that a run goes on with, and to environment.json what `changes` say, and where."""
    path = run.folder / "config.yaml"
    begun = path.stat() if path.exists() else None
    write_atomic(path, to_yaml(run.config).encode())
    if begun:
        os.utime(path, ns=(begun.st_atime_ns, begun.st_mtime_ns))  # it tells when the run was started
    path = run.folder / "environment.json"
    if changes and path.exists():
        facts = orjson.loads(path.read_bytes())
        facts["changes"] = [
            *facts.get("changes", []),
            *({"epoch": run.epoch, "step": run.step, "said": said} for said in changes),
        ]
        write_atomic(path, orjson.dumps(facts, option=orjson.OPT_INDENT_2))


def _spare(folder: Path, needed: list[str]) -> None:
    """Refuse to delete files that the run itself needs: a resumed run would look for them."""
    for name in needed:
        if Path(name).resolve().is_relative_to(folder.resolve()):
            raise TsgcError(
                f"{name}: a teacher in the run's own folder, which starting again would empty;"
                " move it, or give another --run-dir or --seed"
            )


PACKAGES = ("torch", "numpy", "timm", "webdataset", "h5py", "safetensors")


def write_environment(folder: Path, benchmark: str, facts: dict[str, Any]) -> None:
    """Versions, commit and device of a run."""
    import torch  # here, as those who only look for runs need none

    content = {
        "benchmark": benchmark,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in PACKAGES},
        "tsgc": tool_version(),
        "git_commit": _git_commit(),
        "command": [safe(word) if "://" in word else word for word in sys.argv],  # passwords stay out
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        **facts,
    }
    write_atomic(folder / "environment.json", orjson.dumps(content, option=orjson.OPT_INDENT_2))


def _git_commit() -> str | None:
    """The commit of this source tree, where it is one."""
    here = Path(__file__).resolve().parent.parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
