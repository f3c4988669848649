"""The command driven as a user would: the four bare commands, and what wrong input is told."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made.clips import ntu_clip, write_folder
from made.command import fails, quick, tsgc
from made.shard_sets import make_store
from typer.testing import CliRunner

import cli
from pipelines.synthetic import raw_files
from tsgc.evaluation.scores import read_scores

ROOT = Path(cli.__file__).parent


def test_the_four_bare_commands_on_real_and_made_clips(here, shared):
    raw = here / "data/nturgbd_raw"
    shutil.copytree(shared / "data/nturgbd_raw", raw)
    raw_files.write_ntu(
        raw, actions=(8, 50), performers=(1, 3), cameras=(1, 2, 3), replications=(1,), setups=(20,)
    )

    said = tsgc("prepare", "ntu120")
    assert "17" in said and (here / "data/prepared/ntu120.h5").is_file()
    assert json.loads((here / "data/prepared/ntu120.report.json").read_text())
    said = tsgc("shard")
    assert "ntu120/xsub" in said and "ntu120/xset" in said
    said = tsgc("train", "--modality", "joint_motion", *quick())
    run = here / "runs/ntu120/xsub/tiny/joint_motion/seed0"
    assert str(run.relative_to(here)) in said and "reference preset" in said
    for name in (
        "config.yaml", "environment.json", "metrics.jsonl", "checkpoints/last.safetensors",
        "checkpoints/last-ema.json", "checkpoints/state.pt", "scores/last.npz", "scores/last-ema.npz",
    ):  # fmt: skip
        assert (run / name).is_file(), name
    assert list((run / "tensorboard").iterdir())
    assert not list(here.rglob("*.tmp")) and not list(here.rglob("*.partial"))
    said = tsgc("ensemble")
    assert "joint_motion tiny" in said and "fused" in said
    assert "whole" in tsgc("verify")


def test_a_bare_train_asks_which_of_two_data_sets(here, made):
    for name in ("ntu60", "mine"):
        shutil.copytree(made / "shards/ntu60", here / "data/shards" / name)
    assert "mine/xsub, ntu60/xsub" in fails("train", code=2)


def test_evaluate_and_ensemble_agree_with_training(here, made):
    for modality in ("joint", "bone"):
        tsgc("train", "ntu60/xsub", "--data-root", made, "--modality", modality, *quick())
    run = here / "runs/ntu60/xsub/tiny/joint/seed0"
    before = read_scores(run / "scores/last.npz")
    said = tsgc("evaluate", run, "--data-root", made)
    assert "top-1" in said and "clean" in said
    assert np.array_equal(read_scores(run / "scores/last.npz").logits, before.logits)

    said = tsgc("ensemble", "--weights", "1,0", "--out", here / "fused.npz")
    assert re.search("joint tiny.*weight 1", said) and re.search("bone tiny.*weight 0", said)
    assert np.array_equal(read_scores(here / "fused.npz").logits, before.logits)
    assert "2 streams" in tsgc("ensemble", run, here / "runs/ntu60/xsub/tiny/bone/seed0/scores/last.npz")
    assert "3 weights for 2 streams" in fails("ensemble", "--weights", "1,2,3", code=2)


def test_bad_input_gets_one_line(here, made):
    assert "no prepared data; run `tsgc prepare`" in fails("shard")
    assert "run `tsgc prepare` and `tsgc shard` first" in fails("train")
    assert "unknown; choose one of" in fails("prepare", "mine", code=2)
    assert "no run with" in fails("ensemble")
    assert "no runs" in fails("evaluate")
    assert "not sharded under" in fails("train", "ntu60/xview", "--data-root", made)
    assert "did you mean ntu60/xsub?" in fails("train", "ntu60/xsubs", "--data-root", made)
    assert "there are: ntu60/xsub" in fails("train", "kinetics", "--data-root", made)
    assert "did you mean epochs" in fails(
        "train", "ntu60/xsub", "--data-root", made, "--set", "epoch=3", code=2
    )
    assert "expected cpu or cuda" in fails(
        "train", "ntu60/xsub", "--data-root", made, "--device", "tpu", code=2
    )
    assert "not a score file" in fails("ensemble", write_folder(here, {"a.npz": b"no zip"}) / "a.npz")
    tsgc("train", "ntu60/xsub", "--data-root", made, "--resume", "--overwrite", expect=2)
    tsgc("ensemble", "--weights", "one,two", expect=2)
    tsgc("prepare", "ntu60", "--out", "made", expect=2)
    tsgc("prepare", "ntu60", "--name", "../made", expect=2)
    tsgc("bake", expect=2)


def test_print_config_prints_what_a_run_would_use(here, made):
    words = ["train", "ntu60/xsub", "--data-root", made, "--modality", "bone", *quick()]
    said = tsgc(*words, "--print-config")
    words[1] = "ntu60"  # the data set's name alone
    assert tsgc(*words, "--print-config") == said
    assert not (here / "runs").exists()
    tsgc(*words)
    kept = (here / "runs/ntu60/xsub/tiny/bone/seed0/config.yaml").read_text()
    assert kept == said.replace("trained_in: null", "trained_in: float32")  # which the run has settled


def test_an_output_that_exists_needs_overwrite(here):
    write_folder(here / "data/nturgbd_raw/nturgb+d_skeletons", {
        f"S001C00{c}P00{p}R001A001.skeleton": ntu_clip(seed=10 * c + p) for c in (1, 2, 3) for p in (1, 2, 3)
    })  # fmt: skip
    tsgc("prepare", "ntu60")
    before = (here / "data/prepared/ntu60.h5").read_bytes()
    assert "--overwrite" in fails("prepare", "ntu60")
    tsgc("prepare", "ntu60", "--overwrite")
    assert (here / "data/prepared/ntu60.h5").read_bytes() == before
    tsgc("shard")
    assert "--overwrite" in fails("shard", "ntu60")
    tsgc("shard", "--overwrite")
    words = ["train", "ntu60/xsub", *quick("batch=4", "last_batch=spread")]
    tsgc(*words)
    assert "--resume to go on" in fails(*words)


def test_data_of_another_kind_is_refused(here, made):
    shutil.copytree(made / "shards/ntu60", here / "data/shards/ntu120")
    assert "holds ntu60/xsub, expected ntu120/xsub" in fails("train", "ntu120/xsub")
    make_store(here / "data/prepared/ntu120.h5", clips=8)
    assert "ntu60" in fails("shard", "ntu120")
    manifest = made / "shards/ntu60/xsub/manifest.json"
    shutil.copytree(manifest.parent, here / "old")
    old = {**json.loads(manifest.read_text()), "schema_version": 0}
    (here / "old/manifest.json").write_text(json.dumps(old))
    assert "schema" in fails("train", "--shards", here / "old")


def test_debug_shows_the_traceback(here):
    result = CliRunner().invoke(cli.app, ["shard", "--debug"])
    assert (
        result.exit_code == 1 and result.exception is not None and "no prepared data" in str(result.exception)
    )


def test_help_needs_no_torch_and_every_command_has_an_example():
    code = "import sys, cli\ntry: cli.app(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
    for name in re.findall(r"^│ ([a-z]+) ", tsgc("--help"), re.MULTILINE):
        assert f"Example: tsgc {name}" in tsgc(name, "--help"), name


def test_packages_are_imported_from_beside_tsgc():
    import pipelines
    import shards
    import tsgc as package

    assert {Path(module.__file__).parent.parent for module in (package, pipelines, shards)} == {ROOT}


LAYERS = ("pipelines", "shards", "tsgc", "cli")


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_one_way(layer):
    """cli -> tsgc -> shards -> pipelines; pipelines never imports torch."""
    forbidden = {*LAYERS[LAYERS.index(layer) + 1 :], *(["torch"] if layer == "pipelines" else [])}
    files = [ROOT / "cli.py"] if layer == "cli" else (ROOT / layer).rglob("*.py")
    for file in files:
        if file.name == "__main__.py":
            continue  # an entry point, which calls the command
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            assert not forbidden & {name.split(".")[0] for name in names}, f"{file}: {names}"
