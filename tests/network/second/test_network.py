"""TSGCNeXt2: one view is TSGCNeXt, several are kept apart, and absent bodies count nothing."""

import pytest
import torch
from made.views import M, N, T, V, clips, presence
from torch.export import Dim
from torch.utils.flop_counter import FlopCounterMode

from pipelines.errors import TsgcError
from pipelines.skeleton import NW_UCLA_20, SKELETONS
from tsgc import kernels
from tsgc.explain.embedding import last_layers
from tsgc.network.build import build_network
from tsgc.network.cost import count_parts, totals
from tsgc.network.model import TSGCNeXt, drop_path_factors
from tsgc.network.second.clip_graph import HEADS, ClipAttention, ClipGraph
from tsgc.network.second.model import TSGCNeXt2
from tsgc.networks import SECOND_VARIANTS, VARIANTS
from tsgc.train_config import TrainConfig

K = 5
SHAPE = {"bodies": M, "frames": T, "variant": "tiny"}
AS_FIRST = {"depths": [2, 1, 1], "widths": [24, 48, 96]}
APART = {"clip_graphs": [1, 3], "clip_attention": [2, 3], "dilated_convs": [1, 2]}  # each view on its own
ALONE = {**APART, "clip_sampling": True}  # what one view has
TOGETHER = {"meeting": [2, 3], "gated": True}
EVERY = {**ALONE, **TOGETHER}
SETTINGS = pytest.mark.parametrize("settings", [{}, EVERY], ids=["plain", "of the clip"])
SINGLE = pytest.mark.parametrize("settings", [{}, ALONE], ids=["plain", "of the clip"])


def second(views=2, seed=0, trained=True, **settings):
    """A network of `views`; `trained`: its layers are no longer silent, its statistics of some clips."""
    torch.manual_seed(seed)
    model = TSGCNeXt2(NW_UCLA_20, K, channels=3 * views, views=views, **{**SHAPE, **settings})
    if trained:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
            model.input_norm.momentum = 1
            model(2 * clips(views) + 1)
            model.input_norm.momentum = 0.1
    return model


def drawn(model, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return drop_path_factors(
        model.drop_path_rates, torch.rand(len(model.drop_path_rates), N * M, generator=generator)
    )


def renamed(weights):
    """Weights of TSGCNeXt as those of one view."""
    own = {"stem": "stems.0", "norm": "norms.0", "head": "heads.0"}
    return {".".join([own.get(name, name), *rest]): weights[whole]
            for whole in weights for name, *rest in [whole.split(".")]}  # fmt: skip


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("given", ["nothing", "presence", "survival", "both"])
@SINGLE
def test_one_view_is_tsgcnext_to_the_bit(settings, given, training, monkeypatch):
    """With layers of the clip, too, as these start."""
    monkeypatch.setitem(VARIANTS, "tiny", type(VARIANTS["tiny"])((2, 1, 1), (24, 48, 96)))
    torch.manual_seed(0)
    first = TSGCNeXt(NW_UCLA_20, K, variant="tiny", bodies=M, layer_scale=0.5).train(training)
    model = second(1, trained=False, layer_scale=0.5, **AS_FIRST, **settings).train(training)
    found = model.load_state_dict(renamed(first.state_dict()), strict=False)
    assert not found.unexpected_keys
    assert all(
        name.startswith(("graphs.", "attention.", "dilated.", "sampling.")) for name in found.missing_keys
    )
    assert torch.equal(first.drop_path_rates, model.drop_path_rates)
    more = {"presence": presence()} if given in ("presence", "both") else {}
    more |= {"survival": drawn(first)} if given in ("survival", "both") else {}
    answers = []
    for network in (first, model):
        torch.manual_seed(3)  # where nothing is given both draw drop path themselves, in training
        answers.append(network(clips(1), **more))
        answers[-1].square().sum().backward()
    assert torch.equal(*answers)
    gradients = {name: value.grad for name, value in model.named_parameters()}
    for name, value in renamed(dict(first.named_parameters())).items():
        assert torch.equal(gradients[name], value.grad), name
    for name, value in renamed(dict(first.named_buffers())).items():
        assert torch.equal(dict(model.named_buffers())[name], value), name


def alone(model, view):
    """A network of one view alone, of the weights of `model`."""
    layers = {"clip_graphs": model.graphs, "clip_attention": model.attention, "dilated_convs": model.dilated}
    settings = {name: [int(stage) for stage in at] for name, at in layers.items()}
    single = second(1, trained=False, **settings)
    taken = {}
    for name, tensor in model.state_dict().items():
        place, _, rest = name.partition(".")
        if place in ("stems", "norms", "heads"):
            which, _, rest = rest.partition(".")
            taken |= {f"{place}.0.{rest}": tensor} if int(which) == view else {}
        elif place == "input_norm" and tensor.ndim:
            taken[name] = tensor.view(M * V, model.views, 3)[:, view].flatten()
        else:
            taken[name] = tensor
    single.load_state_dict(taken)
    return single


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("settings", [{}, APART], ids=["plain", "of the clip"])
def test_several_views_answer_as_networks_of_one_view_each(settings, training):
    views = 3
    model, x, there = second(views, **settings).train(training), clips(views), presence()
    survival = drawn(model)
    heads = model(x, there, survival)
    singles = []
    for view in range(views):
        single = alone(model, view).train(training)
        singles.append(single(x[:, 3 * view : 3 * view + 3], there, survival[view::views]))
    expected = torch.stack(singles, 1)
    torch.testing.assert_close(heads, expected if training else expected.mean(1), rtol=1e-4, atol=1e-5)


@SINGLE
def test_a_heads_loss_teaches_its_own_stem_and_what_is_shared(settings):
    views = 3
    model = second(views, **settings)
    model(clips(views), presence(), drawn(model))[:, 1].square().sum().backward()
    for name, value in model.named_parameters():
        place, which = name.split(".")[:2]
        own = place not in ("stems", "norms", "heads") or which == "1"
        taught = value.grad is not None and bool(value.grad.any())
        assert taught == own, name
    # Of the input's norm the channels of that view alone: (M, V, C) are its numbers.
    by_view = model.input_norm.weight.grad.view(M * V, views, 3).abs().amax((0, 2)) > 0
    assert by_view.tolist() == [False, True, False]


def test_drop_path_drops_rows_of_a_block_by_view_clip_and_body():
    views = 2
    model = second(views, drop_path=0.7, depths=[2, 1, 1]).eval()
    survival = drawn(model)
    same = []

    def note(block, given, made):
        same.append((given[0] == made).flatten(1).all(1))

    for stage in model.stages:
        for block in stage:
            block.register_forward_hook(note)
    model(clips(views), survival=survival)
    dropped = survival.view(4, views, N * M) == 0
    assert dropped.any() and not dropped.all() and not dropped[0].any()
    assert torch.equal(torch.stack(same).view_as(dropped), dropped)
    assert torch.equal(model.drop_path_rates, torch.linspace(0, 0.7, 4).repeat_interleave(views))


def test_without_factors_drop_path_is_drawn_in_training_alone():
    model, x = second(drop_path=0.7), clips()
    assert not torch.equal(model(x), model(x))
    assert torch.equal(model.eval()(x), model(x))


@SETTINGS
def test_where_a_body_is_absent_nothing_is_looked_at(settings):
    model, x, there = second(**settings).eval(), clips(), presence()
    answer = model(x, there)
    assert answer.isfinite().all()
    absent = (there == 0)[:, None, :, None]  # (N, 1, T, 1, M)
    assert torch.equal(model(torch.where(absent, 1e6, x), there), answer)
    assert not torch.allclose(model(torch.where(absent, x, x + 1), there)[:2], answer[:2])


@SETTINGS
def test_a_clip_without_any_body_is_finite_and_so_are_its_gradients(settings):
    model = second(**settings)
    logits = model(clips(), torch.zeros(N, T, M))
    logits.square().sum().backward()
    assert logits.isfinite().all()
    assert all(value.grad.isfinite().all() for value in model.parameters())


def test_attention_does_not_see_frames_of_absent_bodies():
    torch.manual_seed(0)
    layer = ClipAttention(8, V, M)
    torch.nn.init.normal_(layer.project.weight)
    x = torch.randn(N * M, 4, V, 8)
    share = torch.rand(N, M, 4) + 0.1
    share[0, 1] = 0
    share[1, 0, 2:] = 0
    here = share.view(N * M, 4) > 0
    filled = torch.where(here[..., None, None], x, 100.0)
    made, other = layer(x, share), layer(filled, share)
    torch.testing.assert_close(made[here], other[here])
    assert not torch.allclose(layer(filled)[here], other[here])
    share[2] = 0  # no body at all: as if all were there
    torch.testing.assert_close(layer(x, share)[4:], layer(x)[4:])


def test_joints_are_mixed_by_graphs_of_the_clip():
    """Against loops over heads and joints."""
    torch.manual_seed(0)
    layer = ClipGraph(8)
    torch.nn.init.normal_(layer.project.weight)
    x = torch.randn(2, 3, V, 8)
    z = layer.norm(x)
    query, key = layer.relate(z.mean(1)).chunk(2, -1)
    value = layer.value(z)
    mixed = torch.empty_like(value)
    for group in torch.arange(8).split(8 // HEADS):
        for u in range(V):
            alike = (query[:, u, None, group] * key[:, :, group]).sum(-1) / len(group) ** 0.5
            weights = torch.softmax(alike, -1)[:, None, :, None]
            mixed[:, :, u, group] = (weights * value[..., group]).sum(2)
    torch.testing.assert_close(layer(x), x + layer.project(mixed))


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_every_skeleton_is_taken_and_every_parameter_learns(skeleton):
    """DDP waits for the gradient of every parameter."""
    body = SKELETONS[skeleton]
    model = TSGCNeXt2(body, 7, bodies=1, channels=4, frames=16, views=2, variant="tiny", **EVERY)
    logits = model(torch.randn(2, 4, 16, body.num_joints, 1))
    logits.sum().backward()
    assert logits.shape == (2, 3, 7) and all(value.grad is not None for value in model.parameters())


def test_bfloat16_is_near_float32_and_its_answer_is_not_rounded():
    model = second(**EVERY).eval()
    exact = model(clips(), presence())
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(clips(), presence())
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"widths": [2, 5]}, r"^widths is \[2, 5\], expected 3 whole numbers of 1 or more"),
        ({"widths": "wide"}, "^widths is 'wide', expected 3"),
        ({"widths": [16, 32, True]}, r"^widths is \[16, 32, True\]"),
        ({"depths": 2}, "^depths is 2, expected 3"),
        ({"depths": [1, 0, 1]}, r"^depths is \[1, 0, 1\]"),
        ({"clip_graphs": [4]}, r"^clip_graphs is \[4\], expected a list of stages from 1 to 3"),
        ({"clip_graphs": 2}, "^clip_graphs is 2, expected"),
        ({"clip_graphs": ["1"]}, "^clip_graphs is .*expected"),
        ({"clip_attention": [0]}, r"^clip_attention is \[0\], expected a list of stages from 1 to 3"),
        ({"clip_attention": "x"}, "^clip_attention is 'x'"),
        ({"clip_attention": [True]}, r"^clip_attention is \[True\]"),
        ({"dilated_convs": [4]}, r"^dilated_convs is \[4\], expected a list of stages from 1 to 3"),
        ({"dilated_convs": True}, "^dilated_convs is True, expected"),
        ({"clip_sampling": 1}, "^clip_sampling is 1, expected true or false"),
        ({"clip_sampling": "on"}, "^clip_sampling is 'on', expected true or false"),
        ({"clip_attention": [3], "widths": [30, 60, 122]}, r"multiple of 4 channels, and stage 3 has 122"),
        ({"clip_graphs": [1], "widths": [30, 60, 120]}, r"multiple of 4 channels, and stage 1 has 30"),
        ({"meeting": [4]}, r"^meeting is \[4\], expected a list of stages from 1 to 3"),
        ({"meeting": True}, "^meeting is True, expected a list of stages"),
        ({"meeting": [2], "widths": [30, 62, 120]}, r"multiple of 4 channels, and stage 2 has 62"),
        ({"gated": 1}, "^gated is 1, expected true or false"),
        ({"meeting": [3], "views": 1}, r"^meeting is \[3\], and there is one view: nothing to meet; give a"),
        ({"gated": True, "views": 1}, "^gated is True, and there is one view: nothing to meet; give a"),
        ({"frames": 15}, "^frames is 15, TSGCNeXt2 takes 16 or more"),
        ({"channels": 7}, "^views is 2, expected a whole number that divides the 7 channels"),
        ({"variant": "mini"}, "^variant is mini, TSGCNeXt2 has 252, 432, tiny, small"),
    ],
)
def test_wrong_settings_are_one_line(settings, expected):
    given = {"channels": 6, "views": 2, **SHAPE, **settings}
    with pytest.raises(TsgcError, match=expected) as told:
        TSGCNeXt2(NW_UCLA_20, K, **given)
    assert "\n" not in str(told.value)


def test_widths_that_heads_do_not_divide_are_taken_without_them():
    assert second(widths=[6, 10, 14], clip_graphs=[], dilated_convs=[1])(clips()).shape == (N, 2, K)


def test_an_input_of_another_shape_is_refused():
    with pytest.raises(TsgcError, match=r"\(6, 8, 20, 2\), the network expects \(6, T >= 16, 20, 2\)"):
        second()(clips()[:, :, :8])


def test_what_the_runs_settings_say_is_not_said_again():
    for name, place in (("views", "the modality"), ("drop_path", "the setting drop_path")):
        config = TrainConfig(network="tsgcnext2", modality="joint+bone", network_settings={name: 3})
        with pytest.raises(TsgcError, match=f"^network.{name} is 3: tsgcnext2 takes it from {place}"):
            build_network(config, NW_UCLA_20, K, bodies=1, channels=6)


def counted(model, x):
    """Multiply-adds of a clip's forward pass, by torch's counter; nothing is computed."""
    counter = FlopCounterMode(display=False)
    with counter, kernels.plain(), torch.no_grad():
        model.eval().to("meta")(x)
    return counter.get_total_flops() / 2


@pytest.mark.parametrize(
    ("variant", "skeleton", "bodies", "frames", "classes"),
    [("small", "nw-ucla-20", 1, 52, 10), ("252", "ntu-25", 2, 256, 120)],
)
def test_four_views_cost_at_most_half_as_much_again_as_tsgcnext(variant, skeleton, bodies, frames, classes):
    body = SKELETONS[skeleton]
    first = TSGCNeXt(body, classes, variant=variant, bodies=bodies)
    shape = {"bodies": bodies, "frames": frames, "variant": variant}
    model = TSGCNeXt2(body, classes, channels=12, views=4, **shape)
    costs = [
        counted(network, torch.zeros(1, channels, frames, body.num_joints, bodies, device="meta"))
        for network, channels in ((first, 3), (model, 12))
    ]
    assert 1.4 < costs[1] / costs[0] <= 1.5


def test_info_counts_block_by_block_as_many_products_as_there_are():
    """Large enough for the blocks of CPUs, some of whose products torch's counter does not know."""
    config = TrainConfig(network="tsgcnext2", variant="tiny", modality="joint+bone", frames=128)
    model = build_network(config, SKELETONS["ntu-25"], 4, bodies=2, channels=6)
    parts = {part.name: part for part in count_parts(model, 128)}
    names = [name for name in parts if name.startswith("stages.")]
    assert names == ["stages.0.0", "stages.1.0", "stages.2.0"] and "the rest" not in parts
    rows, width = 2 * 2 * 32 * 25, SECOND_VARIANTS["tiny"].widths[0]
    assert parts["stages.0.0"].macs == rows * (8 * width**2 + 3 * 25 * width)
    assert totals(list(parts.values()))["macs"] == counted(
        model.network, torch.zeros(1, 6, 128, 25, 2, device="meta")
    )


@pytest.mark.slow
@pytest.mark.parametrize("other", ["sampling.look", "meeting.3.project"])
def test_its_heads_are_its_last_linear_layers_whatever_the_number_of_classes(other):
    def made(classes):
        return TSGCNeXt2(NW_UCLA_20, classes, channels=6, views=2, **SHAPE, **EVERY)

    classes = made(K).get_submodule(other).out_features
    model = made(classes)
    model.num_classes = classes  # as the module around it has
    assert last_layers(model) == list(model.heads)


def test_a_traced_program_takes_any_number_of_clips():
    model = second(**EVERY).eval()
    given = clips(), presence()
    free = ({0: Dim("clips", min=1)},) * 2
    program = torch.export.export(model, given, dynamic_shapes=free).module()
    for one in (given, tuple(value[:1] for value in given)):
        torch.testing.assert_close(program(*one), model(*one))


@pytest.mark.slow
def test_it_is_one_graph_for_compilers():
    model = second(**EVERY)
    given = clips(), presence(), drawn(model)
    expected = model(*given)
    compiled = torch.compile(model, backend="eager", fullgraph=True)  # torch's own takes a minute here
    torch.testing.assert_close(compiled(*given), expected)


def test_its_input_is_not_copied_before_it_and_may_lie_in_any_order():
    config = TrainConfig(network="tsgcnext2", variant="tiny", modality="joint+bone", frames=T)
    model = build_network(config, NW_UCLA_20, K, bodies=M, channels=6).eval()
    seen = []
    model.network.register_forward_pre_hook(lambda _, given: seen.append(given[0].data_ptr()))
    x = clips().permute(0, 4, 2, 3, 1).contiguous().permute(0, 4, 2, 3, 1)  # as the input pipeline's
    assert torch.equal(model(x), model(x.contiguous())) and seen[0] == x.data_ptr()
