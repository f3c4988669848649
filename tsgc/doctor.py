"""`tsgc doctor`: what is installed, which data and runs are here, and the next command for each."""

import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipelines.datasets.table import DATASETS, OPENERS, Dataset, Opener
from pipelines.errors import TsgcError
from pipelines.prepared.store import open_store, tool_version
from shards.load_manifest import load_manifest
from tsgc.console import Talker
from tsgc.workspace.data_root import prepared_files, shard_sets
from tsgc.workspace.runs import find_runs

# Package -> what it is for; the optional ones say which extra brings them.
PACKAGES = {
    "torch": "network",
    "numpy": "arrays",
    "h5py": "prepared data",
    "webdataset": "shards read by others",
    "timm": "training",
    "safetensors": "weights",
    "tensorboard": "curves",
    "wandb": "curves (extra `wandb`)",
    "mlflow-skinny": "curves (extra `mlflow`)",
    "trackio": "curves (extra `trackio`)",
    "onnx": "export (extra `export`)",
    "onnxscript": "export (extra `export`)",
    "onnxruntime": "export (extra `export`)",
}


def examine(data_root: Path, runs_root: Path) -> dict[str, Any]:
    """All that is found here, and what to run next; plain values only."""
    raw = raw_data(data_root)
    prepared = [prepared_file(path) for path in prepared_files(data_root)]
    shards = [shard_set(name, folder) for name, folder in shard_sets(data_root).items()]
    runs = trained_runs(runs_root)
    return {
        "versions": {"tsgc": tool_version(), "python": platform.python_version(), **package_versions()},
        "devices": devices(),
        "precision": precisions(),
        "kernels": fused_kernels(),
        "data_root": str(data_root),
        "free_gb": round(free_bytes(data_root) / 1e9, 1),
        "raw": raw,
        "prepared": prepared,
        "shards": shards,
        "runs": runs,
        "next": next_steps(raw, prepared, shards, runs),
    }


def package_versions() -> dict[str, str | None]:
    """Package -> its version; None where it is not installed."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def devices() -> list[str]:
    """The GPUs that torch finds, and the CPU."""
    import torch

    gpus = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        gpus.append(f"cuda:{index} {facts.name}, {facts.total_memory / 1e9:.0f} GB")
    threads = torch.get_num_threads()
    return [*gpus, f"cpu, {threads} thread{'s' if threads > 1 else ''}"]


def precisions() -> list[str]:
    """What `precision: auto` is on each device, and whether bfloat16 is emulated there."""
    import torch

    from tsgc.network.precision import fastest, without_instructions

    lines = []
    for name in (*(f"cuda:{index}" for index in range(torch.cuda.device_count())), "cpu"):
        device = torch.device(name)
        missing = without_instructions("bf16", device)
        lines.append(f"{name}: auto is {fastest(device)}" + (f"; not {missing}" if missing else ""))
    return lines


def fused_kernels() -> list[str]:
    """What each GPU's kernels are cut for; where there are none, why."""
    import torch

    from tsgc import kernels

    gpus = range(torch.cuda.device_count())
    found = [
        f"cuda:{index}: {line}" for index in gpus for line in kernels.listed(torch.device("cuda", index))
    ]
    return found or ["none, there is no GPU: blocks run plain"]


def free_bytes(path: Path) -> int:
    """Free space where `path` is, or will be."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free


def raw_data(data_root: Path) -> list[dict[str, Any]]:
    """Each data set's raw places: those that are there, and those that are expected."""
    kinds: dict[str, Dataset | Opener] = {**DATASETS, **OPENERS}
    return [
        {
            "dataset": name,
            "found": [str(data_root / place) for place in kind.raw if (data_root / place).exists()],
            "expected": [str(data_root / place) for place in kind.raw],
        }
        for name, kind in kinds.items()
    ]


def prepared_file(path: Path) -> dict[str, Any]:
    """A prepared file's content, or its error."""
    try:
        with open_store(path) as store:
            return {
                "name": path.stem,
                "dataset": store.info.dataset,
                "preset": store.info.preset,
                "clips": len(store.labels),
                "benchmarks": list(store.splits),
            }
    except TsgcError as error:
        return {"name": path.stem, "error": str(error)}


def shard_set(name: str, folder: Path) -> dict[str, Any]:
    """A shard set's content, or its error."""
    try:
        manifest = load_manifest(folder)
    except TsgcError as error:
        return {"name": name, "error": str(error)}
    counts = {split: len(clips) for split, clips in manifest.clips.items()}
    return {"name": name, "preset": manifest.preset, "clips": counts}


def trained_runs(root: Path) -> list[dict[str, Any]]:
    """The runs, oldest first: what each has. One that cannot be read is an error of its own."""
    if not root.is_dir():
        return []
    try:
        runs = find_runs(root)
    except TsgcError as error:
        return [{"folder": str(root), "error": str(error)}]
    return [
        {
            "folder": str(run.folder),
            "title": run.title,
            "benchmark": run.benchmark,
            "checkpoints": sorted(path.stem for path in run.checkpoints.glob("*.safetensors")),
            "scored": run.scores("last").is_file(),
        }
        for run in runs
    ]


def next_steps(
    raw: list[dict[str, Any]],
    prepared: list[dict[str, Any]],
    shards: list[dict[str, Any]],
    runs: list[dict[str, Any]],
) -> list[dict[str, str]]:
    """The next steps: what is missing, and the command that makes it."""
    steps = []
    ready = {entry["dataset"] for entry in prepared if "dataset" in entry}
    if ready - set(DATASETS):  # files of an open format name their data set themselves
        ready |= set(OPENERS)
    for entry in raw:
        if entry["found"] and entry["dataset"] not in ready:
            steps.append(_step(f"{entry['dataset']} is not prepared", f"tsgc prepare {entry['dataset']}"))
    done = {entry["name"] for entry in shards if "error" not in entry}
    for entry in prepared:
        if "error" in entry:
            steps.append(_step(entry["error"], f"tsgc prepare --overwrite, for {entry['name']}"))
        elif missing := [b for b in entry["benchmarks"] if f"{entry['name']}/{b}" not in done]:
            steps.append(
                _step(f"{entry['name']}: {', '.join(missing)} not sharded", f"tsgc shard {entry['name']}")
            )
    for entry in shards:
        if "error" in entry:
            steps.append(_step(entry["error"], f"tsgc shard {entry['name'].split('/')[0]} --overwrite"))
    trained = {run["benchmark"] for run in runs if run.get("checkpoints")}
    for name in sorted(done - trained):
        steps.append(_step(f"no run of {name}", f"tsgc train {name}"))
    for run in runs:
        if "error" in run:
            steps.append(_step(run["error"], "look into that folder, or move it away"))
        elif not run["checkpoints"]:
            steps.append(
                _step(f"{run['folder']} has no checkpoint", "tsgc train --overwrite, with its settings")
            )
        elif not run["scored"]:
            steps.append(_step(f"{run['folder']} is not evaluated", f"tsgc evaluate {run['folder']}"))
    if not any(entry["found"] for entry in raw) and not prepared and not shards:
        places = ", ".join(dict.fromkeys(entry["expected"][0] for entry in raw))
        steps.append(_step(f"no raw data: expected one of {places}", "put it there, or try `tsgc demo`"))
    return steps


def _step(what: str, command: str) -> dict[str, str]:
    return {"missing": what, "do": command}


def show(talker: Talker, found: dict[str, Any]) -> None:
    """The findings as text and tables, or as JSON."""
    versions = found["versions"]
    rows = [[name, value or "not installed", PACKAGES.get(name, "")] for name, value in versions.items()]
    talker.table("Installed", ("", "version", "for"), rows)
    for device in found["devices"]:
        talker.line(f"device: {device}")
    for line in found["precision"]:
        talker.line(f"precision: {line}")
    for line in found["kernels"]:
        talker.line(f"kernels: {line}")
    talker.line(f"data root: {found['data_root']}, {found['free_gb']:,} GB free")
    rows = [[entry["dataset"], ", ".join(entry["found"]) or "none"] for entry in found["raw"]]
    talker.table("Raw data", ("data set", "found"), rows)
    _list(talker, "prepared", found["prepared"], "{name}: {clips:,} clips of {dataset}, {preset} preset")
    _list(
        talker,
        "shards",
        found["shards"],
        "{name}: {clips[train]:,} train, {clips[test]:,} test clips, {preset} preset",
    )
    _list(talker, "run", found["runs"], "{title}: {folder}")
    for step in found["next"]:
        talker.line(f"missing: {step['missing']}; {step['do']}")
    if not found["next"]:
        talker.line("nothing is missing")
    talker.data(found)


def _list(talker: Talker, kind: str, entries: list[dict[str, Any]], form: str) -> None:
    for entry in entries:
        talker.line(f"{kind}: {entry['error'] if 'error' in entry else form.format(**entry)}")
    if not entries:
        talker.line(f"{kind}: none")
