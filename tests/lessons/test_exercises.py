"""Every solution passes, every known wrong answer is told its own mistake."""

import contextlib
import random
import re
import threading
import time
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dynconv.functional import conv, dilate_gate
from dynconv.lessons.exercises import EXERCISES, check, running


@pytest.mark.parametrize("name", EXERCISES)
def test_solution_passes_and_mistakes_are_recognised(name):
    exercise = EXERCISES[name]
    assert exercise.check(exercise.solution).passed
    assert len(exercise.mistakes) >= 4
    assert len({m.says for m in exercise.mistakes.values()}) == len(exercise.mistakes)
    for label, mistake in exercise.mistakes.items():
        result = exercise.check(mistake.answer)
        assert not result.passed, label
        assert result.message == mistake.says, label
        assert re.match(r"Case \d: .*(should|raises)", result.difference), label  # expected and got, beside the message
        assert result.difference in repr(result)


@pytest.mark.parametrize("name", EXERCISES)
def test_anything_else_is_answered_kindly(name):
    assert check(name, lambda *a: None).message.startswith("Not solved yet")
    assert "it raises ZeroDivisionError" in check(name, lambda *a: 1 / 0).message
    assert "should" in check(name, lambda *a: "text").message


def test_shape_and_first_difference_are_reported():
    solution = EXERCISES["05.attention"].solution
    assert "the shape should be (3, 3) but is (3, 2)" in check("05.attention", lambda *a: solution(*a)[:, :2]).message

    def off_by_one_place(*arguments):
        pi = solution(*arguments).clone()
        pi[1, 2] += 1
        return pi

    assert "element [1, 2] should be" in check("05.attention", off_by_one_place).message


def test_numbers_are_shown_in_the_digits_that_differ():
    slightly_off = check("08.adalin", lambda *a: EXERCISES["08.adalin"].solution(*a) * 1.0002)
    should, but = re.search(r"should be (\S+) but is (\S+)\.$", slightly_off.message).groups()
    assert should != but
    assert "should be 12960 but is 12961" in check("10.macs", lambda *a: EXERCISES["10.macs"].solution(*a) + 1).message


def test_of_an_error_the_first_line_is_shown():
    message = check("11.deviation", lambda function, x: function(0)).message  # torch lists signatures, a line each
    assert message.startswith("Case 1: it raises TypeError: conv2d()")
    assert "\n" not in message


def test_unknown_exercise_and_no_function():
    with pytest.raises(ValueError, match=r"no exercise '02.unfold'; there are: 00.softmax, 01.convolve"):
        check("02.unfold", abs)
    with pytest.raises(TypeError, match="pass the function itself"):
        check("02.fold", 3)


# ------------------------------------------------------------------------------------- anything that a function can return


def softmax(z, T):
    return torch.softmax(z / T, 0)


class MuteError(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Hostile:
    @property
    def __class__(self):
        raise RuntimeError("not to be asked")


class HostileList(list):
    def __len__(self):
        raise RuntimeError("not to be counted")


class HostileTensor(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        raise RuntimeError("not to be computed with")


def throw(error):
    raise error


async def a_coroutine(z, T):
    return softmax(z, T)


def a_generator(z, T):
    yield softmax(z, T)


def itself(z, T):
    values = []
    values.append(values)
    return values


WRONG = {
    "complex": (lambda z, T: torch.complex(softmax(z, T), torch.full_like(z, 1e9)), "should be real but are complex"),
    "complex, with nothing imaginary": (lambda z, T: softmax(z, T) + 0j, "should be real but are complex"),
    "meta": (lambda z, T: z.to("meta"), "on the device meta, where there are no numbers"),
    "nested": (lambda z, T: torch.nested.nested_tensor([z]), "returns a nested tensor"),
    "bits": (lambda z, T: torch.empty(len(z), dtype=torch.bits8), "of torch.bits8"),
    "a huge view": (
        lambda z, T: torch.zeros(1).expand(10**12),
        r"the shape should be \(4,\) but is \(1000000000000,\)",
    ),
    "a huge sparse tensor": (
        lambda z, T: torch.zeros(1).to_sparse().sparse_resize_((10**12,), 1, 0),
        "the shape should be",
    ),
    "nan": (lambda z, T: z * np.nan, r"element \[0\] should be 0.4608 but is nan"),
    "an endless number": (lambda z, T: 10**5000, "returns int"),
    "a class": (lambda z, T: MuteError, "returns a class"),
    "a function": (lambda z, T: softmax, "returns a function"),
    "an error, returned": (lambda z, T: ValueError("no"), "returns ValueError"),
    "a generator": (a_generator, "returns a generator, by a yield"),
    "a coroutine": (a_coroutine, "returns a coroutine, by an async"),
    "a dict": (lambda z, T: {"pi": softmax(z, T)}, "returns dict"),
    "objects": (lambda z, T: np.array([1, "a", None], dtype=object), "a numpy array of shape .3,. of objects"),
    "rows of different lengths": (lambda z, T: [[1, 2], [3]], "returns 2 values"),
    "a list of nothing": (lambda z, T: [], "returns 0 values"),
    "a list in itself": (itself, "returns 1 value"),
    "hostile": (lambda z, T: Hostile(), "something that cannot be looked at"),
    "a hostile list": (lambda z, T: HostileList([1]), "something that cannot be looked at"),
    "a hostile tensor": (lambda z, T: softmax(z, T).as_subclass(HostileTensor), "something that cannot be looked at"),
    "an error without words": (lambda z, T: throw(MuteError()), "it raises MuteError: $"),
    "an error of many words": (lambda z, T: throw(ValueError("x" * 10**7)), "it raises ValueError: x{200}…$"),
    "sys.exit": (lambda z, T: throw(SystemExit(3)), "it raises SystemExit: 3$"),
    "the stop button, pressed by itself": (lambda z, T: throw(KeyboardInterrupt()), "it raises KeyboardInterrupt: $"),
    "no end of calls": (lambda z, T: WRONG["no end of calls"][0](z, T), "it raises RecursionError: maximum recursion"),
    "too few arguments": (lambda: 1, "it raises TypeError: .* takes 0 positional arguments but 2 were given"),
}


@pytest.mark.parametrize("what", WRONG)
def test_whatever_comes_is_judged(what):
    answer, words = WRONG[what]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's about prototypes
        result = check("00.softmax", answer)
    assert not result.passed
    assert re.search(words, result.message), result
    assert len(repr(result)) < 600


ADVISED = {
    "an array": (lambda z, T: softmax(z, T).numpy(), "a numpy array: make it one with torch.as_tensor"),
    "float64": (lambda z, T: softmax(z, T).double().numpy(), "a numpy array: make it one with torch.as_tensor"),
    "backwards": (lambda z, T: softmax(z, T).numpy()[::-1].copy()[::-1], "a numpy array: make it one with"),
    "of another machine": (lambda z, T: softmax(z, T).numpy().astype(">f4"), "a numpy array: make it one with"),
    "a list": (lambda z, T: softmax(z, T).tolist(), "a list: make it one with torch.as_tensor"),
    "a tuple of tensors": (lambda z, T: tuple(softmax(z, T)), "a tuple: make it one with torch.as_tensor"),
    "sparse": (lambda z, T: softmax(z, T).to_sparse(), "a sparse one: make it one with .to_dense()"),
}


@pytest.mark.parametrize("what", ADVISED)
def test_the_right_numbers_in_another_form_are_advised(what):
    answer, words = ADVISED[what]
    result = check("00.softmax", answer)
    assert not result.passed
    assert result.message.startswith("Case 1: the numbers are right, but it should be a")
    assert words in result.message


@pytest.mark.parametrize("form", [torch.Tensor.numpy, torch.Tensor.tolist])
def test_a_known_mistake_is_known_in_any_form(form):
    assert check("00.softmax", lambda z, T: form(torch.softmax(z * T, 0))).message.startswith("The logits are mult")


def answered(name, change):
    return check(name, lambda *a: change(EXERCISES[name].solution(*a)))


@pytest.mark.parametrize("number", [float, np.float64, np.float32, torch.tensor, lambda v: torch.tensor(v).double()])
@pytest.mark.parametrize("name", ["05.schedule", "06.variation", "07.pointing"])
def test_any_number_is_a_number(name, number):
    assert answered(name, lambda v: number(float(v))).passed


@pytest.mark.parametrize("kind", [int, np.int64, np.int32, float, np.float32])
def test_any_whole_number_is_one(kind):
    assert answered("01.output_size", kind).passed
    assert not answered("01.output_size", lambda v: kind(v + 1)).passed


def test_the_input_is_shown():
    shown = check("00.softmax", lambda z, T: z).given
    assert shown == "Its input: logits = tensor([1.541, -0.2934, -2.179, 0.5684]), temperature = 2"
    assert shown in repr(check("00.softmax", lambda z, T: z))
    assert "a tensor of shape (" in check("01.convolve", lambda *a: 0).given
    assert "function = " in check("11.deviation", lambda *a: 0.5).given


def test_what_an_answer_changes_is_put_back():
    def careless(z, T):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.set_num_threads(3)
        torch.set_float32_matmul_precision("medium")
        torch.autograd.set_detect_anomaly(True)
        torch.set_default_device("meta")
        torch.manual_seed(5), np.random.seed(5), random.seed(5)
        warnings.simplefilter("ignore")
        z += 1
        return torch.softmax((z - 1) / T, 0)

    def state():
        draws = torch.rand(3).tolist(), np.random.rand(), random.random()
        torch_settings = torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.is_anomaly_enabled()
        return draws, torch_settings, torch.get_default_dtype(), torch.is_grad_enabled(), torch.zeros(1).device

    for start in (lambda: None, lambda: check("00.softmax", careless)):
        torch.manual_seed(3), np.random.seed(3), random.seed(3)
        filters = list(warnings.filters)
        result = start()
        found = state()
        if result is None:
            expected = found
    assert result.passed
    assert found == expected
    assert warnings.filters == filters


def forever(z, T):
    while True:
        pass


OVER = threading.Event()


def stubborn(z, T):
    while not OVER.is_set():
        with contextlib.suppress(BaseException):
            time.sleep(0.01)


def patient(z, T):
    OVER.wait()


@pytest.mark.parametrize("answer", [forever, stubborn, patient])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_answer_that_never_ends(monkeypatch, answer, elsewhere):
    monkeypatch.setattr(running, "SECONDS", 0.2)
    monkeypatch.setattr(running, "TRIES", 20 if answer is forever else 3)
    OVER.clear()
    found = []
    if elsewhere:  # as from a callback, or in an app
        thread = threading.Thread(target=lambda: found.append(check("00.softmax", answer)))
        thread.start()
        thread.join()
    else:
        found.append(check("00.softmax", answer))
    OVER.set()
    said = "Case 1: it did not end within 0.2 seconds. Is there a loop that never ends?"
    assert found[0].message == said + " It goes on, and cannot be stopped: restart the kernel." * (
        answer is not forever
    )
    for thread in threading.enumerate():
        if thread.name == "an answer":
            thread.join(10)
            assert not thread.is_alive()


def test_the_stop_button_stops_an_answer(monkeypatch):
    started, ended = threading.Event(), threading.Event()

    def slow(z, T):
        started.set()
        try:
            while True:
                pass
        finally:
            ended.set()

    def press(self, timeout=None):
        if started.is_set():
            monkeypatch.undo()
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Event, "wait", press)
    with pytest.raises(KeyboardInterrupt):
        check("00.softmax", slow)
    assert ended.wait(10)


RULED_OUT = {
    "01.convolve": {
        "F.conv2d": lambda x, w, b: F.conv2d(x[None], w, b)[0],
        "aten": lambda x, w, b: torch.ops.aten.conv2d(x[None], w, b)[0],
        "transposed": lambda x, w, b: F.conv_transpose2d(
            x[None], w.flip(2, 3).transpose(0, 1), b, padding=(w.shape[2] - 1, w.shape[3] - 1)
        )[0],
        "three dimensions": lambda x, w, b: F.conv3d(x[None, None], w[:, None], b)[0, :, 0],
        "the package's": lambda x, w, b: conv(x[None], w, b)[0],
    },
    "09.dilate": {
        "F.max_pool2d": lambda m: F.max_pool2d(m, 3, 1, 1),
        "the package's": lambda m: dilate_gate(m, m.shape[2:]),
        "nn.MaxPool2d": torch.nn.MaxPool2d(3, 1, 1),
        "with indices": lambda m: F.max_pool2d(m, 3, 1, 1, return_indices=True)[0],
        "three dimensions": lambda m: F.max_pool3d(m, (1, 3, 3), 1, (0, 1, 1)),
    },
    "10.grouped": {
        "a loop": lambda x, k: torch.cat([F.conv2d(i[None], w, padding=1) for i, w in zip(x, k, strict=True)]),
        "a recursion": lambda x, k: one_by_one(x, k),
        "by patches": lambda x, k: (k.flatten(2) @ F.unfold(x, 3, padding=1)).unflatten(2, x.shape[2:]),
    },
    "09.hard_gate": {"autograd": lambda z, n, T: by_autograd(z, n, T)},
}
ALLOWED = {
    "01.convolve": lambda x, w, b: (
        torch.einsum("chwuv,ocuv->ohw", x.unfold(1, w.shape[2], 1).unfold(2, w.shape[3], 1), w) + b[:, None, None]
    ),
    "09.dilate": lambda m: (F.conv2d(m, torch.ones(1, 1, 3, 3), padding=1) > 0).float(),
    "10.grouped": torch.vmap(lambda image, kernel: F.conv2d(image, kernel, padding=1)),  # one grouped one, inside
}


def one_by_one(x, kernels):
    first = F.conv2d(x[:1], kernels[0], padding=1)
    return first if len(x) == 1 else torch.cat([first, one_by_one(x[1:], kernels[1:])])


def by_autograd(z, noise, temperature):
    z = z.clone().requires_grad_()
    soft = torch.sigmoid((z + noise) / temperature)
    return (soft >= 0.5).float().detach(), *torch.autograd.grad(soft.sum(), z)


@pytest.mark.parametrize("name", RULED_OUT)
def test_what_an_exercise_rules_out_is_refused_by_whatever_name(name):
    for way, answer in RULED_OUT[name].items():
        said = check(name, answer)
        assert not said.passed, way
        assert said.message.startswith("The numbers are right. But "), way


@pytest.mark.parametrize("name", ALLOWED)
def test_what_an_exercise_does_not_rule_out_is_right(name):
    assert check(name, ALLOWED[name]).passed
