"""Training clips of corrected class: by name and content, never in tests."""

import numpy as np
import pytest
import torch
from made.shard_sets import make_shards

from pipelines.errors import TsgcError
from shards.load_manifest import load_manifest
from tsgc.config import CONFIGS, TrainConfig, build_config, read_yaml
from tsgc.distributed.process import Process
from tsgc.inspect.checkpoint import changed
from tsgc.report.sections.configuration import setting_text
from tsgc.training.run import build_training, summary
from tsgc.workspace.relabel import count_moved, relabelled


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("relabel"), clips=40)


def listed(manifest, count: int) -> dict[str, int]:
    clips = manifest.clips["train"]
    return {clips.names[i]: int(clips.crc32[i]) for i in range(count)}


def test_clips_of_that_name_and_content_move_and_no_others(manifest):
    where = manifest.class_names.index("clap")
    moved = relabelled(manifest, {"clap": listed(manifest, 3)})
    before, after = (m.clips["train"].labels for m in (manifest, moved))
    assert (after[:3] == where).all()
    assert np.array_equal(after[3:], before[3:])
    assert np.array_equal(moved.clips["test"].labels, manifest.clips["test"].labels)
    assert count_moved(manifest, moved) == (before[:3] != where).sum()
    assert relabelled(moved, {"clap": listed(manifest, 3)}).clips["train"].labels.tolist() == after.tolist()


def test_held_out_clips_that_move_are_not_told_of_training(manifest):
    moved = relabelled(manifest, {"clap": listed(manifest, 20), "nod": {}})
    changed_class = manifest.clips["train"].labels != moved.clips["train"].labels
    held_out = manifest.clips["train"].holdout
    assert (changed_class & held_out).any() and (changed_class & ~held_out).any()
    assert count_moved(manifest, moved, holdout=True) == (changed_class & ~held_out).sum()


def test_a_clip_of_that_name_with_other_numbers_stays(manifest):
    other = {name: crc32 ^ 1 for name, crc32 in listed(manifest, 3).items()}
    assert count_moved(manifest, relabelled(manifest, {"clap": other, "of no class": {"nobody": 1}})) == 0


def test_a_class_that_is_not_there_gets_one_line(manifest):
    with pytest.raises(TsgcError, match=r"relabel: no class 'clapp' .*did you mean clap\?"):
        relabelled(manifest, {"clapp": listed(manifest, 1)})


def test_a_clip_of_two_classes_gets_one_line(manifest):
    first = manifest.clips["train"].names[0]
    with pytest.raises(TsgcError, match=f"clip {first} is under both 'clap' and 'nod'; keep it under one"):
        relabelled(manifest, {"clap": listed(manifest, 1), "nod": listed(manifest, 1)})


def test_lists_of_clips_are_told_in_short():
    many = TrainConfig(relabel={"clap": {f"clip{i}": i for i in range(50)}, "nod": {"one": 1}})
    assert len(changed(many)) < 140 and "relabel={'clap': {'clip0': 0" in changed(many)
    assert (setting_text(many.relabel), setting_text({})) == ("clap (50), nod (1)", "none")


def test_training_reads_the_corrected_class(manifest, tmp_path):
    corrections = {"clap": listed(manifest, 2)}
    values = {"variant": "tiny", "frames": 16, "batch": 8, "micro_batch": 8, "mix_group": 8, "epochs": 1}
    config = build_config({**values, "warmup_epochs": 0, "relabel": corrections}, "made")
    shards = load_manifest(manifest.folder)
    run = build_training(config, "ntu60/xsub", shards.folder, tmp_path, Process(0, 1, torch.device("cpu")))
    where = manifest.class_names.index("clap")
    read = {
        run.loader.clips.names[index]: label
        for step in run.loader.epoch(0)
        for part in step.parts
        for index, label in zip(part.indices.tolist(), part.labels.tolist(), strict=True)
    }
    assert all(read[name] == where for name in corrections["clap"] if name in read)
    assert set(corrections["clap"]) & set(read)
    assert f"({run.moved} of corrected class)" in summary(run) and run.moved


def test_the_recipe_of_nw_ucla_corrects_the_24_clips_that_carry_each_others_class(shared):
    from pipelines.datasets.nw_ucla import identify

    corrections = read_yaml(CONFIGS / "nw-ucla.yaml")["relabel"]
    names = [name for clips in corrections.values() for name in clips]
    assert len(names) == len(set(names)) == 24
    assert {identify(name).fields["views"] for name in names} == {2}
