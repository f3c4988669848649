"""Streams that see several modalities side by side: names, input, networks, and a run from end to end."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from made.batches import CPU, made_clips, pack
from made.command import fails, quick, tsgc
from made.exported import onnx, pt2
from made.raw import raw_in_order
from made.slowly import slowly
from made.teachers import save_teacher

from pipelines.errors import TsgcError
from pipelines.skeleton import SKELETONS
from tsgc import load_run
from tsgc.config import TrainConfig, resolve_config
from tsgc.evaluation.scores import read_scores
from tsgc.inference.raw_clips import read_recordings
from tsgc.input.pipeline import InputPipeline
from tsgc.modalities import MODALITIES, derive_modality, mistake, num_channels, parts, stream_order

NTU, COCO = SKELETONS["ntu-25"], SKELETONS["coco-17"]
FOUR = "joint+bone+joint_motion+bone_motion"
LISTS = st.lists(st.sampled_from(list(MODALITIES)), min_size=1, unique=True)


@given(names=LISTS)
def test_any_modalities_in_any_order_are_a_stream(names):
    name = "+".join(names)
    assert parts(name) == names and mistake(name) == ""
    assert TrainConfig(modality=name).modality == name
    assert resolve_config("ntu60/xsub", settings=[f"modality={name}"]).modality == name


@given(
    names=LISTS,
    wrong=st.one_of(
        st.none(), st.text(alphabet="+abjoint_ ", max_size=8).filter(lambda t: t not in MODALITIES)
    ),
    at=st.integers(0, 20),
)
def test_a_part_that_is_none_or_there_twice_is_told(names, wrong, at):
    again = wrong is None
    part = names[at % len(names)] if again else wrong
    name = "+".join([*names[: at % 3], part, *names[at % 3 :]])
    said = mistake(name)
    assert said == (f"{part} is there twice" if again else said) != ""
    with pytest.raises(TsgcError) as caught:
        TrainConfig(modality=name)
    assert str(caught.value).startswith(f"modality is {name}, expected one of joint, bone, ")
    assert str(caught.value).endswith(f"or several joined by +: {said}")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("joint+bonne", "'bonne' is none, did you mean bone?"),
        ("bones", "'bones' is none, did you mean bone?"),
        ("joint+bone_motoin+bone", "'bone_motoin' is none, did you mean bone_motion?"),
        ("joint+bone+joint", "joint is there twice"),
        ("joint+", "a name is missing"),
        ("+joint", "a name is missing"),
        ("joint,bone", "'joint,bone' is none, did you mean joint?"),
        ("xyz+joint", "'xyz' is none"),
    ],
)
def test_the_command_tells_the_nearest_right_name(here, made, name, said):
    line = fails("train", "ntu60/xsub", "--data-root", made, "--modality", name, code=2)
    assert line.endswith(f"or several joined by +: {said}\n")


def test_single_streams_come_first_in_lists():
    names = ["bone+joint", "angle", "joint+bone", FOUR, "joint"]
    assert sorted(names, key=stream_order) == ["joint", "angle", "joint+bone", "bone+joint", FOUR]


@given(names=LISTS, channels=st.sampled_from(["xyz", "xys"]))
def test_a_stack_is_its_modalities_side_by_side(names, channels):
    x = torch.randn(2, 1, 6, 17, 3, generator=torch.Generator().manual_seed(0))
    seen = derive_modality("+".join(names), x, COCO, channels)
    assert torch.equal(seen, torch.cat([derive_modality(name, x, COCO, channels) for name in names], -1))
    assert seen.shape[-1] == num_channels("+".join(names), channels)


AUGMENTED = {
    "variant": "tiny", "frames": 16, "crop_min_frames": 4, "drop_joints": 0.7, "drop_axis": 0.7,
    "mirror": 0.5, "limbs": 0.1, "scale": 0.1, "noise": 0.01, "joint_offset": 0.02, "occlusion": 0.1,
    "speed": 0.2, "rotation": "vertical", "rotation_max": 90, "face_camera": True, "normalise": "spine",
    "centre": "middle",
}  # fmt: skip


@pytest.mark.parametrize("present_only", [False, True])
def test_every_augmentation_does_to_each_part_what_it_does_to_it_alone(present_only):
    batch = pack(made_clips(frames=(9, 40, 5), joints=25))
    names = ["bone_motion", "joint", "angle"]

    def seen(modality):
        config = TrainConfig(**AUGMENTED, modality=modality)
        pipeline = InputPipeline(config, NTU, 2, "zeros", present_only)
        draws = pipeline.draw(0, 0, 3, 3)
        return [*pipeline.train(batch, draws, CPU), pipeline.test(batch, CPU)[0]]

    train, presence, test = seen("+".join(names))
    alone = [seen(name) for name in names]
    assert torch.equal(train, torch.cat([one[0] for one in alone], 1)) and train.shape[1] == 9
    assert torch.equal(test, torch.cat([one[2] for one in alone], 1))
    assert (presence is None) != present_only and all(
        presence is None or torch.equal(presence, one[1]) for one in alone
    )


def test_an_axis_is_dropped_in_every_part_and_a_score_in_none():
    clip = np.random.default_rng(0).random((16, 1, 17, 3), dtype=np.float32) + 0.1
    config = TrainConfig(variant="tiny", frames=16, bodies=1, drop_axis=1.0, modality="joint+bone")
    axes = set()
    for channels in ("xyz", "xys"):
        pipeline = InputPipeline(config, COCO, 1, "zeros", channels=channels)
        for step in range(12):
            draws = pipeline.draw(0, step, 1, 3)
            x, _ = pipeline.train(pack([clip]), draws, CPU)
            gone = [not x[0, c].any() for c in range(6)]
            assert gone[:3] == gone[3:] and sum(gone[:3]) == (1 if channels == "xyz" else gone[0] or gone[1])
            axes.add((channels, *gone[:3]))
            assert channels == "xyz" or not gone[2]
    assert len(axes) >= 5


def test_teachers_and_students_may_see_stacks(ucla, tmp_path):
    """A stacked teacher's input is what it would train on itself, whatever the student sees."""
    paths = [
        save_teacher(ucla(modality=name), tmp_path / f"{name}.safetensors")
        for name in ("bone", FOUR, "joint+bone", "joint")
    ]
    for modality, others in (
        ("joint", ("bone", FOUR, "joint+bone")),
        ("joint+bone", ("bone", FOUR, "joint")),
    ):
        student = ucla(teachers=tuple(paths), modality=modality)
        assert student.train_step.others == others
        alone = [next(iter(ucla(modality=name).feed.epoch(1))).parts[0].x for name in others]
        (mine,) = next(iter(student.feed.epoch(1))).parts
        assert torch.equal(mine.others, torch.cat(alone, 1))
        step = student.train_step
        found = step.teachers.answer(mine.x, mine.others, None)
        inputs = dict(zip((modality, *others), (mine.x, *alone)))
        plain = [
            (teacher.model(inputs[teacher.modality]) / step.teachers.temperature).softmax(-1)
            for teacher in step.teachers.teachers
        ]
        torch.testing.assert_close(found, sum(plain) / 4)
        for ready in student.feed.epoch(0):
            step(ready.parts, lr=1e-3, size=ready.step.size, position=ready.step.step)
        assert step.loss_sum.isfinite()


STACKS = {
    "nw-ucla/xview": FOUR,
    "ntu60/xsub": "joint+bone",
    "ntu60-corrected/xsub": "bone+joint_motion+angle",
}


@pytest.mark.parametrize("benchmark", ["ntu60-corrected/xsub", *slowly("nw-ucla/xview", "ntu60/xsub")])
def test_a_stack_is_trained_and_used_as_any_stream(trained, here, benchmark):
    """Train, resume, evaluate, predict, inspect, info, export, fuse: as a user would."""
    modality = STACKS[benchmark]
    shutil.copytree(trained / "runs", here / "runs")
    places = ("--data-root", trained / "data")
    settings = quick("epochs=1", "warmup_epochs=0", "frames=40", "last_batch=spread", "drop_axis=0.5")
    tsgc("train", benchmark, "--modality", modality, *places, *settings)
    run = here / "runs" / benchmark / "tiny" / modality / "seed0"
    assert yaml.safe_load((run / "config.yaml").read_text())["modality"] == modality
    scores = read_scores(run / "scores/last.npz")
    assert scores.source.modality == modality and np.isfinite(scores.logits).all()
    tsgc("train", benchmark, "--modality", modality, *places, *settings, "--resume")

    tsgc("evaluate", run, *places)
    assert np.array_equal(read_scores(run / "scores/last.npz").logits, scores.logits)
    tsgc("evaluate", run, *places, "--tta", "mirror")

    recogniser = load_run(run, device="cpu")
    (loaded,) = recogniser.streams
    C, V, M = loaded.model.input_shape
    assert loaded.description.channels == C == 3 * len(modality.split("+"))
    files, _ = raw_in_order(trained, run, recogniser)
    answers = recogniser.answers(read_recordings(files, recogniser.format), batch=1)
    assert np.abs(np.stack([answer.logits for answer in answers]) - scores.logits).max() < 1e-5
    said = json.loads(tsgc("predict", files[0].path, "--run", run, "--json"))
    assert said["runs"][0]["modality"] == modality
    said = " ".join(tsgc("inspect", run / "checkpoints/last.safetensors").split())
    assert f"tiny, {modality}, raw weights" in said and f"of {C} channels over 40 frames" in said
    info = json.loads(tsgc("info", run, "--json"))
    assert info["modality"] == modality and info["parts"][0]["output"] == f"40 x {V} x {C}"

    tsgc("export", run, *places)
    card = (run / "export/last.md").read_text()
    assert f"`x` float32 (batch, {C}, " in card and f"{modality} modality" in card
    if not loaded.pipeline.present_only:
        tsgc("export", run, *places, "--raw-input")
        joints = np.random.default_rng(0).normal(0, 0.3, (33, M, V, 3)).astype(np.float32).cumsum(0) + 3
        (expected,) = recogniser.predict(joints.astype(np.float32))
        for run_file in (onnx(run / "export/last-joints.onnx")[1], pt2(run / "export/last-joints.pt2")):
            found = run_file(np.stack([joints, joints]).astype(np.float32))
            assert np.abs(found[1] - expected.logits).max() < 1e-4

    words = ("train", benchmark, *places, *settings)
    said = tsgc(*words, "--modality", "bone+joint_motion", "--init", run, "--run-dir", here / "started")
    assert "starting from" in said and "stem and input norm new" not in said
    said = tsgc(*words, "--modality", "bone2", "--teacher", run, "--run-dir", here / "taught")
    assert f"taught by {modality}" in " ".join(said.split())

    said = tsgc("ensemble")
    assert modality in " ".join(said.split())
    if benchmark == "ntu60/xsub":
        assert f"{modality} tiny" not in tsgc("ensemble", "--recipe", "2s")  # joint and bone alone
