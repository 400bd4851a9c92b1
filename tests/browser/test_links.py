"""Links to a state: written, read as text from anywhere, and never a way around what the controls allow."""

import json
import math
import random
import re
import string
from contextlib import contextmanager
from urllib.parse import quote

import pytest
import torch

from dynconv.lessons.views import Mixer
from dynconv.lessons.views.pages import page
from dynconv.lessons.views.simplex import SimplexMap
from tests.browser.instruments import PLACES, in_page, opened

pytestmark = pytest.mark.browser
FIRST = {"temperature": 0.5, "num_kernels": 2, "logits": [0.0, 0.0, 0.0]}
STATE = "Object.fromEntries(['temperature', 'num_kernels', 'logits'].map((name) => [name, model.get(name)]))"
NOT_VALID = [
    '{"temperature": 1e999}',
    '{"temperature": NaN}',
    '{"temperature": 0.0999}',
    '{"temperature": -1}',
    '{"temperature": 101}',
    '{"temperature": "1"}',
    '{"temperature": null}',
    '{"temperature": [1]}',
    '{"temperature": {"valueOf": 1}}',
    '{"num_kernels": 2.5}',
    '{"num_kernels": 0}',
    '{"num_kernels": 4}',
    '{"num_kernels": true}',
    '{"logits": [1, 2]}',
    '{"logits": [1, 2, "3"]}',
    '{"logits": [1, 2, 6]}',
    '{"logits": {"0": 1, "1": 1, "2": 1, "length": 3}}',
    '{"__proto__": {"temperature": 3}}',
    '{"constructor": 1, "toString": 2, "hasOwnProperty": 3}',
    '{"kind": "x", "data": "{}", "begun": "{}", "experiments": "{}"}',
    "[1, 2]",
    '"text"',
    "3",
    "null",
    "{",
    "",
    "<img src=x onerror=alert(1)>",
    "[" * 3000,
    '{"temperature": ' + "1" * 5000 + "}",
]


def a_mixer(**changes):
    kernels = {"one": torch.eye(3), "two": torch.rand(3, 3), "three": torch.rand(3, 3)}
    return Mixer(torch.rand(16, 16), kernels, **{"temperature": 0.5, "num_kernels": 2, **changes})


@contextmanager
def arrived(chromium, tmp_path, view, link, **options):
    """The page as someone finds it who followed a link."""
    path, errors = tmp_path / "linked.html", []
    path.write_text(page(view, "An instrument"), encoding="utf-8")
    context = chromium.new_context(offline=True, **options)
    tab = context.new_page()
    tab.on("pageerror", lambda e: errors.append(str(e)))
    tab.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
    tab.goto(path.as_uri() + link)
    yield tab, tab.locator(".dynconv")
    assert not errors
    context.close()


def written(text):
    return f"#dc.Mixer={quote(text)}"


def followed(tab, link):
    """The hash changes, and its event has been heard."""
    tab.evaluate(
        "link => new Promise((done) => { addEventListener('hashchange', done, {once: true}); location.hash = link; })",
        link,
    )


def copied(root):
    """What the button offers where there is no clipboard."""
    root.get_by_role("button", name="Copy link").press("Enter")
    return root.locator(".dc-address").input_value()


def test_written_links_are_read_back(chromium):
    states = [{"temperature": 0.1 + 0.2, "names": ["a b", "ü&#=%"], "free": []}, {}, {"rank": 3, "budget": None}]
    body = """
      const any = {valid: () => true}, all = Object.fromEntries(d.flatMap((s) => Object.keys(s)).map((name) => [name, any]));
      return d.map((s) => { const link = m.stateLink('A', s);
        return [link, m.readLink(link, 'A', all), m.readLink(link, 'B', all)]; });"""
    for state, (link, read, other) in zip(states, in_page(chromium, "toolkit", body, states), strict=True):
        assert re.fullmatch(r"#dc\.A=[\w.,:%!~*'()-]*", link)
        assert read == {
            "values": {k: pytest.approx(v) if k == "temperature" else v for k, v in state.items()},
            "ignored": [],
        }
        assert other is None
    assert "0.3%" not in link


@pytest.mark.parametrize("kind", ["slider", "log", "whole", "list", "choice", "radios"])
def test_controls_say_what_is_valid(chromium, kind):
    make, good, bad = {
        "slider": ("m.slider({label: 'x', min: -1, max: 1, step: 0.1})", [-1, 0.123, 1], [-1.01, "0", None]),
        "log": ("m.slider({label: 'T', min: 0.1, max: 100, step: 0.01, log: true})", [0.1, 100], [0, 100.1]),
        "whole": ("m.slider({label: 'K', min: 1, max: 4, step: 1})", [1, 4], [2.5, 0, 5, True]),
        "list": (
            "m.logitSliders(2)",
            [[0, 5]],
            [[0], [0, 6], [0, None], 0, "00", {}],
        ),
        "choice": ("m.choice({label: 'c', options: [['a', 'A'], [2, 'B']]})", ["a", 2], ["A", "2", 0, None]),
        "radios": ("m.radios([1, 2])", [1, 2], ["1", 0, None]),
    }[kind]
    body = f"const control = {make}; return d.map((v) => control.valid(v));"
    assert in_page(chromium, "toolkit", body, good + bad) == [True] * len(good) + [False] * len(bad)


def test_a_copied_link_brings_the_state_back(chromium, tmp_path):
    with opened(chromium, tmp_path, a_mixer()) as (tab, root):
        first = root.inner_text()
        root.get_by_label("temperature T").press("End")
        root.get_by_label("kernels K").press("End")
        root.get_by_label("logit 3").press("Home")
        there, places = root.locator(".dc-summary").inner_text(), root.evaluate(PLACES)
        tab.evaluate("navigator.clipboard.writeText = async (text) => { window.clip = text; }")
        root.get_by_role("button", name="Copy link to this state").press("Enter")
        assert root.locator(".dc-note").inner_text().startswith("Copied")
        assert root.evaluate(PLACES) == places
        link = tab.evaluate("window.clip")
        root.get_by_role("button", name="Reset").press("Enter")
        assert root.inner_text() == first  # the note is gone as well
    with arrived(chromium, tmp_path, a_mixer(), link[link.index("#") :]) as (tab, root):
        assert root.locator(".dc-summary").inner_text() == there
        assert tab.evaluate(STATE) == {"temperature": 100, "num_kernels": 3, "logits": [0, 0, -5]}
        assert root.locator(".dc-note").inner_text() == "From the address: temperature, num_kernels, logits."
        root.get_by_role("button", name="Reset").press("Enter")
        assert root.inner_text() == first  # the instrument's own first state, not the link's
        assert tab.evaluate(STATE) == FIRST


def test_a_refused_clipboard_leaves_the_link_to_be_copied_by_hand(chromium, tmp_path):
    with opened(chromium, tmp_path, a_mixer()) as (tab, root):
        tab.evaluate("navigator.clipboard.writeText = () => Promise.reject(new Error('refused')); 0")
        link = copied(root)
        assert link == f"{tab.url}#dc.Mixer=%7B%22temperature%22:0.5,%22num_kernels%22:2,%22logits%22:%5B0,0,0%5D%7D"
        assert tab.evaluate("getSelection().toString()") == link
        assert root.get_by_label("Copy this address").count() == 1


def test_a_link_does_not_carry_jupyters_key(chromium, tmp_path):
    with arrived(chromium, tmp_path, a_mixer(), "?token=secret&x=1") as (tab, root):
        tab.evaluate("navigator.clipboard.writeText = () => Promise.reject(new Error('refused')); 0")
        assert "?x=1#dc.Mixer=" in copied(root)


def test_in_a_frame_there_is_no_address_to_copy(chromium):
    context = chromium.new_context()
    tab = context.new_page()
    tab.set_content("<iframe></iframe>")
    tab.evaluate("text => { document.querySelector('iframe').srcdoc = text; }", page(a_mixer(), "framed"))
    root = tab.frame_locator("iframe").locator(".dynconv")
    assert root.get_by_role("button", name="Reset").count() == 1
    assert root.get_by_role("button", name="Copy link").count() == 0
    context.close()


@pytest.mark.parametrize("text", NOT_VALID, ids=lambda text: text[:30])
def test_nothing_but_valid_values_is_taken(chromium, tmp_path, text):
    with arrived(chromium, tmp_path, a_mixer(), written(text)) as (tab, root):
        assert tab.evaluate(STATE) == FIRST
        assert root.locator(".dc-note").inner_text().startswith("Ignored in the address, because it does not fit: ")
        assert tab.evaluate("({}).temperature === undefined && document.images.length === 0")
        root.get_by_label("temperature T").press("End")
        assert root.locator(".dc-note").inner_text() == ""


def test_valid_values_beside_others_are_taken(chromium, tmp_path):
    text = json.dumps({"temperature": 30, "num_kernels": 9, "a": 1, "b": 2, "c": 3})
    with arrived(chromium, tmp_path, a_mixer(), written(text)) as (tab, root):
        assert tab.evaluate(STATE) == FIRST | {"temperature": 30}
        assert root.locator(".dc-note").inner_text() == (
            "From the address: temperature. Ignored in the address, because it does not fit: num_kernels, a, b and 1 more."
        )


def test_an_address_that_speaks_of_something_else(chromium, tmp_path):
    for link in ("#a-heading", "#dc.Trace=%7B%22temperature%22:3%7D", "#dc.Mixer", "#%"):
        with arrived(chromium, tmp_path, a_mixer(), link) as (tab, root):
            assert tab.evaluate(STATE) == FIRST
            assert root.locator(".dc-note").inner_text() == ""


def test_a_link_pasted_into_the_open_page(chromium, tmp_path):
    with opened(chromium, tmp_path, a_mixer()) as (tab, _):
        followed(tab, written('{"temperature": 3}'))
        assert tab.evaluate(STATE) == FIRST | {"temperature": 3}
        tab.evaluate("history.replaceState({}, '', location.pathname)")  # as JupyterLab does
        assert "#dc" not in tab.url


def test_an_instrument_of_another_kind_follows_its_own_links(chromium, tmp_path):
    mixer = a_mixer()
    mixer.kind = "Mixer-second"
    with opened(chromium, tmp_path, mixer) as (tab, root):
        tab.evaluate("""location.hash = '#dc.Mixer={"temperature":30}'""")
        tab.evaluate("""location.hash = '#dc.Mixer-second={"temperature":20}'""")
        root.get_by_text("From the address: temperature.").wait_for()
        assert tab.evaluate("model.get('temperature')") == 20
        assert root.get_attribute("data-kind") == "Mixer-second"


def test_the_address_one_came_by_is_remembered(chromium, tmp_path):
    """JupyterLab has taken the hash away when a cell shows its instrument."""
    text = page(a_mixer(), "late").replace(
        'type="module">', "type=\"module\">\nhistory.replaceState({}, '', location.pathname);", 1
    )
    path = tmp_path / "late.html"
    path.write_text(text, encoding="utf-8")
    context = chromium.new_context(offline=True)
    tab = context.new_page()
    tab.goto(path.as_uri() + written('{"temperature": 3}'))
    tab.locator(".dc-summary").wait_for()
    assert "#" not in tab.url
    assert tab.evaluate(STATE) == FIRST | {"temperature": 3}
    context.close()


def test_another_view_of_the_same_model_keeps_where_reset_returns_to(chromium, tmp_path):
    again = """async (code) => {
      const module = await import(URL.createObjectURL(new Blob([code], {type: 'text/javascript'})));
      const el = document.body.appendChild(document.createElement('div'));
      el.id = 'second'; module.default.render({model, el}); }"""
    view = a_mixer()
    with arrived(chromium, tmp_path, view, written('{"temperature": 3}')) as (tab, root):
        root.get_by_label("logit 1").press("End")
        tab.evaluate(again, view._esm)
        second = tab.locator("#second")
        assert tab.evaluate(STATE) == {"temperature": 3, "num_kernels": 2, "logits": [5, 0, 0]}
        assert second.locator(".dc-summary").inner_text() == root.first.locator(".dc-summary").inner_text()
        second.get_by_role("button", name="Reset").press("Enter")
        assert tab.evaluate(STATE) == FIRST


def some_text(draw):
    value = draw.choice(
        [0.1, 3, 1e308, -1, "x", None, True, [], [0, 0, 0], [1] * 9, {}, {"temperature": 1}, math.pi, 2]
    )
    name = draw.choice([*FIRST, "__proto__", "constructor", "get", "", "logits "])
    made = json.dumps({name: value, draw.choice(list(FIRST)): draw.choice([1, 2, 3, 1000, "1", [0, 1, -5]])})
    noise = "".join(draw.choice(string.printable + "é😀") for _ in range(draw.randrange(40)))
    return draw.choice([made, made[: draw.randrange(len(made))], noise, made.replace("1", "1e999"), "%" + noise])


def test_whatever_the_hash_says(chromium, tmp_path):
    draw, taken = random.Random(0), 0
    allowed = {
        "temperature": lambda v: type(v) in (int, float) and 0.1 <= v <= 100,
        "num_kernels": lambda v: type(v) is int and 1 <= v <= 3,
        "logits": lambda v: len(v) == 3 and all(-5 <= z <= 5 for z in v),
    }
    with opened(chromium, tmp_path, a_mixer()) as (tab, _):
        for i in range(150):
            text = some_text(draw)
            followed(tab, "#dc.Mixer=" + (quote(text) if draw.random() < 0.7 else text) + f"%20{' ' * (i % 2)}")
            state = tab.evaluate(STATE)
            taken += state != FIRST
            assert all(fits(state[name]) for name, fits in allowed.items()), text
    assert taken > 50  # valid ones were among them


def test_a_mixture_of_three_kernels_is_checked_as_one(chromium, tmp_path):
    from dynconv import DynamicConv2d

    def a_map():
        return SimplexMap(DynamicConv2d(1, 1, 3, num_kernels=3), {"a": torch.rand(1, 8, 8), "b": torch.rand(1, 8, 8)})

    for free, fits in (([0.2, 0.3, 0.5], True), ([0.5, 0.5, 0.5], False), ([1.5, -0.5, 0], False), ([1], False)):
        link = f"#dc.SimplexMap={quote(json.dumps({'image': 'b', 'free': free}))}"
        with arrived(chromium, tmp_path, a_map(), link) as (tab, _):
            assert tab.evaluate("model.get('free')") == (free if fits else [])
            assert tab.evaluate("model.get('image')") == "b"
