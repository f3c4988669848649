"""Teachers and students in the search's plans, on several processes."""

import subprocess
import sys

import pytest
import torch
import yaml
from made.search import COUNTS, ROOT, SMALL, search
from nw_ucla import search as searching
from nw_ucla.plan import read_plan
from nw_ucla.search import Search, append_line, read_results
from nw_ucla.weights import check_unseen

from pipelines.errors import TsgcError
from tsgc.checkpoint import read_weights_description

TEACHING = {
    "base": SMALL, "clips": 200, "folds": ["1to2"], "trials": [
        {"name": "bone", "set": {"modality": "bone"}, "save": "bone"},
        {"name": "taught", "set": {"distil": 0.9}, "teachers": ["bone"]},
    ],
}  # fmt: skip


@pytest.fixture
def shards(trained):
    return trained / "data/shards/nw-ucla/xview"


def write_plan(path, **changes):
    path.write_text(yaml.safe_dump({**TEACHING, **changes}))
    return path


def test_a_plans_students_are_known_by_their_teachers_and_not_by_a_folder(tmp_path):
    path = write_plan(tmp_path / "plan.yaml", folds=["1to2", "2to1"], seeds=[0, 1])
    specs = read_plan(path, COUNTS, tmp_path / "kept")
    teachers, students = specs[:4], specs[4:]
    for teacher, student in zip(teachers, students, strict=True):
        assert (student.fold, student.config.seed) == (teacher.fold, teacher.config.seed)
        assert student.config.teachers == (str(teacher.save),) and student.taught_by == (teacher.key,)
        assert teacher.save.parent == tmp_path / "kept" and not student.ready and teacher.ready
        assert student.settings == {"distil": 0.9, "teachers": "bone"}
    elsewhere = read_plan(path, COUNTS, tmp_path / "elsewhere")
    assert [spec.key for spec in elsewhere] == [spec.key for spec in specs]
    other = read_plan(write_plan(path, base={**SMALL, "lr": 2e-3}), COUNTS)
    assert not {spec.key for spec in other} & {spec.key for spec in specs}

    trials = [TEACHING["trials"][0], {**TEACHING["trials"][1], "teacher_seed": 0}]
    students = read_plan(write_plan(path, trials=trials, seeds=[0, 1]), COUNTS)[2:]
    assert [spec.taught_by for spec in students] == [students[0].taught_by] * 2
    write_plan(path, trials=[trials[0], {"name": "x", "teachers": ["joint"]}])
    with pytest.raises(TsgcError, match="x: no earlier trial saves joint 1to2 seed 0; they save bone 1"):
        read_plan(path, COUNTS)


@pytest.mark.slow
def test_students_wait_for_teachers_that_another_process_trains(shards, tmp_path):
    out = tmp_path / "found.jsonl"
    path = write_plan(tmp_path / "plan.yaml")
    words = ["--plan", path, "--shards", shards, "--out", out, "--seconds", 300]
    said = search(*words, "--only", "taught")
    assert "1 wait for their teachers" in said and "0 done, 1 left" in said
    process = [sys.executable, str(ROOT / "benchmarks/search_nw_ucla.py"), *map(str, words), "--share", "1/2"]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""}
    with subprocess.Popen(process, env=environment, stdout=subprocess.PIPE, text=True) as student:
        assert "1 done, 0 left" in search(*words, "--share", "0/2")
        assert "1 done, 0 left" in student.communicate(timeout=900)[0]
    lines = {line["name"]: line for line in read_results(out)}
    assert lines["taught"]["set"] == {"distil": 0.9, "teachers": "bone"}
    (kept,) = (tmp_path / "found").glob("bone-1to2-seed0-*.safetensors")
    said = read_weights_description(kept)
    assert said.benchmark == "nw-ucla/1to2" and said.ema and said.config.modality == "bone"
    check_unseen(kept, "1to2")
    with pytest.raises(TsgcError, match="trained on the training clips of 1to2"):
        check_unseen(kept, "2to1")
    kept.unlink()  # then it is trained again
    assert "1 of them for this process" in search(*words)


CHAIN = [
    {"name": "first", "set": {"modality": "bone"}, "save": "first"},
    {"name": "second", "teachers": ["first"], "save": "second"},
    {"name": "third", "teachers": ["second"], "save": "third"},
    {"name": "fourth", "teachers": ["second", "third"]},
]


class WaitsError(Exception):
    """The search sleeps, as another process may yet train a teacher."""


def waits(specs, own, out, monkeypatch):
    """Whether a process that does the trainings named `own` waits for others of the plan."""

    def sleep(seconds):
        raise WaitsError

    monkeypatch.setattr(searching.time, "sleep", sleep)
    search = Search(pytest.fail, torch.device("cpu"), 2, lambda line: None, shared=True)
    mine = [spec for spec in specs if spec.name in own]
    try:
        assert search.run(mine, out, 60, plan=specs) == len(mine)
    except WaitsError:
        return True
    return False


@pytest.mark.parametrize("own", [{"second"}, {"third"}, {"fourth"}, {"second", "third", "fourth"}])
def test_nobody_waits_for_a_teacher_whose_own_teachers_failed(tmp_path, monkeypatch, own):
    specs = read_plan(write_plan(tmp_path / "plan.yaml", trials=CHAIN), COUNTS, tmp_path / "kept")
    out = tmp_path / "found.jsonl"
    assert waits(specs, own, out, monkeypatch)  # nothing failed yet
    append_line(out, {"key": specs[0].key, "status": "failed"})
    assert not waits(specs, own, out, monkeypatch)
    assert not waits(specs[::-1], own, out, monkeypatch)  # rounds may have students first
    append_line(out, {"key": specs[0].key, "status": "ok"})  # done again
    assert waits(specs, own, out, monkeypatch)


def test_a_teacher_that_is_there_teaches_though_its_own_failed_since(tmp_path, monkeypatch):
    specs = read_plan(write_plan(tmp_path / "plan.yaml", trials=CHAIN), COUNTS, tmp_path / "kept")
    out = tmp_path / "found.jsonl"
    append_line(out, {"key": specs[0].key, "status": "failed"})
    (tmp_path / "kept").mkdir()
    specs[1].save.with_suffix(".json").touch()
    assert waits(specs, {"fourth"}, out, monkeypatch)  # for the third, which the second can teach
    assert not waits(specs, {"second"}, out, monkeypatch)


def test_teachers_in_a_circle_cannot_be_planned(tmp_path):
    circle = [{"name": "a", "teachers": ["b"], "save": "a"}, {"name": "b", "teachers": ["a"], "save": "b"}]
    itself = [{"name": "a", "teachers": ["a"], "save": "a"}]
    for trials, said in ((circle, "a: no earlier trial saves b"), (itself, "a: no earlier trial saves a")):
        with pytest.raises(TsgcError, match=said):
            read_plan(write_plan(tmp_path / "plan.yaml", trials=trials), COUNTS)
