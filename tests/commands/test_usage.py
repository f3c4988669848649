"""Exit codes: 2 where the command line is wrong, 1 where a file or the machine is; one line each."""

import re
import shutil
from importlib.metadata import version

import pytest
from made.clips import ntu_clip, write_folder
from made.command import fails, tsgc
from made.scores import make_scores
from typer.testing import CliRunner

import cli
from pipelines.errors import AmbiguousError, TsgcError, UsageError
from tsgc.evaluation.scores import write_scores

TRAIN = ("train", "ntu60/xsub", "--data-root", "{made}")

# What no file could make right. {made}: a data root with shards; {clip}: a raw clip; {set}: its shard set.
WRONG_USAGE = [
    ("bake", "no such command 'bake'; see `tsgc --help`"),
    ("trian", "no such command 'trian'; did you mean 'train'?"),
    ("help trian", "no such command 'trian'; did you mean 'train'?"),
    ("bench grap", "no such command 'grap'; did you mean 'graph'?"),
    ("--nonsense", "no such option: --nonsense"),
    ("train --gpu 2", "no such option: --gpu (possible options: --gpus"),
    ("train --epochs 3", "no such option: --epochs; it is a setting: --set epochs=3; see `tsgc train"),
    ("train --lr=0.1 --gpus 2", "no such option: --lr; it is a setting: --set lr=0.1; see"),
    ("train a/b --weight-decay -1 --seed 3", "it is a setting: --set weight_decay=-1; see"),
    ("train --batch-size 64", "it is a setting: --set batch=64; see"),
    ("train --compile --seed 3", "it is a setting: --set compile=true; see"),
    ("train --epochs", "it is a setting: --set epochs=value; see"),
    ("bench train --graphs false", "it is a setting: --set graphs=false; see `tsgc bench train --help`"),
    ("evaluate --epochs 3", "no such option: --epochs; see `tsgc evaluate --help`"),
    ("prepare", "missing argument 'dataset'; see `tsgc prepare --help`"),
    ("prepare ntu61", "data set 'ntu61' is unknown; did you mean ntu60?"),
    ("prepare NW_UCLA", "data set 'NW_UCLA' is unknown; did you mean nw-ucla? There are ntu60"),
    ("prepare ntu60 --preset mine", "preset 'mine' does not exist for ntu60; it has reference, corrected"),
    ("prepare ntu60 --out made", "--out made: expected a name that ends in .h5"),
    ("prepare ntu60 --name ../made", "--name '../made': expected a file's name"),
    ("prepare ntu60 --jobs 0", "invalid value for '--jobs': "),
    ("prepare ntu60 --raw {clip} --compress zip", "compression 'zip' is unknown; choose one of"),
    ("prepare kinetics --name ntu60 --raw {set}", "the name 'ntu60' is another data set's"),
    ("shard --seed one", "invalid value for '--seed': "),
    ("inspect {set} --compare", "--compare and --dataset are for raw clips"),
    ("inspect {set} --out a.png", "name the one to draw with --clip"),
    ("inspect {clip} --clip a", "--clip is for prepared files and shard sets"),
    ("inspect {clip} --out a.jpg", "pictures end in .png, .gif, .html"),
    ("inspect {clip} --dataset x", "data set 'x': raw clips of"),
    ("inspect {clip} --dataset kinetics", "kinetics clips end in .json"),
    ("train --resume --overwrite", "--resume and --overwrite exclude each other"),
    ("train --recipe mine", "--recipe mine: expected reference"),
    ("train --recipe reference --config a.yaml", "--recipe and --config exclude each other"),
    ("train --on-error stop", "--on-error stop: expected raise or skip"),
    ("train --cache-size -1", "--cache-size -1: expected GB"),
    ("train --shards pipe:cat", "not a place of remote shards"),
    (f"{' '.join(TRAIN)} --device tpu", "--device tpu: expected cpu or cuda"),
    (f"{' '.join(TRAIN)} --modality bones", "modality is bones, expected one of joint, bone"),
    (f"{' '.join(TRAIN)} --variant 333", "variant is 333, expected one of 252, 432, tiny"),
    (f"{' '.join(TRAIN)} --set epoch=3", "unknown key 'epoch'; did you mean epochs?"),
    (f"{' '.join(TRAIN)} --set epochs", "--set epochs: expected key=value"),
    (f"{' '.join(TRAIN)} --set epochs=x", "epochs is 'x'"),
    ("evaluate --on-error stop", "--on-error stop: expected raise or skip"),
    ("ensemble --tune --weights 1,2", "--weights, --tune and --tune-on-test exclude each other"),
    ("ensemble --weights one,two", "--weights 'one,two': expected numbers with commas between"),
    ("ensemble --fuse mean", "--fuse mean: expected one of logits, softmax, calibrated"),
    ("ensemble --recipe 5s", "--recipe 5s: expected one of"),
    ("ensemble {scores} --weights 1,2", "2 weights for 1 streams"),
    ("ensemble {scores} --weights=-1", "expected numbers of 0 or more, not all 0"),
    ("predict", "give raw clips, or - for standard input; or --live alone"),
    ("predict {clip} --format xml", "--format xml: expected table, json or csv"),
    ("predict {clip} --stride 3", "--stride goes with --window"),
    ("predict {clip} --image-size 3", "--image-size '3': expected WIDTH,HEIGHT"),
    ("predict {clip} --top 0", "invalid value for '--top': "),
    ("export run --format tflite", "--format tflite: expected onnx or pt2"),
    ("info --variant 333", "--variant 333: expected one of 252, 432, tiny"),
    ("info --frames 1", "--frames 1: the network takes"),
    ("info --skeleton cat", "--skeleton cat: expected one of ntu-25"),
]  # fmt: skip

# What another file, or another machine, would make right.
ERRORS = [
    ("prepare ntu60", "no raw ntu60 clips"),
    ("prepare ntu60 --raw nowhere", "nowhere: no such folder or zip"),
    ("shard", "no prepared data"),
    ("verify nowhere", "nothing to verify"),
    ("inspect nowhere", "no such file"),
    ("inspect {set} --clip nobody", "no clip 'nobody' among its"),
    ("train ntu60/xsubs --data-root {made}", "did you mean ntu60/xsub?"),
    (f"{' '.join(TRAIN)} --config nowhere.yaml", "no such file"),
    (f"{' '.join(TRAIN)} --config wrong.yaml", "unknown key 'epoch'"),
    ("evaluate", "no runs"),
    ("ensemble nowhere.npz", "nowhere.npz"),
    ("predict {clip}", "no run"),
    ("report", "no runs"),
    ("export nowhere", "nowhere"),
    ("info nowhere", "nowhere"),
]


@pytest.fixture
def line(here, made):
    """The words of a command line whose places exist."""
    name = "S001C002P003R001A005.skeleton"
    write_folder(here, {name: ntu_clip(), "wrong.yaml": b"epoch: 3\n"})
    write_scores(here / "a.npz", make_scores(clips=20))
    places = {"made": made, "set": made / "shards/ntu60/xsub", "clip": here / name, "scores": here / "a.npz"}
    return lambda text: [word.format_map(places) for word in text.split()]


@pytest.mark.parametrize(("text", "said"), WRONG_USAGE, ids=[text for text, _ in WRONG_USAGE])
def test_wrong_usage_is_one_line_and_code_2(line, text, said):
    assert said.lower() in fails(*line(text), code=2).lower()


@pytest.mark.parametrize(("text", "said"), ERRORS, ids=[text for text, _ in ERRORS])
def test_an_error_is_one_line_and_code_1(line, text, said):
    assert said in fails(*line(text), code=1)


@pytest.mark.parametrize("command", ["train ntu60/xsub --data-root {made}", "evaluate", "bench train"])
def test_gpus_without_a_gpu_is_refused_unless_they_are_cpus(line, monkeypatch, command):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    said = fails(*line(f"{command} --gpus 2"), code=1)
    assert "--gpus 2: torch finds no GPU here" in said and "--device cpu" in said


def test_more_gpus_than_there_are_is_refused(line, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    said = fails(*line(f"{' '.join(TRAIN)} --gpus 2"), code=1)
    assert "--gpus 2: 1 GPU found; give fewer" in said


def test_every_command_is_told_of_an_option_that_it_does_not_have():
    commands = re.findall(r"^│ ([a-z]+) ", tsgc("--help"), re.MULTILINE)
    assert len(commands) >= 13
    for name in commands:
        assert "no such option: --nonsense" in fails(name, "--nonsense", code=2)


def test_a_bare_command_that_would_have_to_guess_is_wrong_usage(here, made):
    for name in ("ntu60", "mine"):
        shutil.copytree(made / "shards/ntu60", here / "data/shards" / name)
    assert "which one? name one of mine/xsub, ntu60/xsub" in fails("train", code=2)
    assert issubclass(AmbiguousError, UsageError) and TsgcError.exit_code == 1 and UsageError.exit_code == 2


@pytest.mark.parametrize("words", [[], ["train"], ["bench"], ["bench", "graph"]])
def test_help_is_what_the_option_says(words):
    assert tsgc("help", *words) == tsgc(*words, "--help")


def test_the_version_is_the_package_s():
    assert tsgc("--version") == f"tsgc {version('tsgc')}\n"


@pytest.mark.parametrize(("words", "holds"), [((), "prepare"), (("bench",), "graph")])
def test_a_bare_group_of_commands_shows_its_help_once_and_no_error(words, holds):
    said = tsgc(*words, expect=2)
    assert said.count("Usage:") == 1 and holds in said and "error:" not in said


def test_debug_shows_where_wrong_usage_was_found(here):
    result = CliRunner().invoke(cli.app, ["prepare", "ntu61", "--debug"])
    assert isinstance(result.exception, UsageError)
