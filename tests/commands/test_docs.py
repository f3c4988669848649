"""Pages that come from the code are up to date; the guide's example runs; quiet, JSON, completion, doctor."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from made.clips import ntu_clip, write_folder
from made.command import quick, tsgc
from made.ranks import free_port
from made.runs import BENCHMARK
from typer.testing import CliRunner

import cli

ROOT = Path(cli.__file__).parent


@pytest.mark.parametrize("page", ["cli.md", "api.md", "contributing.md"])
def test_the_reference_pages_are_what_the_code_says(page):
    pages = runpy.run_path(str(ROOT / "docs/generate.py"))["pages"]()
    path = ROOT / "docs" / page
    assert path.read_text() == pages[path], "out of date: run python docs/generate.py"


def test_every_public_name_has_a_docstring_in_the_reference():
    page = (ROOT / "docs/api.md").read_text()
    packages = [import_module(name) for name in ("tsgc", "tsgc.data")]
    for full in [f"{package.__name__}.{name}" for package in packages for name in package.__all__]:
        described = page.partition(f"### `{full}`\n\n")[2]
        assert re.match(
            r"\S", described.partition("```\n\n")[2] if described.startswith("```") else described
        )


def test_the_example_of_the_guide_runs(trained, here):
    """Every Python block of docs/api.md, in order, in one place, as a reader would run them."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text(), re.DOTALL)
    run = trained / "runs/nw-ucla/xview/tiny/joint/seed0"
    for modality in ("joint", "bone"):
        shutil.copytree(run, here / f"runs/nw-ucla/xview/tiny/{modality}/seed0")
    shutil.copytree(trained / "data/shards/nw-ucla", here / "data/shards/nw-ucla")
    clips = trained / "data/NW-UCLA/all_sqe"
    shutil.copytree(clips, here / "clips")
    shutil.copy(here / "clips/a01_s01_e00_v03.json", here / "clips/a01_s01_e00_v03.json.bak")
    code = "\n".join(blocks)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "joint stream" in done.stdout and done.stdout.count("%") == len(list(clips.iterdir()))


@pytest.mark.slow
def test_the_guides_example_of_several_processes_runs(trained, here, monkeypatch):
    """Two ranks end with the weights of one: their shares are the whole batch. Started as torchrun does."""
    (code,) = re.findall(r"```py\n# ddp.py: .*?\n(.*?)```", (ROOT / "docs/api.md").read_text(), re.DOTALL)
    kept = "torch.save(net.module.state_dict(), f'{world}.pt')\n"
    code = "import torch; torch.manual_seed(0)\n" + code.replace(
        "torch.distributed.destroy", kept + "torch.distributed.destroy"
    )
    shutil.copytree(trained / "data/shards/nw-ucla", here / "data/shards/nw-ucla")
    ranks = {"PYTHONPATH": str(ROOT), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code], env={**os.environ, **ranks, "RANK": rank, "WORLD_SIZE": "2"}
        )
        for rank in "01"
    ]
    assert [process.wait() for process in running] == [0, 0]
    for name, value in {**ranks, "MASTER_PORT": str(free_port()), "RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    exec(code, {})
    one, two = (torch.load(here / f"{count}.pt") for count in (1, 2))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-4, atol=1e-5)


def test_quiet_leaves_results_and_errors(made, here):
    words = ["train", "ntu60/xsub", "--data-root", made, *quick()]
    loud = tsgc(*words, "--run-dir", here / "loud")
    said = tsgc("--quiet", *words, "--run-dir", here / "quiet")
    assert "epoch 2/2" in loud and "epoch 2/2" not in said
    assert "top-1 %" in said and f"run: {here / 'quiet'}" in said
    result = CliRunner().invoke(cli.app, ["evaluate", str(here / "absent"), "--quiet"])
    assert result.stderr.startswith("error: ") and "TSGC_QUIET" not in os.environ
    by_environment = CliRunner().invoke(
        cli.app, [*map(str, words), "--run-dir", str(here / "third")], env={"TSGC_QUIET": "1"}
    )
    assert "epoch 2/2" not in by_environment.output and by_environment.exit_code == 0


def test_json_is_all_that_reaches_standard_output(trained, here):
    run = shutil.copytree(trained / "runs" / BENCHMARK / "tiny/joint/seed0", here / "run")
    said = json.loads(tsgc("evaluate", run, "--data-root", trained / "data", "--json"))
    assert said["benchmark"] == BENCHMARK and said["accuracy"]["all"]["clips"] == 4
    table = tsgc("evaluate", run, "--data-root", trained / "data")
    assert f"{said['accuracy']['all']['top1']:.2f}" in table


def test_no_colour_in_a_pipe(trained, here):
    clip = write_folder(here, {"a.skeleton": ntu_clip()}) / "a.skeleton"
    run = trained / "runs" / BENCHMARK / "tiny/joint/seed0"
    command = [sys.executable, "-m", "tsgc", "predict", str(clip), "--run", str(run)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    environment.pop("FORCE_COLOR", None)
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 0 and b"probability" in done.stdout and b"\x1b" not in done.stdout + done.stderr


def test_the_shell_completes_commands_and_options():
    code = "import sys; sys.argv = ['tsgc']; import cli; cli.app(prog_name='tsgc')"

    def complete(line):
        environment = {**os.environ, "_TSGC_COMPLETE": "complete_bash", "COMP_WORDS": line,
                       "COMP_CWORD": str(len(line.split(" ")) - 1)}  # fmt: skip
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
                              env=environment)  # fmt: skip
        return done.stdout.split()

    assert {"predict", "prepare"} <= set(complete("tsgc pre"))
    assert {"--window", "--weights"} <= set(complete("tsgc predict --w"))
    assert "--install-completion" in tsgc("--help")


def test_doctor_says_what_is_missing_and_how_to_get_it(trained, here):
    nothing = json.loads(tsgc("doctor", "--json"))
    assert nothing["versions"]["torch"] and nothing["devices"][-1].startswith("cpu")
    assert not nothing["prepared"] and not nothing["runs"]
    (step,) = nothing["next"]
    assert "data/nturgbd_raw" in step["missing"] and "tsgc demo" in step["do"]

    shutil.copytree(trained / "data", here / "data")
    shutil.copytree(trained / "runs/nw-ucla", here / "runs/nw-ucla")
    shutil.rmtree(here / "data/shards/ntu60")
    (here / "data/prepared/broken.h5").write_bytes(b"no HDF5")
    (here / "data/shards/ntu60-corrected/xsub/manifest.json").write_text("{")
    (here / "runs/nw-ucla/xview/tiny/joint/seed0/scores/last.npz").unlink()
    found = json.loads(tsgc("doctor", "--json"))
    steps = {step["do"]: step["missing"] for step in found["next"]}
    assert steps["tsgc prepare ntu120"] == "ntu120 is not prepared"
    assert steps["tsgc shard ntu60"] == "ntu60: xsub, xview not sharded"
    assert "broken.h5" in steps["tsgc prepare --overwrite, for broken"]
    assert "manifest.json" in steps["tsgc shard ntu60-corrected --overwrite"]
    assert steps["tsgc train ntu60-corrected/xview"] == "no run of ntu60-corrected/xview"
    assert any(command.startswith("tsgc evaluate runs/nw-ucla") for command in steps)
    said = tsgc("doctor")
    assert f"precision: {found['precision'][-1]}" in said
    for step in found["next"]:
        assert f"missing: {step['missing']}; {step['do']}" in said
    assert {run["title"] for run in found["runs"]} == {"nw-ucla/xview tiny joint seed 0"}
