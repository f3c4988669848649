"""Recognition: the numbers of evaluate, whatever way a clip comes in, and plain words for what is wrong."""

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made.clips import ntu_clip, ntu_text, nw_ucla_clip, standing, write_folder, write_zip
from made.command import fails, quick, tsgc
from made.raw import raw_in_order
from made.runs import BENCHMARK
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import cli
from pipelines.errors import TsgcError
from pipelines.skeleton import NTU_25
from tsgc import load_run, predict
from tsgc.evaluation.scores import read_scores
from tsgc.fusion.fuse import fuse
from tsgc.inference.raw_clips import read_recordings
from tsgc.inference.recogniser import probabilities
from tsgc.inference.windows import is_centred, plan_windows, recentre

ROOT = Path(cli.__file__).parent


def run_folder(trained, benchmark=BENCHMARK, modality="joint"):
    return trained / "runs" / benchmark / "tiny" / modality / "seed0"


@pytest.mark.parametrize(
    ("benchmark", "modality"),
    [(BENCHMARK, "joint"), (BENCHMARK, "bone"), ("ntu60-corrected/xsub", "joint_motion"),
     ("nw-ucla/xview", "joint")],
)  # fmt: skip
def test_logits_are_those_of_evaluate(trained, benchmark, modality):
    run = run_folder(trained, benchmark, modality)
    recogniser = load_run(run, device="cpu")
    files, scores = raw_in_order(trained, run, recogniser)
    for batch, tolerance in ((recogniser.config.eval_batch, 0), (1, 1e-5), (3, 1e-5)):
        answers = recogniser.answers(read_recordings(files, recogniser.format), batch=batch)
        logits = np.stack([answer.logits for answer in answers])
        assert np.abs(logits - scores.logits).max() <= tolerance
    averaged = load_run(run, ema=True).predict([file.path for file in files])
    expected = read_scores(run / "scores/last-ema.npz").logits
    assert np.allclose(np.stack([answer.logits for answer in averaged]), expected, atol=1e-5)


def diverged(trained, folder):
    """A copy of a run one of whose weights is NaN."""
    shutil.copytree(run_folder(trained), folder)
    file = folder / "checkpoints/last.safetensors"
    with safe_open(file, "np") as opened:
        said = opened.metadata()
    weights = load_file(file)
    weights["head.bias"] = np.full_like(weights["head.bias"], np.nan)
    save_file(weights, file, said)
    return folder


def test_a_network_that_diverged_answers_nothing_and_says_so(trained, tmp_path):
    run, data = diverged(trained, tmp_path / "run"), trained / "data"
    before = (run / "scores/last.npz").read_bytes()
    said = fails("evaluate", run, "--data-root", data)
    assert "have logits that are not finite by the weights last, the first is S00" in said
    assert (run / "scores/last.npz").read_bytes() == before
    raw = next((data / "nturgbd_raw").glob("*.skeleton"))
    said = tsgc("predict", raw, "--run", run, expect=1)
    assert f"{raw}: logits that are not finite; did the training diverge?" in said and "%" not in said


@pytest.mark.parametrize(
    ("benchmark", "modality"), [(BENCHMARK, "bone"), ("ntu60-corrected/xsub", "joint_motion")]
)
def test_bodies_that_a_clip_does_not_have_are_not_computed(trained, benchmark, modality):
    recogniser = load_run(run_folder(trained, benchmark, modality), device="cpu")
    clip = np.random.default_rng(0).normal(size=(20, 2, 25, 3)).astype(np.float32)
    rows = []
    recogniser.streams[0].model.stem.register_forward_pre_hook(lambda stem, given: rows.append(len(given[0])))
    for bodies in (2, 1, 1):
        recogniser.predict(clip[:, :bodies])
    assert rows == [2, 2, 1, 1]  # what absent bodies become is computed once, for both places
    recogniser.predict([clip[:, :1], clip, clip[:, :1]])
    assert rows[4:] == [4]


def test_real_clips_give_the_numbers_of_evaluate(shared, trained, tmp_path):
    """Clips with bodies to choose from, gaps and two actors, through a checkpoint of NTU."""
    raw = shared / "data/nturgbd_raw"
    tsgc("prepare", "ntu60", "--raw", raw, "--out", tmp_path / "real.h5", "--jobs", 1)
    tsgc("shard", "--prepared", tmp_path / "real.h5", "--benchmark", "xsub", "--out", tmp_path, "--jobs", 1)
    run = run_folder(trained)
    for split in ("train", "test"):
        tsgc("evaluate", run, "--shards", tmp_path / "real/xsub", "--split", split, "--run-dir", tmp_path)
        scores = read_scores(tmp_path / f"scores/{'last' if split == 'test' else 'train-last'}.npz")
        clips = [next(raw.rglob(f"{name}.skeleton")) for name in scores.names]
        answers = predict(clips, run)
        assert [answer.clip for answer in answers] == list(scores.names)
        assert np.abs(np.stack([answer.logits for answer in answers]) - scores.logits).max() <= 1e-5


def test_a_fusion_is_the_ensemble_of_its_streams(trained):
    runs = [run_folder(trained, modality=modality) for modality in ("joint", "bone")]
    recogniser = load_run(runs, weights=[0.7, 0.2])
    files, _ = raw_in_order(trained, runs[0], recogniser)
    answers = recogniser.predict([file.path for file in files])
    fused = fuse([read_scores(run / "scores/last.npz") for run in runs], [0.7, 0.2])
    assert np.allclose(np.stack([answer.logits for answer in answers]), fused.logits, atol=1e-5)
    shares = probabilities(fused.logits / 0.9)
    for answer, expected in zip(answers, shares):
        best = [guess.probability for guess in answer.top]
        assert np.allclose(best, sorted(expected, reverse=True)[:5], atol=1e-5)


def test_a_bare_predict_fuses_the_newest_streams_and_says_so(trained, here):
    clip = write_folder(here, {"mine.skeleton": ntu_clip(3)}) / "mine.skeleton"
    said = tsgc("predict", clip, "--runs", trained / "runs")
    assert "joint tiny of ntu60/xsub" in said and "bone tiny of ntu60/xsub" in said
    assert "probability %" in said and "mine.skeleton" in said
    both = json.loads(tsgc("predict", clip, "--runs", trained / "runs", "--format", "json"))
    assert [run["modality"] for run in both["runs"]] == ["joint", "bone"]
    one = json.loads(tsgc("predict", clip, "--run", run_folder(trained), "--format", "json", "--top", 3))
    (answer,) = one["predictions"]
    assert len(answer["top"]) == 3 and answer["clip"] == "mine" and not one["failures"]
    assert answer["top"][0]["name"] == load_run(run_folder(trained)).classes[answer["top"][0]["label"]]


def test_one_run_given_twice_is_refused_however_it_is_spelled(trained, here):
    clip = write_folder(here, {"mine.skeleton": ntu_clip(3)}) / "mine.skeleton"
    run = run_folder(trained)
    (here / "again").symlink_to(run)
    code, _, said = predict_streams(clip, "--run", run, "--run", "again")
    assert code == 2 and "the same checkpoint as" in said and "leave one out" in said
    assert len(said.strip().splitlines()) == 1


def predict_streams(*words, stdin=b""):
    """Exit code, standard output and standard error of `tsgc predict`."""
    result = CliRunner().invoke(cli.app, ["predict", *map(str, words)], input=stdin)
    return result.exit_code, result.stdout, result.stderr


def test_one_bad_file_does_not_stop_the_others(trained, here):
    files = {
        "good.skeleton": ntu_clip(1),
        "cut.skeleton": ntu_clip(2)[:500],
        "nobody.skeleton": ntu_text([{}, {}]),
        "also.skeleton": ntu_clip(4, bodies=2),
    }
    write_folder(here, files)
    words = [*(here / name for name in files), here / "absent.skeleton", here / "empty"]
    (here / "empty").mkdir()
    code, out, err = predict_streams(*words, "--run", run_folder(trained), "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 1
    assert [row["clip"] for row in rows if row["rank"] == "1"] == ["good", "also"]
    assert sum(float(row["probability"]) for row in rows if row["clip"] == "good") <= 1 + 1e-5
    lines = err.splitlines()
    assert len(lines) == 4 and all(line.startswith("error: ") for line in lines)
    for line, words in zip(lines, ("line 5", "no body in it", "no such file", "no *.skeleton files")):
        assert words in line or "cut" in line


def test_standard_input_folders_and_zips(trained, here):
    run = run_folder(trained)
    clips = {"one.skeleton": ntu_clip(1), "two.skeleton": ntu_clip(2)}
    write_folder(here / "folder/deeper", clips)
    write_zip(here / "clips.zip", clips)
    by_folder = predict(here / "folder", run)
    by_zip = predict([str(here / "clips.zip")], run)
    assert [answer.clip for answer in by_folder] == [answer.clip for answer in by_zip] == ["one", "two"]
    assert all(np.array_equal(a.logits, b.logits) for a, b in zip(by_folder, by_zip))
    code, out, _ = predict_streams("-", "--run", run, "--format", "json", stdin=clips["one.skeleton"])
    (answer,) = json.loads(out)["predictions"]
    assert code == 0 and answer["source"] == "standard input"
    assert answer["top"][0]["probability"] == pytest.approx(by_folder[0].top[0].probability, abs=1e-6)
    code, _, err = predict_streams("-", "--run", run)
    assert code == 1 and "standard input: " in err and "empty" in err


@given(frames=st.integers(1, 400), window=st.integers(1, 100), data=st.data())
def test_windows_see_every_frame_and_have_one_length(frames, window, data):
    stride = data.draw(st.one_of(st.none(), st.integers(1, window)))
    windows = plan_windows(frames, window, stride)
    assert {frame for start, end in windows for frame in range(start, end)} == set(range(frames))
    assert {end - start for start, end in windows} == {min(window, frames)}
    starts = [start for start, _ in windows]
    assert starts == sorted(set(starts))


def test_a_window_is_recognised_as_a_clip_of_its_own(trained, here):
    frames = [{"1": joints} for joints in standing(50, seed=2, move=0.2)]
    write_folder(here, {"long.skeleton": ntu_text(frames), "part.skeleton": ntu_text(frames[20:40])})
    recogniser = load_run(run_folder(trained))
    windows = recogniser.predict(here / "long.skeleton", window=20, stride=20)
    assert [window.frames for window in windows] == [(0, 20), (20, 40), (30, 50)]
    assert windows[1].seconds == (20 / 30, 40 / 30)
    (alone,) = recogniser.predict(here / "part.skeleton")
    assert np.allclose(windows[1].logits, alone.logits, atol=1e-4)  # centred twice: rounded twice
    said = tsgc("predict", here / "long.skeleton", "--run", run_folder(trained), "--window", 20)
    assert "0.00 to 0.67" in said and "1.00 to 1.67" in said


def test_recentring_does_not_change_prepared_clips(trained):
    recogniser = load_run(run_folder(trained))
    files, _ = raw_in_order(trained, run_folder(trained), recogniser)
    for recording in read_recordings(files, recogniser.format):
        assert is_centred(recording.joints, NTU_25.centre, "xyz")
        assert np.array_equal(recentre(recording.joints, NTU_25.centre), recording.joints)
        (from_array,) = recogniser.predict(recording.joints)
        (from_file,) = recogniser.predict(recording.source)
        assert np.array_equal(from_array.logits, from_file.logits)


def test_absent_bodies_stay_absent_in_a_window():
    joints = np.random.default_rng(0).normal(3, 1, (4, 2, 25, 3)).astype(np.float32)
    joints[:2, 0] = 0
    joints[3, 1] = 0
    moved = recentre(joints, 1)
    assert np.array_equal((moved != 0).any((2, 3)), (joints != 0).any((2, 3)))
    assert np.array_equal(moved[0, 1], joints[0, 1] - joints[2, 0, 1])
    assert is_centred(moved, 1, "xyz")
    assert not is_centred(joints, 1, "xyz") and not is_centred(moved, 1, "xys")
    nobody = np.zeros((2, 1, 25, 3), np.float32)
    assert recentre(nobody, 1) is nobody and not is_centred(nobody, 1, "xyz")


def live_lines(joints):
    """Frames (T, V, C) of one body, as --live takes them."""
    return b"".join(json.dumps({"bodies": [frame.tolist()]}).encode() + b"\n" for frame in joints)


def test_live_frames_get_the_answers_of_windows(trained, here):
    joints = standing(41, seed=1, move=0.1)
    write_folder(here, {"clip.skeleton": ntu_text([{"1": frame} for frame in joints])})
    run = run_folder(trained)
    code, out, err = predict_streams(
        "--live", "--run", run, "--window", 20, "--stride", 10, stdin=live_lines(joints)
    )
    answers = [json.loads(line) for line in out.splitlines()]
    expected = load_run(run).predict(here / "clip.skeleton", window=20, stride=10)
    assert code == 0 and "joint tiny" in err
    assert [tuple(answer["frames"]) for answer in answers] == [window.frames for window in expected]
    for answer, window in zip(answers, expected):
        assert answer["latency_ms"] > 0
        assert answer["top"][0]["label"] == window.top[0].label
        assert answer["top"][0]["probability"] == pytest.approx(window.top[0].probability, abs=1e-4)


def test_live_skips_what_is_no_frame_and_frames_with_nobody(trained):
    good = live_lines(standing(6))
    bad = b'nonsense\n{"bodies": [[[1, 2]]]}\n{"bodies": [[["x"]]]}\n{}\n[1]\n{"bodies": 3}\n'
    nobody = b'{"bodies": []}\n{"bodies": [null]}\n'
    code, out, err = predict_streams(
        "--live", "--quiet", "--run", run_folder(trained), "--window", 4, stdin=nobody + bad + good
    )
    assert code == 1 and [json.loads(line)["frames"] for line in out.splitlines()] == [[8, 12], [10, 14]]
    lines = err.splitlines()
    assert len(lines) == 6 and all(line.startswith(f"error: line {n}: ") for n, line in enumerate(lines, 3))
    assert all('{"bodies": [[[x, y, z], ... 25 joints], ...]}' in line for line in lines)


def test_a_short_stream_gets_one_answer(trained):
    words = ("--live", "--run", run_folder(trained), "--window", 64)
    _, out, _ = predict_streams(*words, stdin=live_lines(standing(5)))
    assert [json.loads(line)["frames"] for line in out.splitlines()] == [[0, 5]]
    assert predict_streams(*words, stdin=b"")[1] == ""


def test_own_format_clips_are_read_by_their_run(here):
    joints = {f"{'ab'[i % 2]}{i}": standing(12 + i, seed=i) for i in range(16)}
    for name, clip in joints.items():
        (here / "data/custom/clips").mkdir(parents=True, exist_ok=True)
        np.save(here / f"data/custom/clips/{name}.npy", clip)
    split = {"mine": {"train": ["?[0-9]"], "test": ["?1?"]}}
    description = {"name": "own", "skeleton": "ntu-25", "classes": ["wave", "nod"],
                   "labels": {"a*": "wave", "b*": "nod"}, "splits": split}  # fmt: skip
    (here / "data/custom/dataset.yaml").write_text(json.dumps(description))
    tsgc("prepare", "custom", "--jobs", 1)
    tsgc("shard", "--jobs", 1)
    (name,) = [path.parent.relative_to(here / "data/shards").as_posix()
               for path in (here / "data/shards").rglob("manifest.json")]  # fmt: skip
    tsgc("train", name, *quick("epochs=1", "warmup_epochs=0", "last_batch=spread", "batch=4", "mix_group=4"))
    scores = read_scores(next((here / "runs").rglob("last.npz")))
    run = next((here / "runs").rglob("config.yaml")).parent
    answers = predict([here / f"data/custom/clips/{clip}.npy" for clip in scores.names], run)
    assert np.abs(np.stack([answer.logits for answer in answers]) - scores.logits).max() <= 1e-5
    assert answers[0].top[0].name in ("wave", "nod")
    assert "ends in .npy" in fails("predict", here / "data/custom/dataset.yaml", "--run", run, "--quiet")


def kinetics_clip(seed):
    """OpenPose JSON of a body that wanders, one joint of it never seen."""
    rng = np.random.default_rng(seed)
    places = 0.5 + 0.1 * rng.normal(size=(18, 2)) + 0.02 * rng.normal(size=(10 + seed, 1, 2)).cumsum(0)
    score = [0.0, *rng.uniform(0.2, 1, 17).tolist()]
    frames = [
        {"frame_index": index, "skeleton": [{"pose": pose.ravel().tolist(), "score": score}]}
        for index, pose in enumerate(places, 1)
    ]
    return json.dumps({"data": frames, "label": "waving", "label_index": 0}).encode()


def test_kinetics_clips_are_read_by_their_run(here):
    raw = here / "data/kinetics-skeleton"
    names = ("waving", "nodding")
    for part, seeds in (("train", range(8)), ("val", range(8, 12))):
        write_folder(raw / f"kinetics_{part}", {f"clip{seed}.json": kinetics_clip(seed) for seed in seeds})
        labels = {f"clip{seed}": {"label": names[seed % 2], "label_index": seed % 2} for seed in seeds}
        (raw / f"kinetics_{part}_label.json").write_text(json.dumps(labels))
    tsgc("prepare", "kinetics", "--jobs", 1)
    tsgc("shard", "--jobs", 1)
    tsgc("train", *quick("epochs=1", "warmup_epochs=0", "last_batch=spread", "batch=4", "mix_group=4"))
    run = next((here / "runs").rglob("config.yaml")).parent
    scores = read_scores(run / "scores/last.npz")
    answers = predict([raw / f"kinetics_val/{name}.json" for name in scores.names], run)
    assert np.abs(np.stack([answer.logits for answer in answers]) - scores.logits).max() <= 1e-5
    assert len(predict(raw / "kinetics_val", run)) == 4

    # The same body as an own-format clip, its x and y in pixels.
    clip = json.loads(kinetics_clip(9))
    pose = np.array([frame["skeleton"][0]["pose"] for frame in clip["data"]]).reshape(-1, 18, 2)
    score = np.array([frame["skeleton"][0]["score"] for frame in clip["data"]])[..., None]
    np.save(here / "own.npy", np.concatenate([pose * (640, 480), score], -1).astype(np.float32))
    (own,) = load_run(run, image_size=(640, 480)).predict(here / "own.npy")
    assert own.logits.shape == (2,) and own.top[0].name in names


def test_wrong_use_is_told(trained, here):
    run, other = run_folder(trained), run_folder(trained, "nw-ucla/xview")
    clip = write_folder(here, {"a.skeleton": ntu_clip()}) / "a.skeleton"
    assert "data set nw-ucla" in fails("predict", clip, "--run", run, "--run", other)
    corrected = run_folder(trained, "ntu60-corrected/xsub", "joint_motion")
    assert "preset corrected" in fails("predict", clip, "--run", run, "--run", corrected)
    assert "expected one each" in fails("predict", clip, "--run", run, "--weights", "1,2", code=2)
    assert "no run with a checkpoint last" in fails("predict", clip)
    assert "no checkpoint first" in fails("predict", clip, "--run", run, "--checkpoint", "first")
    for words in ([], [clip, "--live"], [clip, "--format", "xml"], [clip, "--stride", "3"],
                  [clip, "--window", "3", "--stride", "4"], [clip, "--image-size", "3"]):  # fmt: skip
        tsgc("predict", *words, "--run", run, expect=2)
    assert "leave it out" in fails("predict", clip, "--run", run, "--image-size", "640,480", code=2)
    assert " next " in tsgc("predict", clip, "--run", run, "--window", "9")
    assert " next " not in tsgc("predict", clip, "--run", run, "--window", "9", "--top", "1")
    with pytest.raises(TsgcError, match="expected \\(frames, bodies, 25, 3\\)"):
        predict(np.zeros((4, 25, 3)), run)
    with pytest.raises(TsgcError, match="not finite"):
        predict(np.full((4, 1, 25, 3), np.nan), run)
    with pytest.raises(TsgcError, match="no run given"):
        load_run([])
    write_folder(here, {"ucla.json": nw_ucla_clip(1)})
    with pytest.raises(
        TsgcError, match=r"ucla.json: line 1.*the run is of ntu60, whose raw clips end in .skeleton"
    ):
        predict(here / "ucla.json", run)


def test_a_checkpoint_of_before_it_named_its_data_set_is_read(trained, here):
    shutil.copytree(run_folder(trained), here / "old")
    beside = here / "old/checkpoints/last.json"
    said = json.loads(beside.read_text())
    for name in ("dataset", "class_names", "absent_body", "fps"):
        del said[name]
    beside.write_text(json.dumps(said))
    clip = write_folder(here, {"a.skeleton": ntu_clip()}) / "a.skeleton"
    old, new = (predict(clip, run)[0] for run in (here / "old", run_folder(trained)))
    assert old.top == new.top and old.seconds == new.seconds
    beside.write_text(json.dumps({**said, "dataset": "ntu60", "preset": "of the future"}))
    assert "which this version cannot prepare" in fails("predict", clip, "--run", here / "old")


def test_probabilities_are_the_softmax():
    logits = np.random.default_rng(0).normal(0, 50, (7, 11)).astype(np.float32)
    expected = torch.from_numpy(logits).double().softmax(1).numpy()
    assert np.allclose(probabilities(logits), expected, atol=1e-12)


def test_importing_the_package_does_not_import_torch():
    code = "import sys, tsgc; print('torch' in sys.modules, sorted(dir(tsgc)) == sorted(tsgc.__all__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["False", "True"], done.stderr
    with pytest.raises(ImportError):
        from tsgc import nothing_of_that_name  # noqa: F401
