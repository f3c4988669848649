"""Distillation: what the teachers see, what the student loses, and a run taught by others."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from made.command import fails, quick, tsgc
from made.steps import CONFIG, CPU, SHAPE, Recorded, batches, same, tensors, train
from made.teachers import save_teacher

from pipelines.errors import TsgcError
from tsgc.bench.inputs import make_model, make_step
from tsgc.checkpoint import describe_weights, load_state, save_weights
from tsgc.config import resolve_config
from tsgc.export.model_card import model_card
from tsgc.inference.trained_stream import load_stream
from tsgc.step.cuda_graphs import clone
from tsgc.step.distil import Teacher, Teachers, open_teachers

MODALITIES = ("joint", "bone", "joint_motion", "bone")
TAUGHT = dataclasses.replace(CONFIG, distil=0.3, distil_temperature=3.0)


def teachers(modalities=MODALITIES, temperature=3.0):
    found = []
    for seed, modality in enumerate(modalities):
        model = make_model(SHAPE, CPU, seed + 10).eval().requires_grad_(False)
        found.append(Teacher(None, model, modality, str(seed)))
    return Teachers(found, "joint", temperature)


def with_others(given, count=2):
    random = torch.Generator().manual_seed(5)
    found = []
    for batch in given:
        N, C, *rest = batch.x.shape
        found.append(dataclasses.replace(batch, others=torch.randn(N, count * C, *rest, generator=random)))
    return found


def taught_step(config=TAUGHT, taught_by=None):
    step = make_step(SHAPE, config, CPU, cuda_graphs=False)
    step.teachers = taught_by or teachers()
    return step


@pytest.mark.parametrize("presence", [False, True])
def test_the_loss_is_the_one_written_out(presence):
    """Labels' cross-entropy, and the divergence from the mean of four teachers, clip by clip."""
    step = taught_step()
    (batch,) = with_others(batches(presence, (6,)))
    found = step.loss(batch).item()

    student = make_model(SHAPE, CPU).train()
    lam = batch.lam.view(-1, 1, 1, 1, 1)
    mixed = [x * lam + x[batch.partner] * (1 - lam) for x in (batch.x, *batch.others.chunk(2, 1))]
    there = batch.presence
    if presence:
        lam = lam[..., 0, 0]
        there = there * lam + there[batch.partner] * (1 - lam)
    logits = student(mixed[0], batch.survival, there)
    seen = {"joint": mixed[0], "bone": mixed[1], "joint_motion": mixed[2]}
    answers = [
        make_model(SHAPE, CPU, 10 + seed).eval()(seen[modality], presence=there)
        for seed, modality in enumerate(MODALITIES)
    ]
    loss = 0.0
    for n in range(6):
        target = torch.full((SHAPE.classes,), 0.1 / SHAPE.classes)
        target[batch.labels[n]] += 0.9 * batch.lam[n]
        target[batch.labels[batch.partner[n]]] += 0.9 * (1 - batch.lam[n])
        labels = -(target * logits[n].log_softmax(0)).sum()
        p = sum((answer[n] / 3).softmax(0) for answer in answers) / 4
        q = (logits[n] / 3).softmax(0)
        loss = loss + 0.7 * labels + 0.3 * 9 * (p * (p / q).log()).sum()
    assert found == pytest.approx(loss.item(), rel=1e-5)


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    step = taught_step(dataclasses.replace(TAUGHT, distil=1.0), teachers(["joint"]))
    step.model.load_state_dict(step.teachers.teachers[0].model.state_dict())
    step.model.eval()
    batch = dataclasses.replace(batches()[0], survival=torch.ones(3, 12))
    loss = step.loss(batch)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    nothing = max(parameter.grad.abs().max() for parameter in step.model.parameters())
    with torch.no_grad():
        step.model.head.bias[0] += 0.5
    step.optimizer.zero_grad()
    step.loss(batch).backward()
    something = max(parameter.grad.abs().max() for parameter in step.model.parameters())
    assert nothing < 1e-3 < 0.1 < something


def test_teachers_stay_as_they_are_and_are_nobodys_parameters():
    step = taught_step()
    before = [{k: v.clone() for k, v in t.model.state_dict().items()} for t in step.teachers.teachers]
    losses = train(step, with_others(batches()))
    assert len(set(losses)) == len(losses)
    for teacher, was in zip(step.teachers.teachers, before, strict=True):
        assert not teacher.model.training
        assert all(torch.equal(value, was[name]) for name, value in teacher.model.state_dict().items())
        assert all(parameter.grad is None for parameter in teacher.model.parameters())
    alone = make_step(SHAPE, CONFIG, CPU, cuda_graphs=False)
    assert len(tensors(step)) == len(tensors(alone))
    train(alone, batches())
    assert not same(tensors(step), tensors(alone))


def test_replayed_steps_see_each_calls_others():
    given = with_others(batches(sizes=(6, 5) * 6))
    plain, replayed = taught_step(), taught_step()
    replayed._cuda_graphs = Recorded(CPU)
    assert train(plain, given) == train(replayed, [clone(batch) for batch in given])
    assert same(tensors(plain), tensors(replayed))
    assert len(replayed._cuda_graphs) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: there are no CUDA graphs to compare with")
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_captured_steps_with_teachers_are_the_plain_ones(precision):
    device = torch.device("cuda", 0)
    config = dataclasses.replace(TAUGHT, precision=precision)
    given = [
        dataclasses.replace(batch, **{name: tensor.to(device) for name, tensor in batch.tensors.items()})
        for batch in with_others(batches(sizes=(6, 5) * 10))
    ]
    plain, captured = (make_step(SHAPE, config, device, cuda_graphs=graphs) for graphs in (False, True))
    for step in (plain, captured):
        step.teachers = teachers()
        for teacher in step.teachers.teachers:
            teacher.model.to(device)
    assert train(captured, given) == pytest.approx(train(plain, given), rel=2e-2)
    assert len(captured._cuda_graphs) == 2


def test_teachers_see_the_students_clips_in_their_own_modality(ucla, tmp_path):
    """The same draws, partners and cuts: a bone teacher's input is what a bone student would be given."""
    modalities = ("bone", "joint", "bone_motion")
    paths = [save_teacher(ucla(modality=name), tmp_path / f"{name}.safetensors") for name in modalities]
    student = ucla(teachers=tuple(paths))
    assert student.train_step.others == ("bone", "bone_motion")
    assert str(student.train_step.teachers) == "bone, joint, bone_motion"
    alone = [ucla(modality=name) for name in ("joint", "bone", "bone_motion")]
    taught = list(student.feed.epoch(1))
    for index, steps in enumerate(zip(*(run.feed.epoch(1) for run in alone), strict=True)):
        (mine,) = taught[index].parts
        joint, bone, motion = (step.parts[0] for step in steps)
        assert torch.equal(mine.x, joint.x)
        assert torch.equal(mine.others, torch.cat([bone.x, motion.x], 1))
        for name in ("labels", "partner", "lam", "lam_map", "survival"):
            assert torch.equal(getattr(mine, name), getattr(bone, name))
        assert joint.others is None
    assert len(taught) == student.loader.steps_per_epoch
    assert same(student.model.state_dict().values(), alone[0].model.state_dict().values())


def test_accumulated_teaching_is_the_whole_steps(ucla, tmp_path):
    """Micro-batches have their own others; statistics of the input are the stored ones."""
    path = save_teacher(ucla(modality="bone"), tmp_path / "bone.safetensors")
    losses = []
    for micro_batch in (12, 4):
        run = ucla(teachers=(path,), micro_batch=micro_batch, mix_group=4, distil=0.7)
        run.model.eval()
        for ready in run.feed.epoch(0):
            run.train_step(ready.parts, lr=1e-3, size=ready.step.size, position=ready.step.step)
        losses.append(run.train_step.loss_sum.item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"skeleton": "ntu-25"}, "trained for skeleton ntu-25, the shards of .* a teacher must be of the"),
        ({"preset": "corrected"}, "trained for preset corrected"),
        ({"class_names": list("abcdefghij")}, "its classes have other names or another order"),
        ({"bodies": 2}, "trained with bodies=2, this run has 1; a teacher must see the same input"),
        ({"config": {"normalise": "unit"}}, "trained with normalise=unit, this run has none"),
        ({"config": {"frames": 24}}, "trained with frames=24, this run has 16"),
        ({"selected_on": "test"}, "its epoch was selected on the test split; take last"),
    ],
)
def test_teachers_of_other_data_or_input_are_refused(ucla, tmp_path, changes, said):
    run = ucla(bodies=1)
    if "config" in changes:
        changes = {"config": dataclasses.replace(run.config, **changes["config"])}
    said_of_it = describe_weights(
        run.config, run.manifest, 1, run.benchmark, epoch=2, ema=True, selected_on="none"
    )
    said_of_it = dataclasses.replace(said_of_it, **changes)
    path = tmp_path / "teacher.safetensors"
    save_weights(path, said_of_it.build_network().state_dict(), said_of_it)
    config = dataclasses.replace(run.config, teachers=(str(path),))
    with pytest.raises(TsgcError, match=said):
        open_teachers(config, run.manifest, run.pipeline.bodies, CPU)


def test_a_student_that_holds_clips_out_wants_teachers_that_did(ucla, tmp_path):
    run = ucla(bodies=1)
    path = tmp_path / "teacher.safetensors"
    said = describe_weights(run.config, run.manifest, 1, run.benchmark, epoch=2, ema=True, selected_on="none")
    config = dataclasses.replace(run.config, teachers=(str(path),), holdout=True)
    save_weights(path, said.build_network().state_dict(), said)
    with pytest.raises(TsgcError, match="trained on the clips that --holdout leaves out"):
        open_teachers(config, run.manifest, 1, CPU)
    said = dataclasses.replace(said, config=dataclasses.replace(run.config, holdout=True))
    save_weights(path, said.build_network().state_dict(), said)
    assert open_teachers(config, run.manifest, 1, CPU) is not None


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("distil=1.5", "distil is 1.5, expected between 0 and 1"),
        ("distil_temperature=0", "distil_temperature is 0.0, expected over 0"),
        ("teachers=run", "teachers is 'run', expected a valid tuple"),
    ],
)
def test_wrong_settings_are_told(setting, said):
    with pytest.raises(TsgcError, match=said):
        resolve_config("ntu60/xsub", settings=[setting])


def test_a_run_is_taught_by_runs_and_goes_on_with_them_alone(trained, here):
    """As a user would: two streams teach a third; it is resumed where its teachers have moved."""
    source = trained / "runs/ntu60/xsub/tiny"
    for name in ("joint", "bone"):
        shutil.copytree(source / name / "seed0", here / name)
    words = ["train", "ntu60/xsub", "--data-root", trained / "data", "--run-dir", here / "run"]
    words += ["--modality", "joint_motion", *quick("frames=40", "epochs=2", "warmup_epochs=0", "distil=0.9")]
    by = ["--teacher", here / "joint", "--teacher", here / "bone/checkpoints/last-ema.safetensors"]
    said = tsgc(*words, *by)
    assert "taught by joint, bone (share 0.9)" in said.replace("\n", " ")
    written = yaml.safe_load((here / "run/config.yaml").read_text())
    assert written["teachers"] == [str(word) for word in by[1::2]] and written["distil"] == 0.9
    files = json.loads((here / "run/environment.json").read_text())["teachers"]
    assert len(files) == 2 and all(len(digest) == 64 for digest in files.values())
    state = load_state(here / "run/checkpoints/state.pt", CPU)
    assert state["teachers"] == list(files.values())
    weights = np.load(here / "run/scores/last.npz")["logits"]
    assert np.isfinite(weights).all()
    tsgc("evaluate", here / "run", "--data-root", trained / "data")
    assert np.array_equal(np.load(here / "run/scores/last.npz")["logits"], weights)
    stream = load_stream(here / "run/checkpoints/last.safetensors", CPU)
    card = model_card(stream, here / "run", raw_input=False, differences={}, checked_on="a test")
    assert "alone, taught by 2 other streams trained on it." in card
    corrected = dataclasses.replace(stream.description.config, relabel={"clap": {"one": 1, "two": 2}})
    stream = dataclasses.replace(
        stream, description=dataclasses.replace(stream.description, config=corrected)
    )
    card = model_card(stream, here / "run", raw_input=False, differences={}, checked_on="a test")
    assert "trained on it, the class of 2 clips of its training split corrected (`relabel`)." in card

    shutil.move(here / "joint", here / "moved")
    assert "not a run" in fails(*words, *by, "--resume")
    moved = ["--teacher", here / "moved", *by[2:]]
    tsgc(*words, *moved, "--resume")
    assert "started with teachers of sha256" in fails(*words, *by[2:], "--resume")
    said = fails(*words, "--resume")
    assert "now no teachers" in said
    own = ["--teacher", here / "run", "--overwrite"]
    assert "a teacher in the run's own folder" in fails(*words, *own)
    assert (here / "run/checkpoints/last-ema.safetensors").is_file()
