"""Agreement with the CAM and U-GAT-IT references: 2e-5 forward, 2e-4 gradients."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from dynconv.functional.cam import auxiliary_classifier_loss, class_activation_map, grad_cam, normalize_map
from dynconv.layers.cam import CAM, CAMAttention, CAMHead
from dynconv.layers.normalization import ILN, AdaLIN
from dynconv.layers.ugatit import AdaLINParameters

GOLDENS = Path(__file__).parent / "goldens"
FORWARD, GRADIENT = {"atol": 2e-5, "rtol": 0}, {"atol": 2e-4, "rtol": 0}


def load(name):
    return {k: v for k, v in torch.load(GOLDENS / name, weights_only=True).items() if not k.startswith("__")}


def gradients(y, leaves):
    return torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum(), leaves)


# --------------------------------------------------------------------------------------------------------------- CAM


def the_reference_net(state):
    """The tiny ResNet whose weights the file holds."""
    net = nn.Sequential()
    net.conv1, net.bn1, net.relu = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
    shortcut = nn.Sequential(nn.Conv2d(8, 12, 1, 2, bias=False), nn.BatchNorm2d(12))
    net.layer4 = nn.Sequential(BasicBlock(8, 12, 2, shortcut))
    net.avgpool, net.flatten, net.fc = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)
    net.load_state_dict(state)
    return net.eval()


@pytest.mark.parametrize("layer", [None, "layer4"])
def test_raw_maps_of_the_whole_net(layer):
    golden = load("cam.pt")
    net = the_reference_net(golden["state_dict"])
    with CAM(net, layer) as cam:
        maps, chosen = cam.maps(golden["x"]), cam.maps(golden["x"].expand(2, -1, -1, -1), golden["class_idx"])
    torch.testing.assert_close(maps, golden["raw_cam_all_classes"], **FORWARD)
    torch.testing.assert_close(chosen, golden["torchcam_CAM_unnormalized"], **FORWARD)
    torch.testing.assert_close(net(golden["x"]), golden["logits"], **FORWARD)


def test_head_logits_maps_and_normalised_maps():
    golden = load("cam.pt")
    head, features = CAMHead(12, 5), golden["features"].requires_grad_()
    head.classifier.load_state_dict({k: golden["state_dict"][f"fc.{k}"] for k in ("weight", "bias")})
    classes = golden["class_idx"]
    torch.testing.assert_close(head(features), golden["logits"], **FORWARD)
    torch.testing.assert_close(head.maps(features), golden["raw_cam_all_classes"], **FORWARD)
    chosen = head.maps(features)[0, classes]
    torch.testing.assert_close(chosen, golden["torchcam_CAM_unnormalized"], **FORWARD)
    torch.testing.assert_close(normalize_map(chosen), golden["torchcam_CAM_minmax"], **FORWARD)
    torch.testing.assert_close(
        head.maps(features, normalize=True)[0, classes], golden["torchcam_CAM_minmax"], **FORWARD
    )
    # no gradient is stored: an independent expression, one matrix product over (positions, channels)
    leaves = [features, head.classifier.weight]
    product = (features[0].flatten(1).T @ head.classifier.weight.T).T.reshape(1, 5, 8, 10)
    for ours, theirs in zip(gradients(head.maps(features), leaves), gradients(product, leaves), strict=True):
        torch.testing.assert_close(ours, theirs, **GRADIENT)


def test_grad_cam():
    golden = load("cam.pt")
    head, features = CAMHead(12, 5), golden["features"].requires_grad_()
    head.classifier.load_state_dict({k: golden["state_dict"][f"fc.{k}"] for k in ("weight", "bias")})
    logits, expected = head(features), golden["torchcam_GradCAM_unnormalized"]
    for row, k in enumerate(golden["class_idx"]):  # one graph serves both classes
        torch.testing.assert_close(grad_cam(features, logits, k)[0], expected[row], **FORWARD)
    two = features.detach().repeat(2, 1, 1, 1).requires_grad_()
    torch.testing.assert_close(grad_cam(two, head(two), golden["class_idx"]), expected, **FORWARD)


# ---------------------------------------------------------------------------------------------------------- U-GAT-IT


def test_cam_block():
    golden = load("ugatit.pt")["cam_block"]
    attention, parameters = CAMAttention(8), AdaLINParameters(8)
    for layer in (attention, parameters):  # by the reference's names, each from what is meant for both
        assert layer.load_state_dict(golden, strict=False).missing_keys == []
    features = golden["features"].requires_grad_()
    output = attention(features)
    torch.testing.assert_close(output.logit, golden["cam_logit"], **FORWARD)
    torch.testing.assert_close(output.attended, golden["attended"], **FORWARD)
    torch.testing.assert_close(output.heatmap, golden["heatmap"], **FORWARD)
    gamma, beta = parameters(output.attended)
    torch.testing.assert_close(gamma, golden["gamma"], **FORWARD)
    torch.testing.assert_close(beta, golden["beta"], **FORWARD)
    # no gradient is stored: an independent expression, by torch's pooling and a matrix product over concatenated channels
    wa, wm = attention.average.weight, attention.maximum.weight
    scaled = torch.cat([features * wa.view(1, 8, 1, 1), features * wm.view(1, 8, 1, 1)], 1)
    attended = torch.relu(
        torch.einsum("oc,bchw->bohw", attention.conv1x1.weight.flatten(1), scaled)
        + attention.conv1x1.bias.view(1, 8, 1, 1)
    )
    pools = (torch.nn.functional.adaptive_avg_pool2d, torch.nn.functional.adaptive_max_pool2d)
    logit = torch.cat([pool(features, 1).flatten(1) @ w.T for pool, w in zip(pools, (wa, wm), strict=True)], 1)
    z = torch.relu(torch.relu(attended.mean((2, 3)) @ golden["FC.0.weight"].T) @ golden["FC.2.weight"].T)
    leaves = [features, *attention.parameters()]
    independent = (attended, logit, attended.sum(1, keepdim=True))
    independent += (z @ golden["gamma_fc.weight"].T, z @ golden["beta_fc.weight"].T)
    y, reference = (torch.cat([t.flatten() for t in parts]) for parts in ((*output, gamma, beta), independent))
    for a, b in zip(gradients(y, leaves), gradients(reference, leaves), strict=True):
        torch.testing.assert_close(a, b, **GRADIENT)


@pytest.mark.parametrize("case", ["adaILN_rand", "adaILN_in", "ILN_rand"])
def test_normalization(case):
    golden = load("ugatit.pt")[case]
    layer = (ILN if case == "ILN_rand" else AdaLIN)(6, eps=golden["eps"])
    layer.load_state_dict(golden["state_dict"])  # the reference's shapes, as they are
    x = golden["x"].requires_grad_()
    given = [golden[name].requires_grad_() for name in ("gamma", "beta") if name in golden]
    y = layer(x, *given)
    torch.testing.assert_close(y, golden["y"], **FORWARD)
    leaves = {"x": x, **dict(layer.named_parameters())}
    assert leaves.keys() == golden["grads"].keys() - {"loss"}
    for name, gradient in zip(leaves, gradients(y, list(leaves.values())), strict=True):
        torch.testing.assert_close(gradient, golden["grads"][name], **GRADIENT, msg=name)
    if given:  # of gamma and beta no gradient is stored; y is linear in them
        direction = torch.linspace(-1, 1, y.numel()).reshape(y.shape)
        normalized = (y - given[1][..., None, None]) / given[0][..., None, None]
        expected = ((normalized * direction).sum((2, 3)), direction.sum((2, 3)))
        for a, b in zip(gradients(layer(x, *given), given), expected, strict=True):
            torch.testing.assert_close(a, b, **GRADIENT)


@pytest.mark.parametrize(("kind", "name"), [("bce", "gen_cam_bce"), ("mse", "dis_cam_mse")])
def test_cam_losses(kind, name):
    golden = load("ugatit.pt")["cam_losses"]
    positive, negative = (golden[f"{side}_logit"].requires_grad_() for side in ("src", "id"))
    loss = auxiliary_classifier_loss(positive, negative, kind)
    torch.testing.assert_close(loss, golden[name], **FORWARD)
    if kind == "bce":  # no gradient is stored: the textbook's
        expected = (torch.sigmoid(positive) - 1) / 4, torch.sigmoid(negative) / 4
    else:
        expected = 2 * (positive - 1) / 4, 2 * negative / 4
    for a, b in zip(torch.autograd.grad(loss, [positive, negative]), expected, strict=True):
        torch.testing.assert_close(a, b, **GRADIENT)


def test_class_activation_map_of_the_stored_features():
    golden = load("cam.pt")
    maps = class_activation_map(golden["features"], golden["state_dict"]["fc.weight"])
    torch.testing.assert_close(maps, golden["raw_cam_all_classes"], **FORWARD)
