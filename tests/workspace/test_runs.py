"""`tsgc runs` lists what has been trained, and `tsgc runs rm` deletes it; bare commands take whole runs."""

import fcntl
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from made.command import fails, tsgc
from made.run_folders import make_run_folder
from made.terminal import on_terminal

from pipelines.errors import TsgcError
from tsgc.evaluation.scores import all_and_clean, read_scores
from tsgc.workspace import runs as runs_of
from tsgc.workspace.at_work import ERROR, LOCK, at_work, error_kept, is_running
from tsgc.workspace.newest_runs import newest_scored, newest_trained, newest_whole
from tsgc.workspace.remove_run import remove_trained
from tsgc.workspace.run_list import day, duration
from tsgc.workspace.run_state import run_state, scored_top1
from tsgc.workspace.runs import open_run

DAY = 86400.0


@pytest.fixture
def runs(here):
    """Three seeds of the joint stream, and a run in each other state, below ./runs."""
    root, now = here / "runs", time.time()
    for seed in range(3):
        make_run_folder(root, seed=seed, started=now - DAY * (seed + 5))
    make_run_folder(root, modality="bone", epochs=2, warmup_epochs=1, started=now - 4 * DAY)
    make_run_folder(root, modality="joint_motion", done=12, started=now - 3 * DAY)
    failed = make_run_folder(root, modality="bone_motion", variant="432", done=30, started=now - 2 * DAY)
    (failed / ERROR).write_text("the loss is nan in epoch 31\n")
    make_run_folder(root, "nw-ucla/xview", variant="small", epochs=150, repeats=0, started=now - DAY)
    return root


def rows(*words):
    """The rows of `tsgc runs`, as lists of cells."""
    lines = tsgc("runs", *words).splitlines()
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]


def test_a_row_a_run_with_mean_and_deviation_over_seeds(runs):
    found = rows()
    assert [row[:6] for row in found] == [
        ["ntu60/xsub", "252", "bone", "0", "2/2", "short"],
        ["ntu60/xsub", "252", "joint", "0", "300/300", "finished"],
        ["ntu60/xsub", "252", "joint", "1", "300/300", "finished"],
        ["ntu60/xsub", "252", "joint", "2", "300/300", "finished"],
        ["ntu60/xsub", "252", "joint", "mean", "", "of 3"],
        ["ntu60/xsub", "252", "joint", "sd", "", "of 3"],
        ["ntu60/xsub", "252", "joint_motion", "0", "12/300", "unfinished"],
        ["ntu60/xsub", "432", "bone_motion", "0", "30/300", "failed"],
        ["nw-ucla/xview", "small", "joint", "0", "150/150", "finished"],
    ]
    for part in (6, 7):
        values = [float(row[part]) for row in found[1:4]]
        assert float(found[4][part]) == pytest.approx(np.mean(values), abs=0.011)
        assert float(found[5][part]) == pytest.approx(np.std(values, ddof=1), abs=0.011)
    assert found[6][6:8] == ["41.00", ""] and found[8][7] == ""  # last validation; nothing repeats
    assert found[0][9] == "2 min" and found[1][9] == "5.0 h"
    assert "432/bone_motion/seed0: the loss is nan in epoch 31" in tsgc("runs")


def test_json_says_the_same_and_the_accuracies_are_the_scores(runs):
    found = json.loads(tsgc("runs", "--json", "--stream", "joint", "--benchmark", "ntu60"))
    for entry in found["runs"]:
        figures = all_and_clean(read_scores(open_run(runs.parent / entry["folder"]).scores("last")))
        assert entry["top1"] == {part: accuracy.top1 for part, accuracy in figures.items()}
        assert (entry["state"], entry["epochs"], entry["recipe_epochs"]) == ("finished", 300, 300)
    (group,) = found["groups"]
    values = [entry["top1"]["clean"] for entry in found["runs"]]
    assert group["seeds"] == [0, 1, 2] and group["finished"] == 3
    assert group["top1"]["clean"] == {"mean": statistics.mean(values), "sd": statistics.stdev(values)}
    averaged = json.loads(tsgc("runs", "--json", "--ema"))["runs"][1]
    ema = read_scores(open_run(runs.parent / averaged["folder"]).scores("last-ema"))
    assert averaged["top1"]["all"] == all_and_clean(ema)["all"].top1


@pytest.mark.parametrize(
    ("words", "streams"),
    [
        (["--benchmark", "nw-ucla"], ["joint"]),
        (["--benchmark", "ntu60/xsub", "--network", "432"], ["bone_motion"]),
        (["--stream", "bone"], ["bone"]),
        (["--state", "unfinished"], ["joint_motion"]),
        (["--state", "short"], ["bone"]),
    ],
)
def test_filters_choose(runs, words, streams):
    assert [row[2] for row in rows(*words)] == streams


def test_sorted_groups_stay_together(runs):
    def order(sort):
        entries = json.loads(tsgc("runs", "--sort", sort, "--json"))["runs"]
        return list(dict.fromkeys(entry["folder"][len("runs/") : -len("/seed0")] for entry in entries))

    assert order("started") == [
        "nw-ucla/xview/small/joint", "ntu60/xsub/432/bone_motion", "ntu60/xsub/252/joint_motion",
        "ntu60/xsub/252/bone", "ntu60/xsub/252/joint",
    ]  # fmt: skip
    assert order("time")[0] == "ntu60/xsub/252/joint" and order("time")[-1] == "ntu60/xsub/252/bone"
    best = max(json.loads(tsgc("runs", "--json"))["runs"], key=lambda entry: entry["top1"].get("all", 0))
    assert best["folder"].startswith(f"runs/{order('accuracy')[0]}/")


def test_runs_of_other_data_or_another_start_are_another_group(here):
    root = here / "runs"
    make_run_folder(root, seed=0)
    make_run_folder(root, seed=1, environment={"manifest_digest": "other"})
    make_run_folder(root, seed=2, environment={"init": "from runs/a"})
    assert [row[3] for row in rows()] == ["0", "1", "2"]


def test_where_there_is_nothing_that_is_said(here):
    assert tsgc("runs") == "runs: no runs; `tsgc train` makes one\n"
    assert json.loads(tsgc("runs", "--json")) == {"runs": [], "groups": []}
    make_run_folder(here / "runs")
    said = tsgc("runs", "--stream", "bone")
    assert said == "none of the 1 runs in runs is such a one; there are runs of ntu60/xsub\n"
    assert "--sort best: expected name" in fails("runs", "--sort", "best", code=2)
    assert "--state done: expected finished" in fails("runs", "--state", "done", code=2)


def test_a_run_that_cannot_be_read_is_named_and_the_others_are_listed(runs):
    broken = runs / "ntu60/xsub/252/bone/seed0/config.yaml"
    broken.write_text("epoch: 3\n")
    said = tsgc("runs")
    assert f"left out: {broken.relative_to(runs.parent)}: unknown key 'epoch'" in said and "432" in said


def test_runs_elsewhere_below_say_where(here):
    make_run_folder(here / "runs", folder=here / "runs/trial")
    assert rows()[0][2] == "joint in trial"
    make_run_folder(here / "runs")
    assert rows("--runs", "runs/ntu60")[0][2] == "joint"


def test_a_narrow_terminal_gets_a_table_that_fits(runs):
    said = on_terminal(f"import cli; cli.app(['runs', '--runs', {str(runs)!r}])", 80).splitlines()
    assert {"7 runs", "ntu60/xsub", "nw-ucla/xview"} <= set(said)
    assert max(len(line) for line in said if len(line.split()) > 1) <= 80
    assert any(line.startswith("  252 joint_motion") and "12/300  unfinished  41.00" in line for line in said)


def test_listing_needs_no_torch(runs):
    code = "import sys, cli\ntry: cli.app(['runs'])\nexcept SystemExit: print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=runs.parent, check=True
    )
    assert done.stdout.splitlines()[-1] == "False", done


def test_a_run_is_running_as_long_as_a_process_trains_it(here):
    folder = make_run_folder(here / "runs", done=3)
    assert run_state(open_run(folder)).state == "unfinished"
    with at_work(folder):
        assert run_state(open_run(folder)).state == "running"
        assert "being trained; stop that first" in fails("runs", "rm", folder, "--yes")
        with at_work(folder, main=False):
            pass
        assert is_running(folder)
    assert not is_running(folder) and not (folder / LOCK).exists()
    (folder / LOCK).touch()  # what a killed process leaves
    assert run_state(open_run(folder)).state == "unfinished"


def test_runs_that_are_deleted_while_they_are_listed_are_left_out(here, monkeypatch):
    kept, gone = (make_run_folder(here / "runs", seed=seed) for seed in (0, 1))
    read = runs_of.read_run_config

    def late(path: Path):
        if path.parent == gone:
            remove_trained(gone)
        return read(path)

    monkeypatch.setattr(runs_of, "read_run_config", late)
    assert [run.folder for run in runs_of.find_runs(here / "runs")] == [kept]


def test_one_process_at_a_time_trains_in_a_folder(here, monkeypatch):
    """Also where the one before it ends between the two calls that take its place."""
    folder = make_run_folder(here / "runs")
    lock, calls = fcntl.flock, iter([(folder / LOCK).unlink])

    def late(descriptor: int, how: int) -> None:
        next(calls, bool)()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with at_work(folder):
        assert is_running(folder)
        remove_trained(folder)  # as it starts again
        with pytest.raises(TsgcError, match="another process trains here"), at_work(folder):
            pass
        assert is_running(folder)
    assert not is_running(folder)


def test_an_error_that_ends_a_run_is_kept_until_the_next_start(here):
    folder = make_run_folder(here / "runs", done=3)
    with pytest.raises(TsgcError), error_kept(folder):
        raise TsgcError("the loss is nan")
    state = run_state(open_run(folder))
    assert (state.state, state.error) == ("failed", "the loss is nan")
    stopped = TsgcError("asked to stop")
    stopped.exit_code = 75
    with pytest.raises(TsgcError), error_kept(folder):
        raise stopped
    assert run_state(open_run(folder)).state == "unfinished"


@pytest.mark.parametrize(
    ("done", "scored", "state"),
    [(300, True, "finished"), (300, False, "unfinished"), (7, True, "unfinished")],
)
def test_a_run_is_finished_when_all_its_epochs_are_done_and_scored(here, done, scored, state):
    folder = make_run_folder(here / "runs", done=done, scored=scored)
    assert run_state(open_run(folder)).state == state


def test_a_run_is_short_of_the_recipe_that_it_was_started_with(here):
    own = make_run_folder(here / "runs", epochs=50, environment={"recipe_epochs": 50})
    shipped = make_run_folder(here / "runs", epochs=50, seed=1)
    assert [run_state(open_run(folder)).state for folder in (own, shipped)] == ["finished", "short"]


def test_accuracies_of_score_files_that_do_not_say_them_are_counted(here):
    path = open_run(make_run_folder(here / "runs")).scores("last")
    said = scored_top1(path)
    with np.load(path) as content:
        columns = {name: content[name] for name in content.files if name != "accuracy"}
    np.savez(path, **columns)
    assert scored_top1(path) == said and set(said) == {"all", "clean"}
    path.write_bytes(b"PK")
    assert scored_top1(path) == {}


def test_bare_commands_leave_out_what_is_not_whole_and_say_so_once(runs):
    said = []
    found = newest_scored(runs, "last", said.append)
    assert [run.benchmark for run in found] == ["nw-ucla/xview"] and said == []
    tsgc("runs", "rm", "nw-ucla/xview/small/joint/seed0", "--yes")
    found = newest_trained(runs, "last", said.append)
    assert [(run.config.modality, run.config.seed) for run in found] == [("joint", 0)]
    (line,) = said
    assert line.startswith("left out: ") and line.endswith("; name a run to use it all the same")
    for reason in (
        "bone_motion/seed0 (failed, 30 of 300 epochs)",
        "bone/seed0 (2 epochs, its recipe has 300)",
        "joint_motion/seed0 (unfinished, 12 of 300 epochs)",
    ):
        assert reason in line
    assert newest_whole(runs, "last", said.append).config.modality == "joint"
    said = tsgc("ensemble")
    assert said.count("left out") == 1 and "joint 252 seed 0" in said and "bone" not in said.splitlines()[1]
    assert "left out" not in tsgc("ensemble", "--quiet")
    named = tsgc("ensemble", runs / "ntu60/xsub/252/bone/seed0")
    assert "bone 252 seed 0" in named and "left out" not in named


def test_short_runs_are_taken_where_there_are_no_others(here):
    make_run_folder(here / "runs", epochs=2, warmup_epochs=1)
    make_run_folder(here / "runs", modality="bone", done=1)
    said = tsgc("ensemble")
    assert "joint 252 seed 0" in said.splitlines()[1] and "; left out: runs/ntu60/xsub/252/bone" in said
    assert said.startswith(
        "short runs, as there are no others: runs/ntu60/xsub/252/joint/seed0 (2 epochs, its"
    )
    make_run_folder(here / "more", done=1)
    with pytest.raises(TsgcError, match=r"more: no finished run; .*seed0 \(unfinished, 1 of 300 epochs\); "):
        newest_trained(here / "more", "last", print)


def test_bare_export_takes_the_newest_finished_run_and_says_which(runs, monkeypatch):
    from tsgc.export import export  # loads torch, which the others here need not

    taken = []
    monkeypatch.setattr(export, "export_run", lambda talker, run, **options: taken.append(str(run)))
    newest = "runs/nw-ucla/xview/small/joint/seed0"
    assert tsgc("export") == f"the newest run: {newest}\n"
    tsgc("runs", "rm", newest, "--yes")
    left, chosen = tsgc("export").splitlines()
    assert "bone_motion/seed0 (failed, 30 of 300 epochs)" in left and left.startswith("left out: ")
    assert chosen == "the newest run: runs/ntu60/xsub/252/joint/seed0"
    assert taken == [newest, "runs/ntu60/xsub/252/joint/seed0"]


def test_rm_deletes_what_a_run_wrote_and_leaves_the_rest(runs):
    folder = runs / "ntu60/xsub/252/bone/seed0"
    (folder / "export").mkdir()
    (folder / "export/last.onnx").touch()
    (folder / "wandb/run-1/files").mkdir(parents=True)
    (folder / "wandb/run-1/files/config.yaml").touch()
    (folder / "wandb/latest-run").symlink_to(folder / "wandb/run-1")
    said = tsgc("runs", "rm", "ntu60/xsub/252/bone/seed0", "--yes")
    assert said == "runs/ntu60/xsub/252/bone/seed0: deleted\n"
    assert not folder.parent.exists() and (runs / "ntu60/xsub/252/joint/seed0/config.yaml").is_file()
    other = runs / "ntu60/xsub/252/joint_motion/seed0"
    (other / "notes.txt").write_text("mine")
    said = tsgc("runs", "rm", other, "--yes")
    assert said.endswith(f"deleted; not its own, and left: {other}/notes.txt\n")
    assert [path.name for path in other.iterdir()] == ["notes.txt"]
    assert "not a run" in fails("runs", "rm", other, "--yes")


def test_rm_follows_no_link_and_deletes_nothing_but_runs(runs, here):
    outside = make_run_folder(here / "outside")
    (runs / "linked").symlink_to(here / "outside")
    (runs / "twin").symlink_to(runs / "ntu60/xsub/252/joint/seed0")
    assert "linked/ntu60/xsub/252/joint/seed0: not below runs" in fails(
        "runs", "rm", "linked/ntu60/xsub/252/joint/seed0", "--yes"
    )
    assert "a link" in fails("runs", "rm", "twin", "--yes")
    assert "not below" in fails("runs", "rm", outside, "--yes")
    assert "not below" in fails("runs", "rm", f"../{outside.relative_to(here)}", "--yes")
    assert "not a run" in fails("runs", "rm", "ntu60/xsub", "--yes")
    assert "not below" in fails("runs", "rm", ".", "--yes", "--runs", ".")
    assert "no such run below runs" in fails("runs", "rm", "nowhere", "--yes")
    whole = runs / "ntu60/xsub/252/joint/seed1"
    target = here / "disk"
    (whole / "checkpoints").rename(target)
    (whole / "checkpoints").symlink_to(target)
    (whole / "metrics.jsonl").unlink()
    (whole / "metrics.jsonl").symlink_to(outside / "metrics.jsonl")
    said = tsgc("runs", "rm", "ntu60/xsub/252/joint/seed1", "--yes")
    assert "left: runs/ntu60/xsub/252/joint/seed1/checkpoints" in said
    assert (target / "state.pt").is_file() and (outside / "metrics.jsonl").is_file()
    assert not (whole / "metrics.jsonl").is_symlink()


def test_starting_again_deletes_what_training_wrote_and_not_what_was_exported(here):
    folder = make_run_folder(here / "runs")
    (folder / "export").mkdir()
    (folder / "export/last.onnx").touch()
    remove_trained(folder)
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["last.onnx"]


def test_rm_asks_and_refuses_where_nobody_can_answer(runs):
    name = "ntu60/xsub/252/bone/seed0"
    assert "no terminal is here to answer; give --yes" in fails("runs", "rm", name, code=2)
    code = f"import cli; cli.app(['runs', 'rm', {name!r}, '--runs', {str(runs)!r}])"
    said = on_terminal(code, type_at="[y/N]", typed="\n")
    assert "bone/seed0:\n0.0 MB" in said and said.endswith("nothing was deleted\nexit 1")
    assert (runs / name).is_dir()
    said = on_terminal(code, type_at="[y/N]", typed="y\n")
    assert said.endswith("bone/seed0:\ndeleted\nexit 0") and not (runs / name).exists()


def test_times_are_said_in_few_words():
    assert [duration(seconds) for seconds in (4.4, 60, 5399, 5400, 400_000)] == [
        "4 s", "1 min", "90 min", "1.5 h", "111.1 h"
    ]  # fmt: skip
    assert day(0.0) == time.strftime("%Y-%m-%d", time.localtime(0)) and len(day(time.time())) == 11


def test_real_runs_are_listed_as_their_scores_say(trained):
    found = json.loads(tsgc("runs", "--runs", trained / "runs", "--json"))["runs"]
    assert {(entry["benchmark"], entry["stream"]) for entry in found} >= {
        ("nw-ucla/xview", "joint"), ("ntu60/xsub", "bone"), ("ntu60-corrected/xsub", "joint_motion"),
    }  # fmt: skip
    for entry in found:
        scores = read_scores(open_run(Path(entry["folder"])).scores("last"))
        assert entry["top1"]["all"] == all_and_clean(scores)["all"].top1
        assert (entry["state"], entry["epochs"]) == ("short", 1) and entry["seconds"] > 0
        assert entry["recipe_epochs"] == (150 if entry["benchmark"] == "nw-ucla/xview" else 300)
