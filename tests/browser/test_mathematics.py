"""The page's arithmetic is torch's."""

import json

import pytest
import torch

from dynconv.functional import mix_kernels, softmax_temperature
from dynconv.lessons.views.instrument import encode
from dynconv.lessons.views.javascript import bundle
from dynconv.lessons.views.mixer import mixer_state

pytestmark = pytest.mark.browser
LOAD = """async ([code, body, data]) => {
  const module = await import(URL.createObjectURL(new Blob([code], {type: 'text/javascript'})));
  return Object.getPrototypeOf(async () => {}).constructor('m', 'd', body)(module, JSON.parse(data));
}"""


@pytest.fixture(scope="module")
def page(chromium):
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def in_page(page, module, body, data):
    return page.evaluate(LOAD, [bundle(module), body, json.dumps(data)])


@pytest.mark.parametrize("temperature", [1e-3, 0.1, 1.0, 30.0, 100.0])
def test_softmax(page, temperature):
    logits = (5 * torch.randn(8)).tolist()
    got = in_page(page, "toolkit", "return m.softmax(d.z, d.T)", {"z": logits, "T": temperature})
    expected = softmax_temperature(torch.tensor(logits, dtype=torch.float64), temperature)
    torch.testing.assert_close(torch.tensor(got, dtype=torch.float64), expected, atol=5e-7, rtol=0)


def test_mixing_and_decoding(page):
    stack, weights = torch.randn(4, 7, 5), torch.softmax(torch.randn(4), 0)
    body = "return Array.from(m.mix(m.decode(d.stack), d.weights, 35))"
    got = in_page(page, "toolkit", body, {"stack": encode(stack), "weights": weights.tolist()})
    torch.testing.assert_close(torch.tensor(got).reshape(7, 5), mix_kernels(stack, weights), atol=5e-7, rtol=0)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_everything_the_mixer_shows(page, size):
    photo, kernels = torch.rand(20, 31) - 0.5, torch.randn(5, size, size) / size**2
    state = {"logits": torch.randn(5).tolist(), "temperature": 0.7, "num_kernels": 4}
    body = """
      const decode = (t) => new Float32Array(Uint8Array.from(atob(t), (c) => c.charCodeAt(0)).buffer);
      const photo = decode(d.photo), kernels = decode(d.kernels);
      const maps = m.allMaps(photo, 20, 31, kernels, d.size, 5);
      const s = m.mixerState({photo, height: 20, width: 31, kernels, size: d.size, maps}, d.state);
      return {maps: Array.from(maps), weights: s.weights, mixed: Array.from(s.mixed), kernel: Array.from(s.kernel),
        folded: Array.from(s.folded)};"""
    got = in_page(
        page, "mixer", body, {"photo": encode(photo), "kernels": encode(kernels), "size": size, "state": state}
    )
    expected = mixer_state(photo, kernels[:4], torch.tensor(state["logits"][:4]), 0.7)
    expected["maps"] = mixer_state(photo, kernels, torch.zeros(5), 1.0)["maps"]
    for name, value in expected.items():
        torch.testing.assert_close(torch.tensor(got[name]).reshape(value.shape), value, atol=5e-7, rtol=0, msg=name)


def test_everything_the_dynamic_view_mixes(page):
    logits, kernels, maps = torch.randn(3, 4), torch.randn(4, 3, 3), torch.randn(3, 4, 6, 7)
    body = """
      const decode = (t) => new Float32Array(Uint8Array.from(atob(t), (c) => c.charCodeAt(0)).buffer);
      const data = {logits: decode(d.logits), kernels: decode(d.kernels), maps: decode(d.maps), images: [0, 0, 0],
        kernelArea: 9, area: 42, total: 4};
      return m.dynamicState(data, {temperature: 2, num_kernels: 3})
        .map((s) => ({weights: s.weights, kernel: Array.from(s.kernel), map: Array.from(s.map)}));"""
    data = {"logits": encode(logits), "kernels": encode(kernels), "maps": encode(maps)}
    for b, got in enumerate(in_page(page, "dynamic", body, data)):
        pi = softmax_temperature(logits[b, :3], 2.0)
        expected = {"weights": pi, "kernel": mix_kernels(kernels[:3], pi), "map": mix_kernels(maps[b, :3], pi)}
        for name, value in expected.items():
            torch.testing.assert_close(torch.tensor(got[name]).reshape(value.shape), value, atol=5e-7, rtol=0, msg=name)
