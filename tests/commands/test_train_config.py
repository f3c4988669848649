"""Where settings come from, and what wrong ones are told."""

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import tsgc
from pipelines.errors import TsgcError, UsageError
from tsgc.config import (
    CONFIGS,
    FIELDS,
    REMOVED,
    TrainConfig,
    build_config,
    parse_settings,
    read_run_config,
    resolve_config,
    to_yaml,
)
from tsgc.input.augmentations import DROPPED_JOINTS
from tsgc.setting import SettingError
from tsgc.step.optimizer import BETA1, MIN_LR


def test_the_defaults_are_the_published_recipe():
    config = resolve_config("ntu60/xsub", recipe="reference")
    assert config == TrainConfig()
    assert (config.lr, config.epochs, config.batch, config.mix_group, config.last_batch) == (
        4e-3, 300, 128, 32, "drop",
    )  # fmt: skip


def test_a_bare_command_uses_the_benchmarks_own_file():
    assert resolve_config("nw-ucla/xview").last_batch == "spread"
    assert resolve_config("ntu120/xset").mix_group == 128


def test_settings_win_over_files_and_options_over_settings(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("epochs: 7\nlr: 1e-3\nwarmup_epochs: 0\n")
    config = resolve_config(
        "ntu60/xsub", config=file, settings=["lr=5e-4"], options={"seed": 3, "modality": None}
    )
    assert (config.epochs, config.lr, config.seed, config.modality) == (7, 5e-4, 3, "joint")


@pytest.mark.parametrize(
    ("option", "given", "setting", "said"),
    [
        ("network", "ctrgcn", "network=stgcn++", "--network ctrgcn and --set network=stgcn++: two values"),
        ("network", "my.py:Net", "network=a/my.py:Net", ""),
        ("modality", "joint", "modality=bone", "--modality joint and --set modality=bone: two values"),
        ("variant", "252", "variant=432", "--variant 252 and --set variant=432: two values"),
        ("variant", "252", "variant=252", ""),
        ("seed", 1, "seed=2", "--seed 1 and --set seed=2: two values; give --seed alone"),
        ("seed", 1, "seed=1", ""),
        ("holdout", True, "holdout=false", "--holdout true and --set holdout=false: two values"),
        ("holdout", True, "holdout=true", ""),
        ("teachers", ["a", "b"], "teachers=[a]", "--teacher a,b and --set teachers=a: two values"),
    ],
)
def test_an_option_and_a_setting_give_no_two_values(option, given, setting, said):
    settings = {"settings": [setting], "options": {option: given}}
    if not said:
        assert resolve_config("ntu60/xsub", **settings)
        return
    with pytest.raises(UsageError, match=f"^{re.escape(said)}"):
        resolve_config("ntu60/xsub", **settings)


def test_settings_read_numbers_booleans_and_null():
    values = parse_settings(["lr=1e-3", "clip_grad=null", "ema_warmup=true"])
    assert values == {"lr": 1e-3, "clip_grad": None, "ema_warmup": True}
    assert resolve_config("x/y", settings=["variant=432"]).variant == "432"


def test_every_shipped_recipe_is_valid():
    for path in CONFIGS.glob("**/*.yaml"):
        build_config(resolve_config("any/any", config=path).__dict__, str(path))
        assert set(yaml.safe_load(path.read_text())) <= set(FIELDS)


def fields_read() -> set[str]:
    """Fields of TrainConfig that some module reads, as attributes of a `config`."""
    found = set()
    for path in Path(tsgc.__file__).parent.rglob("*.py"):
        if path.name in ("config.py", "train_config.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)):
                continue
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            if name in ("config", "settled"):
                found.add(node.attr)
    return found & set(FIELDS)


# What the config itself reads, and others by its methods.
BY_METHOD = {"save_every": "saves_after"}


def test_every_field_is_read_somewhere():
    unread = set(FIELDS) - fields_read() - set(BY_METHOD)
    assert not unread, f"nothing reads {', '.join(sorted(unread))}"
    source = "".join(path.read_text() for path in Path(tsgc.__file__).parent.rglob("*.py"))
    assert all(f"config.{method}(" in source for method in BY_METHOD.values())


def test_the_fields_recipe_of_nw_ucla_is_as_published_and_chosen_by_hand_alone():
    """Numbers of CTR-GCN's released configuration; nothing is mixed, smoothed, clipped or averaged."""
    config = resolve_config("nw-ucla/xview", config=CONFIGS / "nw-ucla-ctrgcn.yaml")
    assert (config.network, config.network_settings) == ("ctrgcn", {})
    assert (config.optimiser, config.lr, config.weight_decay) == ("sgd", 0.1, 1e-4) and config.decay_biases
    assert (config.schedule, config.lr_steps, config.epochs) == ("steps", (50,), 65)
    assert (config.batch, config.last_batch, config.repeats, config.warmup_epochs) == (16, "drop", 5, 5)
    assert (config.sampling, config.frames, config.bodies, config.normalise) == ("frames", 52, 1, "min-max")
    assert (config.rotation, config.rotation_max, config.precision) == ("degrees-yx", 60, "tf32")
    off = ("mixup", "label_smoothing", "drop_path", "ema_decay", "mirror", "limbs", "scale", "noise")
    assert not any(getattr(config, name) for name in off) and config.clip_grad is None
    assert resolve_config("nw-ucla-ctrgcn/xview") == resolve_config("nw-ucla/xview") != config


@pytest.mark.parametrize("file", sorted(path.stem for path in CONFIGS.glob("ntu*.yaml")))
def test_ntu_is_trained_by_the_published_recipe_with_its_repairs(file):
    """EMA warmed up, mixing on the global batch, always; the precision and fewer evaluations, for speed."""
    published, ours = TrainConfig(), resolve_config(f"{file}/xsub")
    differ = {name: getattr(ours, name) for name in FIELDS if getattr(ours, name) != getattr(published, name)}
    assert differ == {
        "ema_warmup": True, "mix_group": published.batch, "mixup_prob": 1.0, "precision": "auto",
        "eval_every": 20 if "120" in file else 10,
    }  # fmt: skip
    assert resolve_config(f"{file}/xsub", recipe="reference") == published


def test_a_run_reads_back_the_config_that_it_wrote(tmp_path):
    config = dataclasses.replace(TrainConfig(), lr=1e-3, bodies=None, modality="bone", noise=1e-6)
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert read_run_config(tmp_path / "config.yaml") == config


def test_a_wrong_option_is_named_beside_the_files():
    with pytest.raises(TsgcError, match=r"ntu60\.yaml with --modality: modality is joints, expected one of"):
        resolve_config("ntu60/xsub", options={"modality": "joints", "seed": None})


def test_only_what_an_error_is_about_is_named():
    """Of the words of a command line, those that gave the settings in question; a bench gives many more."""
    options = {"variant": "tiny", "micro_batch": 8, "teachers": None}
    with pytest.raises(TsgcError, match=r"recipe with --set: graphs is 'maybe', expected a valid boolean"):
        resolve_config("made", recipe="reference", settings=["graphs=maybe"], options=options)
    with pytest.raises(TsgcError, match=r"ntu60\.yaml with --set: unknown key 'nonsense'"):
        resolve_config("ntu60/xsub", settings=["nonsense=1", "seed=2"], options=options)
    with pytest.raises(TsgcError, match=r"ntu60\.yaml with --set: warmup_epochs is 20, .* epochs \(2\)"):
        resolve_config("ntu60/xsub", settings=["epochs=2", "warmup_epochs=20"], options=options)


@pytest.mark.parametrize(
    ("epochs", "warmup"), [(1, 0), (2, 1), (4, 1), (8, 2), (79, 19), (80, 20), (300, 20), (600, 20)]
)
def test_a_shorter_run_has_a_shorter_warmup_and_says_so(epochs, warmup):
    said = []
    config = resolve_config("ntu60/xsub", settings=[f"epochs={epochs}"], note=said.append)
    assert (config.epochs, config.warmup_epochs) == (epochs, warmup)
    if warmup == 20:
        assert said == []
    else:
        assert len(said) == 1 and said[0].startswith(
            f"warm-up: {warmup} of {epochs} epochs, a quarter at most"
        )
        assert "ntu60.yaml: 20 of 300); --set warmup_epochs=N" in said[0]


def test_a_warmup_that_is_given_stays(tmp_path):
    said = []
    file = tmp_path / "mine.yaml"
    for text, settings, epochs, warmup in (
        ("epochs: 7\nwarmup_epochs: 3", [], 7, 3),
        ("epochs: 7\nwarmup_epochs: 3", ["epochs=4", "warmup_epochs=4"], 4, 4),
        ("epochs: 7", ["warmup_epochs=5"], 7, 5),
        ("epochs: 90", [], 90, 20),
    ):
        file.write_text(text)
        config = resolve_config("a/b", config=file, settings=settings, note=said.append)
        assert (config.epochs, config.warmup_epochs) == (epochs, warmup)
    assert said == []


def test_a_file_with_fewer_epochs_shortens_the_warmup_of_the_published_recipe(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("epochs: 8\n")
    for settings, first in (([], "warm-up: 2 of 8 epochs"), (["epochs=4"], "warm-up: 1 of 4 epochs")):
        said = []
        resolve_config("a/b", config=file, settings=settings, note=said.append)
        assert len(said) == 1 and said[0].startswith(first)
    assert f"({file}: 2 of 8)" in said[0]


@pytest.mark.parametrize("epochs", ["many", "2.5", ".nan", ".inf", "-1", "null", "[1]"])
def test_epochs_that_are_no_number_are_told_as_ever(epochs):
    with pytest.raises(TsgcError, match="epochs is "):
        resolve_config("ntu60/xsub", settings=[f"epochs={epochs}"])


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("epoch=3", "did you mean epochs"),
        ("epochs=many", "epochs is 'many', expected a valid integer"),
        ("epochs=1.5", "epochs"),
        ("epochs=0", "epochs is 0, expected 1 or more"),
        ("drop_path=1", "drop_path is 1.0, expected 0 or more, under 1"),
        ("lr=nan", "lr is nan"),
        ("variant=999", "one of 252, 432, tiny"),
        ("modality=joints", "one of joint, bone"),
        ("frames=8", "frames is 8, expected 16 or more"),
        ("warmup_epochs=400", "from 0 to epochs (300)"),
        ("sampling=every", "sampling is 'every'"),
        ("optimiser=adam", "optimiser is 'adam', expected 'adamw' or 'sgd'"),
        ("lr_steps=[0]", "lr_steps is 0, expected greater than or equal to 1"),
        ("epochs", "expected key=value"),
    ],
)
def test_a_wrong_setting_is_told_what_was_expected(setting, words):
    with pytest.raises(TsgcError, match=re.escape(words)):
        resolve_config("ntu60/xsub", settings=[setting])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epoch": 3}, "unknown key 'epoch'; did you mean epochs?"),
        ({"mirror": 1.5, "epoch": 3}, "unknown key 'epoch'"),
        ({"crop_min": 0}, "crop_min is 0.0, expected over 0, at most 1"),
        ({"clip_grad": -1}, "clip_grad is -1.0, expected over 0, or null"),
        ({"seed": float("nan")}, "seed is nan, expected 0 or more"),
        ({"relabel": {"clap": {"a": "b"}}}, "relabel is 'b', expected a valid integer"),
        ({"speed": 0.1, "sampling": "frames"}, "speed is 0.1, expected 0 or more, with sampling=crop"),
        ({"cutmix_span": 0.5, "cutmix_part": 0.6}, "between 0 and what cutmix_span (0.5) leaves"),
        ({"face_camera": True}, "face_camera is True, expected false, or rotation=vertical with it"),
        ({"lr_steps": (3,)}, "lr_steps is [3], expected [], or epochs with schedule=steps"),
        ({"lr_steps": (9, 9), "schedule": "steps"}, "lr_steps is [9, 9], expected rising epochs, all under"),
        ({"lr_steps": 9, "schedule": "steps", "epochs": 9, "warmup_epochs": 1}, "under epochs (9); --set"),
        ({"beta2": 0.9, "optimiser": "sgd"}, "beta2 is 0.9, expected 0.999, or optimiser=adamw with it"),
    ],
)
def test_a_config_is_checked_however_it_is_made(settings, said):
    for make in (lambda: TrainConfig(**settings), lambda: dataclasses.replace(TrainConfig(), **settings)):
        with pytest.raises(SettingError, match=re.escape(said)) as caught:
            make()
        assert set(caught.value.settings) <= {*settings, "rotation", "schedule", "epochs"}


def test_every_setting_stands_in_one_group_with_its_meaning_below_it():
    """The groups in the order of config.yaml; no setting stands twice, none without its words."""
    groups = [base for base in reversed(TrainConfig.__mro__[1:-1])]
    assert [name for group in groups for name in group.__annotations__] == list(FIELDS)
    body = ast.parse(Path(inspect.getfile(TrainConfig)).read_text()).body
    for group in (node for node in body if isinstance(node, ast.ClassDef) and node.name != "TrainConfig"):
        for node, after in zip(group.body, [*group.body[1:], None]):
            if isinstance(node, ast.AnnAssign):
                assert isinstance(after, ast.Expr), ast.unparse(node)


def test_wrong_settings_are_told_without_torch_or_timm(tmp_path):
    program = (
        "import sys; from tsgc.config import resolve_config\n"
        "try: resolve_config('ntu60/xsub', settings=['epochs=0'])\n"
        "except Exception as error: print(error)\n"
        "print(sorted({'torch', 'timm', 'numpy'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.endswith("with --set: epochs is 0, expected 1 or more\n[]\n")


def test_files_of_earlier_versions_are_read_where_a_removed_setting_is_what_it_always_is_now(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("min_lr: 1.0e-06\nbeta1: 0.9\ndrop_joints_part: 0.2\n" + to_yaml(TrainConfig(lr=1e-3)))
    assert read_run_config(file) == TrainConfig(lr=1e-3)
    assert resolve_config(
        "ntu60/xsub", config=file, settings=["beta1=0.9", "min_lr=1e-6"]
    ) == read_run_config(file)
    assert {"min_lr": MIN_LR, "beta1": BETA1, "drop_joints_part": DROPPED_JOINTS} == REMOVED


@pytest.mark.parametrize("name", REMOVED)
def test_another_value_of_a_removed_setting_is_refused(tmp_path, name):
    said = f"{name} is 0.5, expected {REMOVED[name]} or none: it is no longer a setting"
    file = tmp_path / "config.yaml"
    file.write_text(f"{name}: 0.5\n")
    with pytest.raises(TsgcError, match=f"config.yaml: {re.escape(said)}"):
        read_run_config(file)
    with pytest.raises(TsgcError, match=rf"ntu60\.yaml with --set: {re.escape(said)}"):
        resolve_config("ntu60/xsub", settings=[f"{name}=0.5", "seed=1"])


def test_a_shipped_recipe_is_found_by_its_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = resolve_config("nw-ucla/xview", config=CONFIGS / "nw-ucla-ctrgcn.yaml")
    for name in ("nw-ucla-ctrgcn", "nw-ucla-ctrgcn.yaml", "configs/nw-ucla-ctrgcn.yaml"):
        assert resolve_config("a/b", config=Path(name)) == whole
    for name in ("other/nw-ucla-ctrgcn.yaml", "nw-ucla-ctrgcn.json", "nw-ucla-ctr"):
        with pytest.raises(TsgcError, match=f"{name}: no such file"):
            resolve_config("a/b", config=Path(name))
    Path("nw-ucla-ctrgcn.yaml").write_text("lr: 1.0\n")  # one's own comes first
    assert resolve_config("a/b", config=Path("nw-ucla-ctrgcn.yaml")).lr == 1.0
    assert resolve_config("a/b", config=Path("nw-ucla-ctrgcn")) == whole


def test_a_file_that_is_not_settings_is_refused(tmp_path):
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(TsgcError, match="expected key: value lines"):
        resolve_config("a/b", config=tmp_path / "list.yaml")
    with pytest.raises(TsgcError, match="no such file"):
        resolve_config("a/b", config=tmp_path / "none.yaml")
    with pytest.raises(TsgcError, match="a folder; --config takes a YAML file"):
        resolve_config("a/b", config=tmp_path)
