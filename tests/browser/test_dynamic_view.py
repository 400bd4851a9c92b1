"""DynamicView in the page: torch's numbers, an image chosen, and uploads that a kernel answers."""

import base64
import io
import json
import re

import pytest
import torch
from PIL import Image

from dynconv import DynamicConv2d
from dynconv.functional import mix_kernels, softmax_temperature
from dynconv.lessons.views.dynamic import DynamicView, dynamic_state
from dynconv.lessons.views.explanation import explain
from dynconv.lessons.views.instrument import encode
from tests.browser.instruments import PIXELS, PLACES, check_everyday_use, from_kernel, in_page, opened, seen

pytestmark = pytest.mark.browser


def a_view(count=6, channels=1, **options):
    torch.manual_seed(1)
    layer = DynamicConv2d(channels, 3, 5, num_kernels=8, reduction=1, temperature=0.1)
    images = {f"image {i}": (1 + i) * torch.rand(channels, 24, 20) for i in range(count)}
    return DynamicView(layer, images, **{"temperature": 1.0, **options})


def a_file(colour="red", size=(40, 30)):
    file = io.BytesIO()
    Image.linear_gradient("L").resize(size).save(file, "PNG")
    return {"name": f"{colour}.png", "mimeType": "image/png", "buffer": file.getvalue()}


@pytest.mark.parametrize(("T", "K"), [(0.1, 1), (0.1, 8), (100, 8), (2, 3)])
def test_everything_it_shows(chromium, T, K):
    torch.manual_seed(0)
    layer, x = DynamicConv2d(4, 6, 3, groups=2, num_kernels=8, temperature=0.1), torch.randn(3, 4, 8, 9)
    shown = dynamic_state(layer, x, output_channel=5, input_channel=1)
    body = """
      const data = {logits: decode(d.logits), kernels: decode(d.kernels), maps: decode(d.maps), images: [0, 0, 0],
        kernelArea: 9, area: 42, total: 8};
      return m.dynamicState(data, {temperature: d.T, num_kernels: d.K}, [2, 0])
        .map((s) => ({weights: s.weights, kernel: Array.from(s.kernel), map: Array.from(s.map)}));"""
    got = in_page(chromium, "dynamic", body, {k: encode(v) for k, v in shown.items()} | {"T": T, "K": K})
    for b, one in zip((2, 0), got, strict=True):
        pi = softmax_temperature(shown["logits"][b, :K], T)
        mixes = {"kernel": mix_kernels(shown["kernels"][:K], pi), "map": mix_kernels(shown["maps"][b, :K], pi)}
        for name, value in ({"weights": pi} | mixes).items():
            torch.testing.assert_close(
                torch.tensor(one[name], dtype=torch.float32).reshape(value.shape), value, atol=5e-7, rtol=0, msg=name
            )


@pytest.mark.parametrize(("width", "height"), [(380, 500), (1000, 900)])  # low: the controls stick to the window's top
def test_everyday_use(chromium, tmp_path, width, height):
    viewport = {"width": width, "height": height}
    with opened(chromium, tmp_path, a_view(), viewport=viewport) as (tab, root):
        check_everyday_use(tab, root)
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_diagram_shows_the_chosen_image(chromium, tmp_path):
    view = a_view()
    with opened(chromium, tmp_path, view) as (tab, root):
        first, said = seen(root), root.locator(".dc-summary")
        kernels = [canvas.evaluate("c => c.toDataURL()") for canvas in root.locator(".dc-tile").all()]
        root.get_by_role("radio", name="image 3").check()
        assert tab.evaluate("model.get('image')") == "image 3"
        assert re.search(r"image 3 gives \d+ % to kernel \d and", said.inner_text())
        assert seen(root) != first
        assert kernels == [canvas.evaluate("c => c.toDataURL()") for canvas in root.locator(".dc-tile").all()]
        pi = softmax_temperature(view.shown["logits"][3], 1.0)
        shares = root.locator(".dc-share b").all_inner_texts()
        assert [float(text.split()[0]) / 100 for text in shares] == pytest.approx(pi.tolist(), abs=6e-3)
        assert root.locator(".dc-thumb").count() == 6
        root.get_by_role("button", name="Reset").click()
        assert seen(root) == first


def test_what_is_wanted_stands_beside_it_with_the_error(chromium, tmp_path):
    torch.manual_seed(2)
    layer = DynamicConv2d(1, 1, 5, num_kernels=3, reduction=1, temperature=0.1)
    images = {name: torch.rand(1, 24, 20) for name in ("a", "b")}
    wanted = {"b": torch.rand(20, 16)}
    view = DynamicView(layer, images, temperature=0.5, image="b", wanted=wanted)
    with opened(chromium, tmp_path, view) as (_, root):
        pi = softmax_temperature(view.shown["logits"][1], 0.5)
        after = (mix_kernels(view.shown["maps"][1], pi) - wanted["b"]).square().mean()
        before = (images["b"][0, 2:-2, 2:-2] - wanted["b"]).square().mean()
        assert f"The error goes from {before:.3f} to {after:.3f}." in root.locator(".dc-summary").inner_text()
        assert root.get_by_role("img", name=f"restored, error {after:.3f}").is_visible()
        root.get_by_role("radio", name="a").check()
        assert root.get_by_role("img", name="wanted, not known").is_visible()
        assert "error" not in root.locator(".dc-summary").inner_text()


def test_without_a_kernel_the_upload_says_so(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view()) as (_, root):
        assert root.get_by_label("your own image").is_disabled()
        assert "Needs a running Python kernel" in root.locator(".dc-status").inner_text()


def with_a_kernel(tab, view):
    """Let the Python side hear what the page's stand-in for a model is told, and answer."""

    def hear(text):
        view.upload = text
        return [view.data, view.image, view.answer]

    tab.expose_function("kernel", hear)
    tab.evaluate("""() => {
      model.on('change:upload', async () => {
        const [data, image, answer] = await kernel(model.get('upload'));
        model.set('data', data); model.set('image', image); model.set('answer', answer);
      });
      model.set('upload', model.get('upload'));
    }""")
    tab.wait_for_function("!document.querySelector('input[type=file]').disabled")


def test_an_upload_becomes_an_image_to_choose(chromium, tmp_path):
    view = a_view(count=2)
    with opened(chromium, tmp_path, view) as (tab, root):
        with_a_kernel(tab, view)
        field, status = root.get_by_label("your own image"), root.locator(".dc-status")
        assert "At most 5 MB" in status.inner_text()
        field.set_input_files(a_file())
        status.get_by_text("red.png is shown").wait_for()
        assert root.locator(".dc-thumb").count() == 3
        assert root.get_by_role("radio", name="red.png").is_checked()
        pixels = root.get_by_role("img", name="image, red.png").evaluate(
            "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 4 === 0)"
        )
        grey = view.pictures["red.png"][0]
        expected = 255 * (grey - grey.min()) / (grey.max() - grey.min())
        assert (torch.tensor(pixels).reshape(24, 20) - expected).abs().max() <= 0.51
        places = root.evaluate(PLACES)
        root.get_by_label("temperature T").press("Home")
        assert root.evaluate(PLACES) == places
        root.get_by_role("button", name="Reset").click()
        assert root.get_by_role("radio", name="image 0").is_checked()  # as it began; the new one can be chosen again
        root.get_by_role("radio", name="red.png").check()
        assert tab.evaluate("model.get('image')") == "red.png"


def test_what_is_no_image_becomes_a_sentence(chromium, tmp_path):
    view = a_view(count=2)
    with opened(chromium, tmp_path, view) as (tab, root):
        with_a_kernel(tab, view)
        field, status, before = root.get_by_label("your own image"), root.locator(".dc-status"), root.evaluate(PIXELS)
        field.set_input_files({"name": "<b>.txt", "mimeType": "text/plain", "buffer": b"words"})
        status.get_by_text("Not added: <b>.txt is not an image").wait_for()
        field.set_input_files({"name": "big.png", "mimeType": "image/png", "buffer": bytes(5_200_000)})
        status.get_by_text("big.png has 5.2 MB, at most 5 MB").wait_for()
        assert root.locator(".dc-thumb").count() == 2
        assert root.evaluate(PIXELS) == before


def test_the_newest_of_two_files_counts(chromium, tmp_path):
    heard = []
    with opened(chromium, tmp_path, a_view(count=2)) as (tab, root):
        tab.expose_function("hear", lambda text: heard.append(json.loads(text)))
        tab.evaluate("model.on('change:upload', () => hear(model.get('upload')))")
        from_kernel(tab, 'model.set(\'answer\', \'{"text": "", "number": 1}\')')
        content = base64.b64encode(a_file()["buffer"]).decode()
        tab.evaluate(
            """([content]) => {
              const field = document.querySelector('input[type=file]');
              for (const name of ['old.png', 'new.png']) {
                const bag = new DataTransfer();
                bag.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
                field.files = bag.files;
                field.dispatchEvent(new Event('change'));
              }
            }""",
            [content],
        )
        root.locator(".dc-status").get_by_text("new.png").wait_for()
        tab.wait_for_function("model.get('upload').includes('new.png')")
        assert [one["name"] for one in heard] == ["new.png"]
        assert heard[0]["content"] == content


def test_a_layer_that_takes_no_pictures(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view(channels=5)) as (_, root):
        assert "Not for this layer" in root.locator(".dc-status").inner_text()
        assert "made from all 5 input channels" in root.locator(".dc-about").inner_text()


def test_explained_layers_open_as_pages(chromium, tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(DynamicConv2d(3, 8, 3, stride=2), torch.nn.ReLU(), DynamicConv2d(8, 5, 1))
    found, tall = explain(model, torch.rand(3, 3, 40, 31)), {"width": 1000, "height": 900}
    for name in found.layers:
        with opened(chromium, tmp_path, found.dynamic(name, channel=4, temperature=0.1), viewport=tall) as (tab, root):
            check_everyday_use(tab, root)
            assert f"Layer {name}; " in root.locator(".dc-about").inner_text()
