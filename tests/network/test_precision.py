"""`precision: auto` is the fastest that is safe on each kind of device; what a device emulates is said."""

import platform
from types import SimpleNamespace

import pytest
import torch

from tsgc.doctor import precisions
from tsgc.network import precision
from tsgc.network.precision import (
    agreed,
    arithmetic,
    cpu_has_bf16,
    emulates,
    emulation_cost,
    for_recognition,
    replacement,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def on(monkeypatch):
    """Sets what a device answers: a GPU's capability, or whether a CPU has bfloat16."""
    precision.fastest.cache_clear()

    def set_to(capability=None, bf16=False, hip=None):
        precision.fastest.cache_clear()
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Card 3000")
        monkeypatch.setattr(torch.version, "hip", hip)
        monkeypatch.setattr(precision, "cpu_has_bf16", lambda: bf16)

    yield set_to
    monkeypatch.undo()
    precision.fastest.cache_clear()


@pytest.mark.parametrize(
    ("capability", "chosen"),
    [
        ((6, 1), "float32"), ((7, 0), "float16"), ((7, 5), "float16"),
        ((8, 0), "bf16"), ((8, 9), "bf16"), ((9, 0), "bf16"), ((12, 0), "bf16"),
    ],
)  # fmt: skip
def test_auto_on_gpus_is_what_their_tensor_cores_have(on, capability, chosen):
    on(capability)
    assert precision.fastest(GPU) == chosen
    assert emulates("bf16", GPU) == (chosen != "bf16")
    assert not any(emulates(name, GPU) for name in ("float32", "tf32", "float16"))


def test_auto_on_amds_gpus_is_bfloat16(on):
    on((0, 0), hip="7.0")
    assert precision.fastest(GPU) == "bf16" and not emulates("bf16", GPU)


def test_auto_on_cpus_asks_for_the_instructions(on):
    on(bf16=False)
    assert precision.fastest(CPU) == "float32" and emulates("bf16", CPU) and emulates("float16", CPU)
    on(bf16=True)
    assert precision.fastest(CPU) == "bf16" and not emulates("bf16", CPU) and emulates("float16", CPU)


@pytest.mark.parametrize(
    ("onednn", "machine", "avx512_bf16", "there"),
    [
        (True, "x86_64", True, True),
        (True, "x86_64", False, False),  # AVX-512 alone: oneDNN emulates
        (True, "AMD64", False, False),  # as Windows calls it
        (False, "x86_64", True, False),  # oneDNN is told to leave it out, or is not there
        (True, "aarch64", False, True),
        (False, "arm64", False, False),
    ],
)
def test_a_cpu_has_bfloat16_where_it_and_onednn_say_so(monkeypatch, onednn, machine, avx512_bf16, there):
    where = torch.cpu if hasattr(torch.cpu, "_is_avx512_bf16_supported") else torch._C._cpu
    monkeypatch.setattr(where, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert cpu_has_bf16() == there


def test_what_is_emulated_is_told_in_a_line_with_its_cost(on):
    on((7, 5), bf16=False)
    assert emulation_cost("bf16", CPU) == (
        "precision is bf16, which this CPU has no instructions for: training takes some 6 to 8 times as long"
        " as in float32; --set precision=auto takes float32 here"
    )
    said = emulation_cost("bf16", GPU)
    assert "Card 3000 has no instructions for" in said and said.endswith("precision=auto takes float16 here")
    assert not emulation_cost("float16", GPU) and not emulation_cost("float32", CPU)
    assert emulation_cost("float16", CPU, ours=False).endswith("takes float32 here")
    assert emulation_cost("bf16", CPU, "--precision auto").endswith("; --precision auto takes float32 here")


def test_recognition_in_another_precision_is_told_in_a_line(on):
    on((7, 5), bf16=False)
    words = "the run's precision is bf16, which {} has no instructions for: {} takes its place"
    assert replacement("bf16", CPU) == words.format("this CPU", "float32")
    assert replacement("bf16", GPU) == words.format("Card 3000", "float16")
    assert not any(replacement(name, GPU) for name in ("auto", "float16", "tf32", "float32"))
    on((8, 0), bf16=True)
    assert not replacement("bf16", CPU) and not replacement("bf16", GPU)


def test_recognition_is_in_what_the_run_asked_for_where_the_device_has_it(on):
    on((7, 5), bf16=False)
    own = {"auto": "float16", "bf16": "float16", "float16": "float16", "tf32": "tf32", "float32": "float32"}
    assert {name: for_recognition(name, GPU) for name in own} == own
    own |= dict.fromkeys(("auto", "bf16", "float16"), "float32")
    assert {name: for_recognition(name, CPU) for name in own} == own
    on((9, 0), bf16=True)
    own |= {"auto": "bf16", "bf16": "bf16", "float16": "float16"}
    assert {name: for_recognition(name, GPU) for name in own} == own


def test_doctor_tells_what_auto_is_on_each_device_and_what_is_emulated(on, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    on((7, 5), bf16=False)
    assert precisions() == [
        "cuda:0: auto is float16; not bf16, which Card 3000 has no instructions for",
        "cpu: auto is float32; not bf16, which this CPU has no instructions for",
    ]
    on((9, 0), bf16=True)
    assert precisions() == ["cuda:0: auto is bf16", "cpu: auto is bf16"]


@pytest.mark.parametrize(
    ("ranks", "chosen"),
    [
        (["bf16", "bf16"], "bf16"), (["bf16", "float16"], "float16"), (["tf32", "tf32"], "tf32"),
        (["float16", "float32", "bf16"], "float32"),
    ],
)  # fmt: skip
def test_ranks_take_what_all_of_them_have(ranks, chosen):
    assert {agreed(own, SimpleNamespace(gather=lambda word: ranks)) for own in ranks} == {chosen}


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("float16", torch.float16)])
def test_products_have_the_type_that_was_asked_for(name, dtype):
    x = torch.ones(2, 2)
    with arithmetic(name, CPU):
        assert (x @ x).dtype == dtype
    with arithmetic("float32", CPU):
        assert (x @ x).dtype == torch.float32


def test_the_arithmetic_of_auto_is_the_devices(on):
    x = torch.ones(2, 2)
    for bf16, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        on(bf16=bf16)
        with arithmetic("auto", CPU):
            assert (x @ x).dtype == dtype
