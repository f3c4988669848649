"""`tsgc bench train --limit-like CARD`: in the precision that the card would take, on a GPU that has room."""

import pytest
import torch
from made.command import fails, tsgc

from tsgc import kernels
from tsgc.bench import run
from tsgc.kernels import cards
from tsgc.kernels.cards import CARDS, Card, lacking
from tsgc.network import precision

TRAIN = ("bench", "train", "--variant", "tiny", "--frames", "16")


@pytest.fixture
def gpu(monkeypatch):
    """Sets the GPU that torch says is here; what would be timed on it is listed, and nothing runs."""
    timed = []

    def set_to(card: Card, triton: bool = True):
        precision.fastest.cache_clear()
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Card 3000")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: card.capability)
        monkeypatch.setattr(cards, "_device_card", lambda device: card)
        monkeypatch.setattr(kernels, "has_triton", lambda: triton)

        def time_rungs(contender, shape, device, steps, like):
            timed.append((contender.name, like))
            row = {"kernels": "none", "training": 1.0, "inference": 2.0, "memory_gb": 0.1}
            return [{"rung": "plain", **row}]

        monkeypatch.setattr(run, "time_rungs", time_rungs)
        return timed

    yield set_to
    precision.fastest.cache_clear()


@pytest.mark.parametrize(
    "card, words, taken",
    [
        ("t4", [], "float16"),
        ("T4", ["--precision", "auto"], "float16"),
        ("rtx 4090", [], "bf16"),
        ("mi300x", [], "bf16"),
        ("t4", ["--precision", "float32"], "float32"),
        ("rtx 4090", ["--precision", "tf32"], "tf32"),
        ("a100", ["--precision", "float16"], "float16"),
    ],
)
def test_rungs_are_timed_in_the_precision_that_the_card_would_take(gpu, card, words, taken):
    timed = gpu(CARDS["h200"])
    said = tsgc(*TRAIN, "--limit-like", card, *words)
    assert timed == [(f"ours {taken}", CARDS[card.lower()])]
    assert f"as on {card}, timed on this GPU: ours {taken}" in said and "no instructions" not in said


@pytest.mark.parametrize("name", ["bf16", "tf32"])
def test_a_precision_that_the_card_lacks_is_refused(gpu, name):
    timed = gpu(CARDS["h200"])
    assert fails(*TRAIN, "--limit-like", "t4", "--precision", name, code=2) == (
        f"error: --precision {name}: t4 has no instructions for it; leave it out (float16 there), or choose"
        " float16 or float32\n"
    )
    assert timed == []


@pytest.mark.parametrize(
    "here, card, needs",
    [
        ("rtx 4090", "a100", "163 kB of shared memory a program, it has 99 kB"),
        ("t4", "rtx 3060", "99 kB of shared memory a program, it has 64 kB"),
        ("a100", "rtx 5090", "kernels that load tiles by descriptors"),
        ("t4", "mi300x", "bfloat16 in its matrix units"),
        ("mi300x", "t4", "NVIDIA's instructions"),
    ],
)
def test_a_card_that_this_gpu_cannot_stand_for_is_refused(gpu, here, card, needs):
    gpu(CARDS[here])
    said = fails(*TRAIN, "--limit-like", card, "--precision", "float32", code=2)
    assert said.startswith(f"error: --limit-like {card}: needs ") and said.endswith(
        "; choose a smaller card than this GPU\n"
    )
    assert needs in said


def test_the_gpu_that_kernels_were_tuned_on_stands_for_all():
    assert all(not lacking(cards.TUNED_FOR, card) for card in CARDS.values())
    assert all(not lacking(card, card) for card in CARDS.values())


def test_what_else_stands_in_the_way_is_one_line(gpu):
    gpu(CARDS["h200"])
    like = ("--limit-like", "t4")
    for words, told in {
        ("--plain",): "--plain: with --limit-like rungs of kernels alone are timed; give one of them",
        ("--trace",): "--trace: with --limit-like",
        ("--long",): "--long: with --limit-like",
        ("--data", "nowhere"): "--data: with --limit-like",
        ("--network", "ctrgcn"): "CTR-GCN has no blocks whose kernels are cut for GPUs",
    }.items():
        assert told in tsgc("bench", "train", "--frames", "64", *like, *words, expect=2)
    gpu(CARDS["h200"], triton=False)
    assert "kernels need Triton" in fails(*TRAIN, *like, code=2)


def test_without_a_gpu_a_line_says_where_to_look():
    for words in ((), ("--precision", "bf16"), ("--plain",)):
        assert fails(*TRAIN, "--device", "cpu", "--limit-like", "rtx 4090", *words, code=2) == (
            "error: --limit-like: times kernels on a GPU, and there is none here; docs/performance.md lists"
            " what each card gets\n"
        )


def test_an_unknown_card_is_told_with_those_near_it():
    said = fails(*TRAIN, "--device", "cpu", "--limit-like", "rtx 4080", code=2)
    assert "--limit-like rtx 4080: no GPU that is known here; did you mean rtx 4090 or" in said
    assert "expected one of t4, " in said
    far = fails(*TRAIN, "--device", "cpu", "--limit-like", "voodoo", "--precision", "float32", code=2)
    assert "--limit-like voodoo: no GPU that is known here; expected one of t4, " in far
