"""Starting from another run's weights: what is carried over by name, and what is said of it."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from made.command import fails, quick, tsgc

from pipelines.errors import TsgcError
from pipelines.skeleton import COCO_17, NTU_25, NW_UCLA_20, SKELETONS, Skeleton
from tsgc.checkpoint import Description, load_model, save_weights
from tsgc.config import TrainConfig
from tsgc.export.model_card import model_card
from tsgc.fine_tuning.fine_tune import InitWeights, fine_tune, joint_pairs
from tsgc.inference.trained_stream import load_stream
from tsgc.network.model import TSGCNeXt

CLASSES = ("sit", "walk", "wave")


def network(
    skeleton: Skeleton, classes: int = 3, bodies: int = 1, variant: str = "tiny", seed: int = 0,
    layer_scale: float | None = None, channels: int = 3,
):  # fmt: skip
    """A network all of whose numbers are its own, the running statistics too."""
    torch.manual_seed(seed)
    model = TSGCNeXt(
        skeleton, classes, variant=variant, bodies=bodies, layer_scale=layer_scale, channels=channels
    )
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor += torch.rand_like(tensor)
    return model


def data(skeleton: Skeleton, classes=CLASSES, channels: str = "xyz", benchmark: str = "home/official"):
    """What fine_tune asks of a manifest."""
    return SimpleNamespace(body=skeleton, class_names=classes, channels=channels, benchmark=benchmark)


def save(folder: Path, model: TSGCNeXt, skeleton: Skeleton, classes=CLASSES, **more) -> Path:
    channels, _, bodies = model.input_shape
    settings = {"variant": "tiny"} | {
        name: more.pop(name) for name in ("variant", "modality", "layer_scale", "holdout") if name in more
    }
    description = Description(
        skeleton=skeleton.name, num_classes=len(classes), bodies=bodies, channels=channels,
        benchmark="gym/official", preset="reference", epoch=7, ema=True,
        selected_on=more.pop("selected_on", "none"), class_names=list(classes),
        config=TrainConfig(**settings), **more,
    )  # fmt: skip
    save_weights(folder / "there.safetensors", model.state_dict(), description)
    return folder / "there.safetensors"


def test_all_of_the_same_network_is_loaded(tmp_path):
    there, here = network(NTU_25, seed=1), network(NTU_25, seed=2)
    said = fine_tune(here, data(NTU_25), save(tmp_path, there, NTU_25))
    assert all(torch.equal(a, b) for a, b in zip(here.state_dict().values(), there.state_dict().values()))
    count = len(here.state_dict())
    assert said.endswith(
        f"(gym/official joint tiny, epoch 7, averaged): {count} of {count} tensors loaded; nothing new"
    )


def test_the_classifier_goes_by_the_classes_names(tmp_path):
    """As many classes, but others: not the same rows."""
    there, here = network(NTU_25, seed=1), network(NTU_25, seed=2)
    before = here.head.weight.clone()
    said = fine_tune(here, data(NTU_25, ("wave", "jump", "sit")), save(tmp_path, there, NTU_25))
    assert torch.equal(here.head.weight[0], there.head.weight[2])
    assert torch.equal(here.head.weight[1], before[1])
    assert torch.equal(here.head.bias[2], there.head.bias[0])
    assert said.endswith("; of the classifier 2 of 3 classes, by name")


def test_other_classes_have_a_new_classifier(tmp_path):
    here = network(NTU_25, classes=2, seed=2)
    before = here.head.weight.clone()
    path = save(tmp_path, network(NTU_25, seed=1), NTU_25)
    assert "classifier new (3 classes there, 2 others here)" in fine_tune(
        here, data(NTU_25, ("a", "b")), path
    )
    assert torch.equal(here.head.weight, before)


def test_graphs_and_input_norm_go_by_the_joints_names(tmp_path):
    """NTU's 25 joints of 2 bodies to NW-UCLA's 20 of 1: every joint of the 20 is among the 25."""
    there, here = network(NTU_25, bodies=2, seed=1), network(NW_UCLA_20, seed=2)
    said = fine_tune(here, data(NW_UCLA_20), save(tmp_path, there, NTU_25))
    assert "of the graphs and the input norm 20 of 20 joints, by name from ntu-25" in said
    neck, hand = NW_UCLA_20.joints.index("shoulder centre"), NW_UCLA_20.joints.index("left hand")
    theirs = NTU_25.joints.index("spine shoulder"), NTU_25.joints.index("left hand")
    for block, other in ((here.stages[0][0], there.stages[0][0]), (here.stages[2][0], there.stages[2][0])):
        assert torch.equal(block.graphs[:, neck, hand], other.graphs[:, theirs[0], theirs[1]])
        assert torch.equal(block.graphs[:, hand, neck], other.graphs[:, theirs[1], theirs[0]])
        assert torch.equal(block.expand.weight, other.expand.weight)
    for name in ("weight", "bias", "running_mean", "running_var"):
        mine, source = (getattr(model.input_norm, name) for model in (here, there))
        assert torch.equal(mine.view(1, 20, 3)[0, hand], source.view(2, 25, 3)[0, theirs[1]])


def test_joints_and_bodies_without_a_counterpart_stay_as_initialised(tmp_path):
    there, here = network(NW_UCLA_20, seed=1), network(NTU_25, bodies=2, seed=2)
    before = {name: tensor.clone() for name, tensor in here.state_dict().items()}
    said = fine_tune(here, data(NTU_25), save(tmp_path, there, NW_UCLA_20))
    assert "norm 20 of 25 joints, by name from nw-ucla-20 (new: neck, left hand tip, left thumb," in said
    assert "of the input norm 1 of 2 bodies" in said
    neck, head = NTU_25.joints.index("neck"), NTU_25.joints.index("head")
    graphs, old = here.stages[1][0].graphs, before["stages.1.0.graphs"]
    assert torch.equal(graphs[:, neck], old[:, neck]) and torch.equal(graphs[:, :, neck], old[:, :, neck])
    assert not torch.equal(graphs[:, head], old[:, head])
    norm, old = (x.view(2, 25, 3) for x in (here.input_norm.weight, before["input_norm.weight"]))
    assert torch.equal(norm[1], old[1]) and torch.equal(norm[0, neck], old[0, neck])
    assert not torch.equal(norm[0, head], old[0, head])


def test_named_skeletons_share_the_joints_that_they_name():
    """The four, by hand: all limbs; the head's joints are other ones in cameras' and in Kinect's."""
    four = ("coco-17", "ntu-25", "nw-ucla-20", "openpose-18")
    shared = {
        (ours, theirs): len(joint_pairs(SKELETONS[ours], InitWeights(Path(), {}, "", SKELETONS[theirs])))
        for ours in four for theirs in four if ours < theirs
    }  # fmt: skip
    assert shared == {
        ("coco-17", "ntu-25"): 12, ("coco-17", "nw-ucla-20"): 12, ("coco-17", "openpose-18"): 17,
        ("nw-ucla-20", "openpose-18"): 12, ("ntu-25", "openpose-18"): 13, ("ntu-25", "nw-ucla-20"): 20,
    }  # fmt: skip


def test_a_skeleton_of_ones_own_is_matched_however_its_names_are_spelt():
    own = Skeleton("mine", ("Left_Hand", "hip-center", "tail"), (1, 1, 1), (), 1)
    pairs = joint_pairs(own, InitWeights(Path(), {}, "", NTU_25))
    assert pairs == [(0, NTU_25.joints.index("left hand")), (1, NTU_25.joints.index("spine base"))]


def test_a_skeleton_of_other_joints_keeps_its_graphs(tmp_path):
    """As many joints as the other has, and none of its names: nothing may be copied by number."""
    own = Skeleton("mine", tuple(f"marker {v}" for v in range(17)), (0,) * 17, (), 0)
    there, here = network(COCO_17, seed=1), network(own, seed=2)
    before = here.stages[0][0].graphs.clone(), here.input_norm.weight.clone()
    said = fine_tune(here, data(own), save(tmp_path, there, COCO_17))
    assert "graphs and input norm new (coco-17 there, mine here: no joint of the same name)" in said
    assert torch.equal(here.stages[0][0].graphs, before[0])
    assert torch.equal(here.input_norm.weight, before[1])
    assert torch.equal(here.stages[0][0].expand.weight, there.stages[0][0].expand.weight)


def test_pictures_and_metres_do_not_share_the_input(tmp_path):
    there, here = network(NTU_25, seed=1), network(COCO_17, seed=2)
    before = here.stem[0].weight.clone()
    said = fine_tune(here, data(COCO_17, channels="xys"), save(tmp_path, there, NTU_25))
    assert "stem and input norm new (channels xyz there, xys here)" in said
    assert torch.equal(here.stem[0].weight, before)


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        ("joint", "bone", "nothing new"),
        ("joint+bone", "bone+joint", "nothing new"),
        ("joint", "bone+joint", "of the stem and the input norm 3 channels (new: bone)"),
        ("joint+bone+angle", "angle", "nothing new"),
        ("bone+joint", "angle+joint+bone2", "of the stem and the input norm 3 channels (new: angle, bone2)"),
        ("joint", "bone+angle", "stem and input norm new (joint there, bone+angle here)"),
    ],
)
def test_streams_of_several_modalities_are_carried_over_one_by_one(tmp_path, theirs, ours, said):
    parts = {name: name.split("+") for name in (theirs, ours)}
    there = network(NTU_25, seed=1, channels=3 * len(parts[theirs])).eval()
    here = network(NTU_25, seed=2, channels=3 * len(parts[ours])).eval()
    before = here.state_dict()["stem.0.weight"].clone()
    found = fine_tune(here, data(NTU_25), save(tmp_path, there, NTU_25, modality=theirs), modality=ours)
    assert said in found
    single = len(parts[ours]) == len(parts[theirs]) == 1
    mine, other = (model.stem[0].weight.view(-1, 4, model.input_shape[0]) for model in (here, there))
    norms = [model.input_norm.running_mean.view(-1, 25, model.input_shape[0]) for model in (here, there)]
    for place, part in enumerate(parts[ours]):
        at = slice(3 * place, 3 * place + 3)
        if single or part in parts[theirs]:
            source = 0 if single else 3 * parts[theirs].index(part)
            of = slice(source, source + 3)
            assert torch.equal(mine[..., at], other[..., of])
            assert torch.equal(norms[0][..., at], norms[1][..., of])
        else:
            assert torch.equal(mine[..., at], before.view(-1, 4, here.input_shape[0])[..., at])
    new = said.startswith("stem")
    assert torch.equal(here.stem[0].bias, there.stem[0].bias) != new
    assert torch.equal(here.stages[0][0].expand.weight, there.stages[0][0].expand.weight)


def test_modalities_in_another_order_are_the_same_network(tmp_path):
    there, here = (network(NTU_25, seed=seed, bodies=2, channels=6).eval() for seed in (1, 2))
    fine_tune(here, data(NTU_25), save(tmp_path, there, NTU_25, modality="joint+bone"), modality="bone+joint")
    x = torch.randn(2, 6, 16, 25, 2)
    torch.testing.assert_close(here(x.roll(3, 1)), there(x), rtol=1e-4, atol=1e-3)


def test_blocks_of_another_depth_are_named(tmp_path):
    there, here = network(NTU_25, variant="252", seed=1), network(NTU_25, variant="432", seed=2)
    said = fine_tune(here, data(NTU_25), save(tmp_path, there, NTU_25, variant="252"))
    assert said.endswith("; new: stages.0.2, stages.0.3; not used: stages.1.3, stages.1.4")


@pytest.mark.parametrize(
    ("there_has", "here_has", "said"),
    [
        (0.1, None, "layer scale multiplied into the weights"),
        (None, 0.1, "layer scale 1 (none there)"),
        (0.1, 0.01, "nothing new"),
    ],
)
def test_with_or_without_layer_scale_the_network_starts_as_it_was(tmp_path, there_has, here_has, said):
    there, here = network(NTU_25, seed=1, layer_scale=there_has), network(NTU_25, layer_scale=here_has)
    path = save(tmp_path, there, NTU_25, layer_scale=there_has)
    line = fine_tune(here, data(NTU_25), path)
    count = len(here.state_dict())
    assert line.endswith(f"{count} of {count} tensors loaded; {said}")
    x = torch.randn(2, 3, 16, 25, 1)
    torch.testing.assert_close(here.eval()(x), there.eval()(x))


def test_another_width_is_refused(tmp_path):
    path = save(tmp_path, network(NTU_25, variant="252"), NTU_25, variant="252")
    with pytest.raises(TsgcError, match="no block of it fits this network"):
        fine_tune(network(NTU_25), data(NTU_25), path)


def test_weights_that_know_what_judges_their_own_benchmark_are_refused(tmp_path):
    same = data(NTU_25, benchmark="gym/official")
    chosen = save(tmp_path, network(NTU_25), NTU_25, selected_on="test")
    with pytest.raises(TsgcError, match="its epoch was selected on the test split; take last"):
        fine_tune(network(NTU_25), same, chosen)
    assert "loaded" in fine_tune(network(NTU_25), data(NTU_25), chosen)  # another benchmark's test split
    every = save(tmp_path, network(NTU_25), NTU_25)
    with pytest.raises(TsgcError, match="trained on the clips that --holdout leaves out"):
        fine_tune(network(NTU_25), same, every, holdout=True)
    assert "loaded" in fine_tune(network(NTU_25), same, every)
    part = save(tmp_path, network(NTU_25), NTU_25, holdout=True)
    assert "loaded" in fine_tune(network(NTU_25), same, part, holdout=True)


def test_a_run_is_fine_tuned_on_another_data_set(trained, here):
    """As a user would: a run's folder, NTU's skeleton and classes to NW-UCLA's."""
    words = ["train", "nw-ucla/xview", "--data-root", trained / "data", "--run-dir", here / "run"]
    source = trained / "runs/ntu60/xsub/tiny/joint/seed0"
    said = tsgc(*words, "--init", source, *quick("epochs=1", "warmup_epochs=0", "last_batch=spread"))
    line = next(line for line in said.splitlines() if line.startswith("starting from"))
    assert re.fullmatch(
        r"starting from .*last-ema\.safetensors \(ntu60/xsub joint tiny, epoch 1, averaged\):"
        r" (\d+) of \1 tensors loaded; of the graphs and the input norm 20 of 20 joints, by name from ntu-25;"
        r" of the classifier 3 of 10 classes, by name",
        line,
    ), line
    assert load_model(here / "run/checkpoints/last.safetensors")[1].skeleton == "nw-ucla-20"
    assert json.loads((here / "run/environment.json").read_text())["init"] == line
    stream = load_stream(here / "run/checkpoints/last.safetensors", torch.device("cpu"))
    asked = {"raw_input": False, "differences": {}, "checked_on": "a test"}
    card = model_card(stream, here / "run", **asked)
    assert line in card and "terms of those weights hold" in card and "alone" not in card
    (here / "run/environment.json").unlink()
    assert "what it started from is not recorded" in model_card(stream, here / "run", **asked)


def test_what_is_no_checkpoint_is_one_line(trained, here):
    words = ["train", "nw-ucla/xview", "--data-root", trained / "data", "--run-dir", here / "run", *quick()]
    assert "not a run" in fails(*words, "--init", here)
    assert "no such file" in fails(*words, "--init", here / "gone.pth")
    state = trained / "runs/ntu60/xsub/tiny/joint/seed0/checkpoints/state.pt"
    assert "expected a checkpoint of the published code" in fails(*words, "--init", state)
