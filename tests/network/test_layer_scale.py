"""Layer scale: factors of a block's branch, plain and folded into its last layer, and runs that have them."""

import copy
import json
import re

import pytest
import torch
from made.blocks import gradients, made_block
from made.command import fails, lose_machine, quick, tsgc
from torch import Tensor

from pipelines.skeleton import SKELETONS
from tsgc import load_run
from tsgc.checkpoint import load_model
from tsgc.config import TrainConfig
from tsgc.evaluation.scores import read_scores
from tsgc.network.model import TSGCNeXt
from tsgc.step.optimizer import build_optimizer

NTU = SKELETONS["ntu-25"]


def test_folded_factors_are_those_of_the_plain_block():
    """In float64, values and gradients, dropped rows too: what the kernels are given gives the same."""
    torch.manual_seed(0)
    block = made_block(8, 5, layer_scale=0.5).double()
    x, weights = torch.randn(2, 3, 4, 5, 8, dtype=torch.float64)
    survival = torch.tensor([1.25, 0.0, 1.25], dtype=torch.float64)

    def folded(x: Tensor) -> Tensor:
        """The block without factors, of the projection that has them in it."""
        weight, bias = block.projection()
        plain = copy.deepcopy(block)
        plain.scale = None
        given = {**dict(block.named_parameters()), "project.weight": weight, "project.bias": bias}
        del given["scale"]
        return torch.func.functional_call(plain, given, (x, survival))

    want = gradients(lambda x: block(x, survival), x, block, weights)
    got = gradients(folded, x, block, weights)
    assert want["scale"].abs().min() > 0
    for name, exact in want.items():
        torch.testing.assert_close(got[name], exact, rtol=1e-12, atol=1e-12, msg=name)


def test_the_kernels_give_a_block_with_factors():
    pytest.importorskip("triton", reason="torch comes without Triton here")
    from tsgc.kernels import block as fused

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    block = made_block(96, 13, layer_scale=0.5).to(device)
    x, weights = torch.randn(2, 3, 2, 13, 96, device=device)
    survival = torch.tensor([1.25, 0.0, 1.25], device=device)
    twin = copy.deepcopy(block).double()
    want = gradients(lambda x: twin(x, survival.double()), x.double(), twin, weights)
    got = gradients(lambda x: fused.apply_block(x, survival, block), x, block, weights)
    for name, exact in want.items():
        assert ((got[name] - exact).norm() / exact.norm()).item() < 5e-6, name


def test_a_network_without_factors_is_the_one_it_always_was():
    """The same names, and with factors the same start for everything else."""
    networks = []
    for layer_scale in (None, 1e-2):
        torch.manual_seed(3)
        networks.append(TSGCNeXt(NTU, 5, variant="tiny", layer_scale=layer_scale).eval())
    without, having = (network.state_dict() for network in networks)
    new = set(having) - set(without)
    assert set(without) <= set(having) and not any("scale" in name for name in without)
    assert {re.sub(r"\d+\.\d+", "*", name) for name in new} == {"stages.*.scale"}
    assert len(new) == sum(len(blocks) for blocks in networks[0].stages)
    assert all(torch.equal(tensor, having[name]) for name, tensor in without.items())
    assert all((having[name] == 1e-2).all() for name in new)
    x = torch.randn(2, 3, 16, 25, 2)
    assert not torch.allclose(networks[0](x), networks[1](x))


def test_factors_of_one_change_nothing():
    torch.manual_seed(3)
    without = TSGCNeXt(NTU, 5, variant="tiny").eval()
    torch.manual_seed(3)
    ones = TSGCNeXt(NTU, 5, variant="tiny", layer_scale=1.0).eval()
    x = torch.randn(2, 3, 16, 25, 2)
    assert torch.equal(without(x), ones(x))


def test_weight_decay_leaves_factors_alone():
    model = TSGCNeXt(NTU, 5, variant="tiny", layer_scale=0.1)
    optimizer = build_optimizer(model, TrainConfig(variant="tiny", weight_decay=0.3), torch.device("cpu"))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {decay[id(p)] for name, p in model.named_parameters() if name.endswith("scale")} == {0.0}


def test_a_run_with_factors_resumes_and_is_opened_everywhere(trained, here, monkeypatch):
    """Cut off and gone on with, evaluated, counted, asked, exported: each with the factors it has learned."""
    data = ["--data-root", trained / "data"]
    settings = quick("layer_scale=0.1", "last_batch=spread", "repeats=4", "save_every=1")
    words = ["train", "nw-ucla/xview", *data, *settings]
    tsgc(*words, "--run-dir", here / "whole")
    lose_machine(monkeypatch, 1)
    tsgc(*words, "--run-dir", here / "cut", expect=1)
    monkeypatch.undo()
    resume = [*words, "--run-dir", here / "cut", "--resume"]
    assert "layer_scale=0.1 (now None)" in fails(*resume, "--set", "layer_scale=null")
    tsgc(*resume)
    for name in ("last", "last-ema"):
        weights = [(here / run / f"checkpoints/{name}.safetensors").read_bytes() for run in ("whole", "cut")]
        assert weights[0] == weights[1]

    model, description = load_model(here / "whole/checkpoints/last.safetensors")
    assert description.config.layer_scale == 0.1
    factors = [tensor for name, tensor in model.state_dict().items() if name.endswith(".scale")]
    assert factors and all(tensor.std() > 0 for tensor in factors)  # each channel has learned its own
    before = read_scores(here / "whole/scores/last.npz")
    tsgc("evaluate", here / "whole", *data)
    assert (read_scores(here / "whole/scores/last.npz").logits == before.logits).all()
    count = sum(parameter.numel() for parameter in model.parameters())
    assert json.loads(tsgc("info", here / "whole", "--json"))["totals"]["parameters"] == count
    clip = next((trained / "data/NW-UCLA/all_sqe").glob("*_v03.json"))
    (guess,) = load_run(here / "whole", device="cpu").predict(clip)
    assert abs(guess.logits - before.logits[before.names.tolist().index(clip.stem)]).max() < 1e-5
    said = tsgc("export", here / "whole", "--format", "pt2", "--data-root", trained / "data")
    assert "largest difference from PyTorch" in said


@pytest.mark.parametrize("name, off", [("layer_scale", "None"), ("occlusion", "0.0")])
def test_a_state_of_before_a_setting_is_one_without(trained, here, name, off):
    words = ["train", "nw-ucla/xview", "--data-root", trained / "data", *quick("last_batch=spread")]
    tsgc(*words, "--run-dir", here / "run")
    state = here / "run/checkpoints/state.pt"
    content = torch.load(state, weights_only=True)
    del content["config"][name]
    torch.save(content, state)
    resume = [*words, "--run-dir", here / "run", "--resume"]
    assert f"{name}={off} (now 0.1)" in fails(*resume, "--set", f"{name}=0.1")
    tsgc(*resume)
