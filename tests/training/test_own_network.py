"""A network of one's own on the rails: trained, resumed to the bit, scored, exported, explained, refused."""

import hashlib
import json
import os
import re
import shutil
import sys

import numpy as np
import pytest
from made.command import lose_machine, quick, tsgc
from made.once import once, only_read
from made.own_networks import FAULTY, PLAIN, TIED, write_network
from safetensors.numpy import load_file

from pipelines.errors import TsgcError
from tsgc import load_run, predict, write_report
from tsgc.evaluation.scores import read_scores
from tsgc.network.own import code as own_code

BENCHMARK = "ntu60/xsub"


@pytest.fixture(autouse=True)
def nothing_admitted(monkeypatch):
    monkeypatch.setattr(own_code, "_admitted", [])


def refused(*words, code=1):
    """The last line of a command that fails; progress may come before it on a busy machine."""
    said = tsgc(*words, expect=code).splitlines()[-1]
    assert said.startswith("error: ")
    return said


def words(made, given, run, *more):
    where = ("--data-root", made, "--run-dir", run, "--network", given)
    return ["train", BENCHMARK, "--modality", "bone", *where, *quick("epochs=2", "eval_every=1", *more)]


@pytest.fixture(scope="module")
def own(made, tmp_path_factory):
    """A folder with the file of a network and a finished `run` of it; to be read."""

    def train(folder):
        tsgc(*words(made, write_network(folder), folder / "run", "network.width=6"))

    yield from only_read(once(tmp_path_factory, "own-network", train))


def test_a_run_keeps_its_file_and_digest_and_is_called_after_it(own, made):
    run = own / "run"
    said = json.loads((run / "environment.json").read_text())["network"]
    assert (run / said["file"]).read_text() == PLAIN and said["name"] == "my.py:Net"
    described = json.loads((run / "checkpoints/last.json").read_text())
    assert described["network_digest"] == said["sha256"]
    assert described["config"]["network_settings"] == {"width": 6}
    assert load_file(run / "checkpoints/last.safetensors")["embed.weight"].shape == (6, 150)
    assert read_scores(run / "scores/last.npz").source.variant == "my.Net"


def test_it_goes_on_at_a_step_to_the_bit_dropout_included(made, here, monkeypatch):
    given = write_network(here)
    tsgc(*words(made, given, "whole", "save_every=1"))
    lose_machine(monkeypatch, 1)
    tsgc(*words(made, given, "cut", "save_every=1"), expect=1)
    monkeypatch.undo()
    monkeypatch.chdir(here)
    monkeypatch.setattr(own_code, "_admitted", [])
    tsgc(*words(made, given, "cut", "save_every=1"), "--resume")
    for name in ("last", "last-ema"):
        files = [here / run / f"checkpoints/{name}.safetensors" for run in ("whole", "cut")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_weights_of_two_names_are_one_weight_everywhere(made, here, monkeypatch):
    given = write_network(here, TIED)
    tsgc(*words(made, given, "whole", "save_every=1"))
    lose_machine(monkeypatch, 1)
    tsgc(*words(made, given, "cut", "save_every=1"), expect=1)
    monkeypatch.undo()
    monkeypatch.chdir(here)
    tsgc(*words(made, given, "cut", "save_every=1"), "--resume")
    for name in ("last", "last-ema"):
        files = [here / run / f"checkpoints/{name}.safetensors" for run in ("whole", "cut")]
        assert files[0].read_bytes() == files[1].read_bytes()
        weights = load_file(files[0])
        assert (weights["again.weight"] == weights["more.weight"]).all()
    before = read_scores(here / "whole/scores/last-ema.npz").logits
    tsgc("evaluate", "whole", "--ema", "--data-root", made, "--network", given)
    np.testing.assert_array_equal(read_scores(here / "whole/scores/last-ema.npz").logits, before)
    network = load_run("whole", device="cpu", network=given).streams[0].model.network
    assert network.again is network.more
    count = sum(parameter.numel() for parameter in network.parameters())
    assert f"{count:,}" in tsgc("info", "whole", "--network", given)


def test_dropout_is_another_in_each_step_and_follows_the_seed(made, here):
    """A width of nothing but dropout: other seeds of the run draw others, the same seed the same."""
    given = write_network(here)
    losses = []
    for run, seed in (("a", 0), ("b", 0), ("c", 1)):
        tsgc(
            *words(made, given, run, "mirror=0", "network.drop=0.9", "epochs=1", "warmup_epochs=0"),
            "--seed",
            seed,
        )
        losses.append(json.loads((here / run / "metrics.jsonl").read_text().splitlines()[0])["loss"])
    assert losses[0] == losses[1] != losses[2]


def test_no_command_runs_the_code_of_a_folder_and_each_says_what_it_needs(own, made, here):
    shutil.copytree(own / "run", here / "run")
    marked = f"open({str(here / 'ran')!r}, 'w')\n" + PLAIN
    (here / "run/network/my.py").write_text(marked)
    (here / "my.py").write_text(marked)
    run, clips = here / "run", own  # any clip: the network comes first
    for command in (
        ("evaluate", run, "--data-root", made),
        ("export", run, "--data-root", made),
        ("info", run),
        ("predict", clips, "--run", run),
        ("inspect", "any clip", "--run", run),
    ):
        assert "its network is my.py:Net, code of your own" in refused(*command), command
    assert "my.Net, bone" in tsgc("inspect", run / "checkpoints/last.safetensors")
    assert "my.Net" in tsgc("runs", "--runs", here)
    said = tsgc("report", run, "--explain", 1, "--out", "r.html", "--data-root", made)
    assert "No saliency" in said and "give --network" in said
    assert not (here / "ran").exists()
    # Named, but not what it was trained with.
    assert "has changed since" in refused("evaluate", run, "--data-root", made, "--network", "my.py:Net")


def test_no_command_runs_a_file_that_is_named_and_has_changed(own, made, here):
    shutil.copytree(own / "run", here / "run")
    given = write_network(here, f"open({str(here / 'ran')!r}, 'w')\n" + PLAIN)
    ntu = ["train", BENCHMARK, "--modality", "bone", "--variant", "tiny", "--data-root", made]
    for command in (
        (*words(made, given, here / "run", "network.width=6", "epochs=3"), "--resume"),
        ("evaluate", "run", "--data-root", made, "--network", given),
        ("export", "run", "--data-root", made, "--network", given),
        ("info", "run", "--network", given),
        ("predict", own, "--run", "run", "--network", given),
        ("inspect", "any clip", "--run", "run", "--network", given),
        (*ntu, *quick(), "--run-dir", "ours", "--teacher", "run", "--teacher-network", given),
    ):
        own_code._admitted.clear()
        assert "it has changed since" in refused(*command), command
    said = tsgc("report", "run", "--explain", 1, "--out", "r.html", "--data-root", made, "--network", given)
    assert "No saliency" in said and "it has changed since" in said
    with pytest.raises(TsgcError, match="it has changed since"):
        load_run("run", network=given)
    assert not (here / "ran").exists()


def test_what_the_file_imports_beside_it_is_kept_and_compared(made, here):
    parts = "from torch import nn\n\n\ndef head(width, classes):\n    return nn.Linear(width, classes)\n"
    write_network(here, parts, "heads_of_mine.py")
    source = PLAIN.replace("nn.Linear(width, num_classes)", "head(width, num_classes)")
    given = write_network(here, f"from heads_of_mine import head\n{source}")
    more = words(made, given, "run", "epochs=1", "warmup_epochs=0")
    tsgc(*more)
    said = json.loads((here / "run/environment.json").read_text())["network"]
    assert (here / "run/network/heads_of_mine.py").read_text() == parts
    assert said["beside"] == {"heads_of_mine.py": hashlib.sha256(parts.encode()).hexdigest()}
    tsgc("evaluate", "run", "--data-root", made, "--network", given)

    (here / "heads_of_mine.py").write_text(f"open({str(here / 'ran')!r}, 'w')\n{parts}")
    for command in (
        ("evaluate", "run", "--data-root", made, "--network", given),
        (*words(made, given, "run", "warmup_epochs=0"), "--resume"),
    ):
        own_code._admitted.clear()
        assert "heads_of_mine.py has changed since" in refused(*command)
    assert not (here / "ran").exists()
    own_code._admitted.clear()
    tsgc("evaluate", "run", "--data-root", made, "--network", "run/network/my.py:Net")
    sys.modules.pop("heads_of_mine")


def test_evaluate_gives_the_scores_of_training(own, made, here):
    said = tsgc(
        "evaluate",
        own / "run",
        "--network",
        f"{own}/my.py:Net",
        "--data-root",
        made,
        "--run-dir",
        here / "again",
    )
    assert "my.Net" in said
    before, after = (read_scores(folder / "scores/last.npz") for folder in (own / "run", here / "again"))
    assert np.array_equal(before.logits, after.logits)


def test_the_newest_run_is_the_newest_of_the_network_that_is_named(own, trained, made, here):
    shutil.copytree(trained / "runs/ntu60/xsub/tiny/joint/seed0", here / "runs/ours")
    network = "--network", f"{own}/my.py:Net"
    where = "--data-root", made, "--runs", here / "runs"
    for words in (["evaluate", *where], ["report", *where], ["export", "--format", "pt2", *where]):
        assert "no run" in refused(*words, *network) and "my.py:Net" in refused(*words, *network)
    shutil.copytree(own / "run", here / "runs/own")
    for folder, age in (("own", 1), ("ours", 2)):
        os.utime(here / "runs" / folder / "config.yaml", (age, age))
    assert "my.Net" in tsgc("evaluate", *where, *network)
    assert "my.Net" in tsgc("report", *where, *network, "--out", "r.html") + (here / "r.html").read_text()
    tsgc("export", "--format", "pt2", "--out", "files", *where, *network)
    assert "# my.Net, bone stream" in (here / "files/last.md").read_text()


def test_python_asks_for_the_code_as_the_commands_do(own, here):
    joints, network = np.random.default_rng(0).normal(size=(30, 1, 25, 3)), f"{own}/my.py:Net"
    with pytest.raises(TsgcError, match="code of your own"):
        predict(joints, own / "run")
    expected = load_run(own / "run", network=network, device="cpu").predict(joints)[0]
    own_code._admitted.clear()
    assert np.array_equal(predict(joints, own / "run", network=network)[0].logits, expected.logits)
    own_code._admitted.clear()
    assert write_report(own / "run", here / "r.html", network=network).is_file()


def test_info_counts_and_report_explains_what_it_can(own, made, here):
    found = json.loads(tsgc("info", own / "run", "--network", f"{own}/my.py:Net", "--json"))
    assert found["network"] == "my.Net" and found["totals"]["parameters"] == 1338
    alone = tsgc("info", "--network", f"{own}/my.py:Net", "--set", "network.width=5", "--frames", 7)
    assert "embed" in alone and "my.Net" in alone
    said = tsgc(
        "report", own / "run", "--network", f"{own}/my.py:Net", "--explain", 1, "--out", "r.html",
        "--data-root", made,
    )  # fmt: skip
    assert "No learned graphs: my.Net has none that this page knows" in said
    assert "not their features" not in said and "my.Net" in (here / "r.html").read_text()
    clip = read_scores(own / "run/scores/last.npz").names[0]
    own_clip = "inspect", clip, "--run", own / "run", "--network", f"{own}/my.py:Net", "--data-root", made
    assert "my.Net" in tsgc(*own_clip)


def test_it_is_exported_with_parity(own, made, here):
    said = tsgc("export", own / "run", "--network", f"{own}/my.py:Net", "--out", here, "--data-root", made)
    worst = [float(found) for found in re.findall(r"largest difference from PyTorch (\S+)", said)]
    assert len(worst) == 2 and max(worst) < 1e-4
    assert "# my.Net, bone stream" in (here / "last.md").read_text()


def test_weights_of_another_type_are_exported_in_float32(made, here):
    narrow = PLAIN.replace(
        "\n    def forward(self, x):\n",
        "        self.bfloat16()\n\n    def forward(self, x):\n        x = x.to(self.out.weight.dtype)\n",
    )
    tsgc(*words(made, write_network(here, narrow), "run", "epochs=1", "warmup_epochs=0"))
    assert b'"out.bias":{"dtype":"BF16"' in (here / "run/checkpoints/last.safetensors").read_bytes()
    said = tsgc("export", "run", "--network", "my.py:Net", "--data-root", made)
    assert said.count("largest difference from PyTorch") == 2


def test_what_cannot_be_traced_is_one_line(made, here):
    counted = PLAIN.replace("x = self.norm(", "x = x.view(len(x) // 1, *x.shape[1:])\n        x = self.norm(")
    tsgc(*words(made, write_network(here, counted), "run", "epochs=1", "warmup_epochs=0"))
    said = refused("export", "run", "--network", "my.py:Net", "--format", "pt2", "--data-root", made)
    assert "network my.py:Net: torch.export cannot trace it for any number of clips" in said


def test_it_recognises_from_python_and_is_fused_with_ours(own, trained, here):
    ours = trained / "runs/ntu60/xsub/tiny/joint/seed0"
    joints = np.random.default_rng(0).normal(size=(30, 1, 25, 3))
    logits = []
    for runs in ([own / "run"], [ours], [own / "run", ours]):
        logits.append(load_run(runs, network=f"{own}/my.py:Net", device="cpu").predict(joints)[0].logits)
    np.testing.assert_allclose(logits[2], logits[0] + logits[1], rtol=1e-4, atol=1e-5)


def test_it_starts_from_weights_whose_names_and_shapes_fit(own, trained, made, here):
    given = write_network(here, PLAIN.replace("width=8", "width=6"))  # another file: names and shapes count
    said = tsgc(*words(made, given, "tuned"), "--init", own / "run")
    assert re.search(
        r"starting from .*last-ema.safetensors \(.*my.Net, epoch 2\): 9 of 9 tensors loaded", said
    )
    wide = refused(*words(made, given, "wide", "network.width=7"), "--init", own / "run")
    assert "no weight of it fits my.py:Net" in wide
    other = words(trained / "data", given, "ucla")
    other[1] = "nw-ucla/xview"
    assert refused(*other, "--init", own / "run").endswith(
        "it is of my.Net, with ntu-25's joints where these clips have nw-ucla-20's"
    )


def test_it_learns_from_ours_and_ours_from_it(own, made, here):
    given = f"{own}/my.py:Net"
    assert "taught by" in tsgc(
        *words(made, given, "taught", "epochs=1", "warmup_epochs=0"), "--teacher", own / "run"
    )
    own_code._admitted.clear()
    ours = ["train", BENCHMARK, "--modality", "bone", "--variant", "tiny", "--data-root", made]
    ours += ["--run-dir", "ours", "--teacher", own / "run", *quick("epochs=1", "warmup_epochs=0")]
    unnamed = refused(*ours).splitlines()[-1]
    assert "its network is my.py:Net" in unnamed and "--teacher-network" in unnamed
    assert "taught by" in tsgc(*ours, "--teacher-network", given)


def test_wrong_use_is_one_line(made, here):
    given = write_network(here)
    assert "--variant tiny: of tsgcnext" in refused(
        "train", BENCHMARK, "--data-root", made, "--network", given, "--variant", "tiny", code=2
    )
    dropped = refused(
        "train", BENCHMARK, "--data-root", made, "--network", "ctrgcn", "--set", "drop_path=0.1", code=2
    )
    assert "--set drop_path=0.1: of tsgcnext, and the network is ctrgcn" in dropped
    expected = "expected one of tsgcnext, tsgcnext2, ctrgcn, stgcn\\+\\+, or your own"
    assert re.search(
        expected, refused("train", BENCHMARK, "--data-root", made, "--network", "resnet", code=2)
    )
    assert "none for tsgcnext" in refused(
        "train", BENCHMARK, "--data-root", made, "--set", "network.width=3", code=2
    )
    missing = refused("train", BENCHMARK, "--data-root", made, "--network", "no.py:Net", "--run-dir", "r")
    assert "no.py: no such file" in missing and not (here / "r").exists()
    write_network(here, FAULTY, "bad.py")
    wrong = refused(*words(made, "bad.py:Shape", "r"))
    assert "expected logits (N, K)" in wrong and not (here / "r").exists()


def test_a_changed_file_is_not_gone_on_with(own, made, here):
    shutil.copytree(own / "run", here / "run")
    changed = write_network(here, PLAIN.replace("relu", "tanh"))
    more = words(made, changed, here / "run", "network.width=6", "epochs=3")
    assert "has changed since" in refused(*more, "--resume")
    other = words(made, write_network(here, name="other.py"), here / "run", "network.width=6", "epochs=3")
    (here / "other.py").write_text(PLAIN.replace("relu", "sigmoid"))
    assert "started with my.py:Net of sha256" in refused(*other, "--resume").splitlines()[-1]
    monkeyed = own_code._admitted
    monkeyed.clear()
    kept = words(made, f"{here}/run/network/my.py:Net", here / "run", "network.width=6", "epochs=3")
    assert "epoch 3/3" in tsgc(*kept, "--resume")
