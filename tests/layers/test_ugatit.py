"""ILN, AdaLIN and the U-GAT-IT pair: bounds, any image size, and one step of training."""

import copy
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dynconv.functional.cam import auxiliary_classifier_loss
from dynconv.functional.normalization import adaptive_layer_instance_norm, layer_instance_norm
from dynconv.layers.normalization import ILN, AdaLIN
from dynconv.layers.ugatit import AdaLINBlock, AdaLINParameters, UGATITDiscriminator, UGATITGenerator

CASES = settings(max_examples=20, deadline=None, derandomize=True)
NETS = {"generator": lambda: UGATITGenerator(width=4), "discriminator": lambda: UGATITDiscriminator(width=4)}


def flat(output):
    return torch.cat([t.flatten() for t in output])


# ------------------------------------------------------------------------------------------------------- normalization


@CASES
@given(st.lists(st.integers(2, 5), min_size=1, max_size=3), st.integers(1, 3), st.integers(0, 10**6))
def test_the_ends_of_rho_are_torchs_norms(sizes, batch, seed):
    torch.manual_seed(seed)
    x = torch.randn(batch, 4, *sizes, dtype=torch.float64)
    gamma, beta = torch.randn(2, batch, 4, dtype=torch.float64)
    scale, shift = (v.reshape(batch, 4, *[1] * len(sizes)) for v in (gamma, beta))
    adalin, iln = AdaLIN(4, eps=0, dtype=torch.float64), ILN(4, eps=0, dtype=torch.float64)
    for rho, norm, dims in (
        (1.0, F.instance_norm(x, eps=0), sizes),
        (0.0, F.layer_norm(x, x.shape[1:], eps=0), [4, *sizes]),
    ):
        count = torch.Size(dims).numel()
        norm = norm * ((count - 1) / count) ** 0.5  # the layers' variance is the reference's: over count - 1
        for layer in (adalin, iln):
            nn.init.constant_(layer.rho, rho)
        torch.testing.assert_close(adalin(x, gamma, beta), norm * scale + shift)
        torch.testing.assert_close(iln(x), norm)


def test_initial_parameters_are_the_references():
    assert {k: v.shape for k, v in AdaLIN(4).state_dict().items()} == {"rho": (1, 4, 1, 1)}
    assert {k: v.shape for k, v in ILN(4).state_dict().items()} == dict.fromkeys(("rho", "gamma", "beta"), (1, 4, 1, 1))
    assert (AdaLIN(4).rho == 0.9).all()
    for name, value in (("rho", 0), ("gamma", 1), ("beta", 0)):
        assert (getattr(ILN(4), name) == value).all()


@pytest.mark.parametrize(("rho", "used"), [(-0.4, 0.0), (0.0, 0.0), (0.3, 0.3), (1.0, 1.0), (7.0, 1.0)])
def test_rho_is_bounded_by_the_layer_itself(rho, used):
    x, gamma, beta = torch.randn(2, 4, 5, 5), torch.randn(2, 4), torch.randn(2, 4)
    adalin, iln = AdaLIN(4), ILN(4)
    for layer in (adalin, iln):
        nn.init.constant_(layer.rho, rho)
    exact = {"atol": 0, "rtol": 0}
    torch.testing.assert_close(adalin(x, gamma, beta), adaptive_layer_instance_norm(x, used, gamma, beta), **exact)
    torch.testing.assert_close(iln(x), layer_instance_norm(x, used), **exact)
    assert (adalin.rho == rho).all()  # nothing is written into the parameter by a forward pass


@pytest.mark.parametrize("run", [lambda f: f, lambda f: torch.compile(f, fullgraph=True, backend="aot_eager")])
def test_rho_comes_back_from_outside_and_walks_no_further_away(run):
    layer, x = AdaLIN(4), torch.randn(2, 4, 5, 5)
    gamma, beta = torch.ones(2, 4), torch.zeros(2, 4)
    with torch.no_grad():
        layer.rho.copy_(torch.tensor([-0.5, 0.0, 1.0, 1.5]).view(1, 4, 1, 1))
    (outward,) = torch.autograd.grad(layer.bounded_rho() @ torch.tensor([1.0, 1.0, -1.0, -1.0]), layer.rho)
    assert outward.flatten().tolist() == [0, 1, -1, 0]  # on the bounds themselves every gradient passes
    (inward,) = torch.autograd.grad(layer.bounded_rho() @ torch.tensor([-1.0, -1.0, 1.0, 1.0]), layer.rho)
    assert inward.flatten().tolist() == [-1, -1, 1, 1]
    target = adaptive_layer_instance_norm(x, 0.5, gamma, beta)
    optimizer, forward = torch.optim.SGD(layer.parameters(), lr=5.0), run(layer)
    for _ in range(200):
        optimizer.zero_grad()
        F.mse_loss(forward(x, gamma, beta), target).backward()
        optimizer.step()
    torch.testing.assert_close(layer.rho.flatten(), torch.full((4,), 0.5), atol=0.05, rtol=0)


def test_a_norm_called_twice_has_a_backward_pass():
    layer, x = ILN(4), torch.randn(2, 4, 5, 5)
    nn.init.constant_(layer.rho, 1.5)
    layer(layer(x)).square().sum().backward()  # an in-place clamp of the parameter would have spoilt the first call
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_normalization_compiles_exports_and_pickles():
    arguments = (torch.randn(2, 4, 5, 5), torch.randn(2, 4), torch.randn(2, 4))
    for layer, given_ in ((AdaLIN(4), arguments), (ILN(4), arguments[:1])):
        nn.init.uniform_(layer.rho, -1, 2)
        expected = layer(*given_)
        torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(*given_), expected)
        torch.testing.assert_close(torch.export.export(layer, given_).module()(*given_), expected)
        torch.testing.assert_close(pickle.loads(pickle.dumps(layer))(*given_), expected)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(layer(*given_), expected)


def test_bad_arguments_of_normalization():
    for family in (ILN, AdaLIN):
        with pytest.raises(ValueError, match="num_features must be an integer of at least 1, got 0"):
            family(0)
    with pytest.raises(ValueError, match=r"ILN expects \(B, 4, \*spatial\), got \(2, 5, 8, 8\)"):
        ILN(4)(torch.zeros(2, 5, 8, 8))
    with pytest.raises(TypeError, match=r"x must be floating point, got torch.uint8"):
        ILN(4)(torch.zeros(2, 4, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"gamma must be \(B, C\) = \(2, 4\), one row an image, got \(4,\)"):
        AdaLIN(4)(torch.zeros(2, 4, 8, 8), torch.zeros(4), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="variance of 1 position"):
        ILN(4)(torch.zeros(2, 4, 1, 1))


# ---------------------------------------------------------------------------------------------------------------- pair


@pytest.mark.parametrize("size", [(5, 5), (32, 32), (32, 48), (30, 41), (33, 18), (7, 64)])
def test_the_generator_takes_images_of_any_size(size):
    net = UGATITGenerator(3, 2, width=4)
    image, logit, heatmap = net(torch.randn(2, 3, *size))
    assert image.shape == (2, 2, *size)
    assert logit.shape == (2, 2)
    assert heatmap.shape == (2, 1, *(-(-s // 4) for s in size))
    assert image.abs().max() <= 1


@pytest.mark.parametrize(("layers", "size"), [(3, (6, 7)), (5, (24, 24)), (5, (37, 64)), (7, (96, 100))])
def test_the_discriminator_takes_images_of_any_size(layers, size):
    output = UGATITDiscriminator(width=2, num_layers=layers)(torch.randn(2, 3, *size))
    halved = [s // 2 ** (layers - 2) for s in size]
    assert output.patches.shape == (2, 1, *(s - 2 for s in halved))
    assert output.heatmap.shape == (2, 1, *(s - 1 for s in halved))
    assert output.logit.shape == (2, 2)


def test_gamma_and_beta_depend_on_the_image_and_the_attention_does_not():
    net, seen = UGATITGenerator(width=4).eval(), {}
    net.modulation.register_forward_hook(lambda module, inputs, output: seen.update(gamma=output[0]))
    net.attention.weighting.register_forward_hook(lambda module, inputs, output: seen.update(weights=output))
    net(torch.randn(2, 3, 16, 16))
    assert seen["weights"].shape == (2, 16)  # (mean and maximum, C): no image among its dimensions
    first, second = seen["gamma"]
    assert (first - second).abs().max() > 1e-3 * first.abs().max()


def test_an_adalin_block_is_its_formula():
    block, x = AdaLINBlock(4, dtype=torch.float64), torch.randn(2, 4, 6, 6, dtype=torch.float64)
    gamma, beta = AdaLINParameters(4, dtype=torch.float64)(x)
    y = x
    for conv in (block.conv1, block.conv2):
        y = F.conv2d(F.pad(y, (1, 1, 1, 1), mode="reflect"), conv.weight)
        y = adaptive_layer_instance_norm(y, 0.9, gamma, beta)
        y = torch.relu(y) if conv is block.conv1 else y
    torch.testing.assert_close(block(x, gamma, beta), x + y)


def test_every_weight_of_the_discriminator_but_the_1x1_is_spectrally_normed():
    net = UGATITDiscriminator(width=4)
    for _ in range(50):  # let the power iterations settle
        net(torch.randn(1, 3, 24, 24))
    net.eval()
    linear = {name: m for name, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    norms = {name: torch.linalg.matrix_norm(m.weight.flatten(1), 2).item() for name, m in linear.items()}
    assert norms.pop("attention.conv1x1") != pytest.approx(1, abs=0.02)
    assert len(norms) == 7
    assert all(norm == pytest.approx(1, abs=0.02) for norm in norms.values())


@pytest.mark.parametrize("name", NETS)
def test_everyday_use(name):
    net, x = NETS[name]().eval(), torch.rand(2, 3, 32, 32) * 2 - 1
    expected = net(x)
    assert flat(net(x[:0])).numel() == 0
    torch.testing.assert_close(flat(net(x[:1])), flat(t[:1] for t in expected), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(flat(net(x.to(memory_format=torch.channels_last))), flat(expected), atol=1e-4, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(flat(net(x)).float(), flat(expected), atol=0.2, rtol=0.1)
    copies, file = [copy.deepcopy(net), NETS[name]().eval()], io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    copies[1].load_state_dict(torch.load(file, weights_only=True))
    for other in copies:
        torch.testing.assert_close(flat(other(x)), flat(expected))
    assert flat(net.double()(x.double())).dtype == torch.float64


@pytest.mark.parametrize("name", NETS)
def test_compile_and_export(name):
    net, x = NETS[name](), torch.rand(2, 3, 32, 32)
    compiled = torch.compile(copy.deepcopy(net), fullgraph=True, backend="aot_eager")
    ours, theirs = flat(compiled(x)), flat(net(x))  # in training mode, power iterations included
    torch.testing.assert_close(ours, theirs)
    gradients = (torch.autograd.grad(y.square().sum(), m.parameters()) for y, m in ((ours, compiled), (theirs, net)))
    torch.testing.assert_close(*gradients)
    free = torch.export.Dim.DYNAMIC
    exported = torch.export.export(net.eval(), (x,), dynamic_shapes=({0: free, 2: free, 3: free},)).module()
    other = torch.rand(3, 3, 44, 48)
    torch.testing.assert_close(flat(exported(other)), flat(net(other)))


def test_one_step_of_training_reaches_every_parameter():
    generator, discriminator = UGATITGenerator(width=4), UGATITDiscriminator(width=4)
    source, target = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    before = [p.detach().clone() for net in (generator, discriminator) for p in net.parameters()]
    optimizers = [torch.optim.SGD(net.parameters(), lr=1e-3) for net in (generator, discriminator)]

    def step(loss, net, optimizer):
        optimizer.zero_grad()
        loss.backward()
        for name, parameter in net.named_parameters():
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name
        optimizer.step()

    real, fake = discriminator(target), discriminator(generator(source).image.detach())
    loss = auxiliary_classifier_loss(real.patches, fake.patches, "mse")
    step(loss + auxiliary_classifier_loss(real.logit, fake.logit, "mse"), discriminator, optimizers[1])
    translated, same = generator(source), generator(target)
    judged = discriminator(translated.image)
    loss = F.mse_loss(judged.patches, torch.ones_like(judged.patches))
    loss = loss + F.l1_loss(same.image, target) + auxiliary_classifier_loss(translated.logit, same.logit)
    step(loss, generator, optimizers[0])
    after = [p for net in (generator, discriminator) for p in net.parameters()]
    assert all(not torch.equal(a, b) for a, b in zip(after, before, strict=True))
    for norm in (m for m in generator.modules() if isinstance(m, (ILN, AdaLIN))):
        assert ((norm.bounded_rho() >= 0) & (norm.bounded_rho() <= 1)).all()


def test_the_auxiliary_loss_alone_trains_the_attention():
    generator, x = UGATITGenerator(width=4), torch.rand(2, 2, 3, 16, 16)
    loss = auxiliary_classifier_loss(generator(x[0]).logit, generator(x[1]).logit)
    wa, wm = torch.autograd.grad(loss, [generator.attention.average.weight, generator.attention.maximum.weight])
    assert wa.abs().max() > 0
    assert wm.abs().max() > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UGATITGenerator(width=0), "width must be an integer of at least 1, got 0"),
        (lambda: UGATITGenerator(num_blocks=0), "num_blocks must be an integer of at least 1, got 0"),
        (lambda: UGATITDiscriminator(num_layers=2), "num_layers must be an integer of at least 3, got 2"),
        (
            lambda: UGATITGenerator(width=4)(torch.zeros(2, 3, 4, 32)),
            r"UGATITGenerator expects \(B, 3, H, W\) with sizes of at least 5, got \(2, 3, 4, 32\)",
        ),
        (lambda: UGATITGenerator(width=4)(torch.zeros(2, 1, 32, 32)), r"got \(2, 1, 32, 32\)"),
        (lambda: UGATITDiscriminator(width=4)(torch.zeros(2, 3, 64, 23)), r"at least 24, got \(2, 3, 64, 23\)"),
        (lambda: UGATITDiscriminator(width=4)(torch.zeros(3, 64, 64)), r"got \(3, 64, 64\)"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
