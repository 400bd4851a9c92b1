"""Building the C++ library and finding it again: whatever lies in the cache, a layer works, and what is loaded is our own."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from dynconv import native
from dynconv.native import building
from dynconv.native.__main__ import main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is built on Linux only")


@pytest.fixture(scope="module")
def built():
    """The library of this machine."""
    try:
        return native.build()
    except RuntimeError as reason:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(reason))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A cache of its own, and no library loaded before or after."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(building, "_path", building._path.__wrapped__)
    native.library.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    native.library.cache_clear()


def a_compiler(path, body, source="/dev/null"):
    """A program that is called as a compiler is; SOURCE is a library, TO where one belongs."""
    head = f"#!{sys.executable} -IS\nimport os, shutil, sys, time\nSOURCE, TO = {str(source)!r}, sys.argv[-1]\n"
    path.write_text(head + textwrap.dedent(body), encoding="utf-8")
    path.chmod(0o700)
    return str(path)


def unsealed(built, folder):
    path = folder / "as the compiler made it"
    path.write_bytes(built.read_bytes()[:-32])
    return path


def alone(code, **environment):
    """A process that has building.py, and no torch, which would take a second each time."""
    load = (
        "import importlib.util as u; s = u.spec_from_file_location('building', "
        f"{building.__file__!r}); building = u.module_from_spec(s); s.loader.exec_module(building)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", load + textwrap.dedent(code)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


# ------------------------------------------------------------------------------------------ what can lie in the cache


def change(content):
    def damage(path):
        changed = content(path.read_bytes())
        path.unlink()  # it may be loaded
        path.write_bytes(changed)

    return damage


def replaced_by(make):
    def damage(path):
        path.unlink()
        make(path)

    return damage


def sealed(content, name=None):
    """A library with a seal, for the path where it lies or for another processor's."""

    def damage(path):
        changed = content(path.read_bytes()[:-32])
        path.unlink()
        path.write_bytes(changed + building._seal(changed, path.with_name(name or path.name)))

    return damage


MAPS = Path("/proc/self/maps")
LIBC = (
    next((Path(s.split()[-1]) for s in MAPS.read_text().splitlines() if "libc." in s), None) if MAPS.exists() else None
)
DAMAGES = {
    "cut off": change(lambda c: c[:60000]),
    "a byte short": change(lambda c: c[:-1]),
    "empty": change(lambda c: b""),
    "junk": change(lambda c: b"junk"),
    "one bit": change(lambda c: c[:5000] + bytes([c[5000] ^ 1]) + c[5001:]),
    "longer": change(lambda c: c + b"\0"),
    "without its seal": change(lambda c: c[:-32]),
    "another library": change(lambda c: LIBC.read_bytes()),
    "another processor's": sealed(lambda c: c, "convolution-0123456789abcdef.so"),
    "no such functions": sealed(lambda c: LIBC.read_bytes()),
    "writable by all": lambda path: path.chmod(0o777),
    "writable by the group": lambda path: path.chmod(0o770),
    "in a folder writable by all": lambda path: path.parent.chmod(0o1777),
    "a pipe": replaced_by(os.mkfifo),
    "a folder": replaced_by(os.mkdir),
}
ABSENT = {
    "a link to nowhere": replaced_by(lambda path: path.symlink_to("nowhere")),
    "a link to itself": replaced_by(lambda path: path.symlink_to(path.name)),
    "a file for a folder": lambda path: (shutil.rmtree(path.parent), path.parent.write_text("")),
}
USE = """
import json, os, pwd, sys, warnings, torch, dynconv
from pathlib import Path
from dynconv.native import building

layer, x, found = dynconv.DynamicConv2d(16, 16, 3), torch.randn(4, 16, 8, 8), {}
for name, settings in json.loads(sys.argv[1]).items():
    os.environ.update(settings)
    if name == "no home":
        del os.environ["HOME"], os.environ["XDG_CACHE_HOME"]
        pwd.getpwuid = {}.__getitem__
    user = os.geteuid() + (name == "another user's")
    building.os.geteuid = lambda: user
    building._path.cache_clear()
    building.library.cache_clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        shape = [tuple(layer(x).shape) for _ in range(2)][0]
    user = os.getuid()
    found[name] = [shape, building.library() is not None, [str(w.message) for w in said]]
print(json.dumps(found))
"""


def used(settings):
    done = subprocess.run(
        [sys.executable, "-c", USE, json.dumps(settings)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return json.loads(done.stdout)


def test_whatever_lies_in_the_cache_a_layer_works(built, tmp_path):
    settings = {}
    for name, damage in {**DAMAGES, **ABSENT, "another user's": lambda path: None, "good": lambda path: None}.items():
        path = tmp_path / name / "dynconv" / built.name
        path.parent.mkdir(parents=True, mode=0o700)
        shutil.copy2(built, path)
        damage(path)
        settings[name] = {"XDG_CACHE_HOME": str(tmp_path / name)}
    (tmp_path / "linked").mkdir()
    shutil.copytree(tmp_path / "good" / "dynconv", tmp_path / "home" / ".cache" / "dynconv")
    (tmp_path / "linked" / "dynconv").symlink_to(tmp_path / "home" / ".cache" / "dynconv")
    settings["linked"] = {"XDG_CACHE_HOME": str(tmp_path / "linked")}
    settings["nowhere"] = {"XDG_CACHE_HOME": "/proc/nowhere"}
    settings["too long"] = {"XDG_CACHE_HOME": "/" + "x" * 5000}
    settings["relative, so not heeded"] = {"XDG_CACHE_HOME": "x", "HOME": str(tmp_path / "home")}
    settings["no home"] = {"XDG_CACHE_HOME": "", "HOME": ""}
    found = used(settings)
    for name, (shape, loaded, said) in found.items():
        assert shape == [4, 16, 6, 6], name
        assert loaded == (name in ("good", "linked", "relative, so not heeded")), name
        warned = name in DAMAGES or name == "another user's"
        assert len(said) == warned, (name, said)
        assert not warned or said[0].endswith("to build it anew: python -m dynconv.native")


# ------------------------------------------------------------------------------------------------------------ building it

COPY = "shutil.copyfile(SOURCE, TO)"


def test_what_cannot_be_trusted_is_built_anew(built, elsewhere, monkeypatch):
    monkeypatch.setenv("CXX", a_compiler(elsewhere / "c++", COPY, unsealed(built, elsewhere)))
    path = native.build()
    for name, damage in DAMAGES.items():
        if name != "a folder":  # it is not ours to remove what may be somebody's
            damage(path)
            assert native.build() == path
            assert native.library() is not None, name
            assert (path.stat().st_mode | path.parent.stat().st_mode) & 0o022 == 0
    path.unlink()
    path.mkdir()
    with pytest.raises(RuntimeError, match=r"the library cannot be kept in .*: Is a directory"):
        native.build()


def test_the_compiler_may_be_a_command_line_or_a_path_with_blanks(built, elsewhere, monkeypatch):
    made = unsealed(built, elsewhere)
    path = a_compiler(elsewhere / "my compiler", COPY, made)
    for command in (path, f"{sys.executable} '{path}'", f"env LANG=C {sys.executable} '{path}' -Wall"):
        monkeypatch.setenv("CXX", command)
        native.build().unlink()
    monkeypatch.setenv("CXX", "g++ 'unended")
    with pytest.raises(RuntimeError, match='CXX is no command: No closing quotation, in "g\\+\\+ \'unended"'):
        native.build()


BAD_COMPILERS = {
    "prints garbage": ("sys.stdout.buffer.write(bytes(range(256)) * 4000); sys.exit(3)", r"failed with status 3"),
    "makes nothing": ("", r"ended without an error, and made no library"),
    "makes garbage": ("open(TO, 'w').write('garbage')", r"made a library that cannot be loaded"),
    "makes half a library": (
        "open(TO, 'wb').write(open(SOURCE, 'rb').read()[:60000])",
        r"made a library that cannot be loaded",
    ),
    "makes another library": (
        f"shutil.copyfile({str(LIBC)!r}, TO)",
        r"a library that cannot be loaded: .*dynconv_forward",
    ),
    "is killed": ("os.kill(os.getpid(), 9)", r"failed with status -9"),
    "hangs": ("time.sleep(1000)", r"did not end within 1 seconds, and was stopped"),
    "never stops talking": ("while True: print('y' * 1000)", r"did not end within 1 seconds, and was stopped"),
    "hangs without a word": ("os.close(1), os.close(2), time.sleep(1000)", r"did not end within 1 seconds"),
    "wants to be asked": ("sys.exit(len(input()))", r"failed with status 1:\n(.|\n)*EOFError"),
}


@pytest.mark.parametrize("what", BAD_COMPILERS)
def test_a_bad_compiler_is_named_and_leaves_nothing(built, elsewhere, monkeypatch, what):
    body, message = BAD_COMPILERS[what]
    monkeypatch.setattr(building, "SECONDS", 1 if "1 seconds" in message else 60)
    monkeypatch.setenv("CXX", a_compiler(elsewhere / "c++", body, unsealed(built, elsewhere)))
    with pytest.raises(RuntimeError, match=message) as caught:
        native.build()
    assert len(str(caught.value)) < 4000
    assert str(caught.value).isprintable() or "\n" in str(caught.value)
    assert native.library() is None
    assert not list((elsewhere / "dynconv").iterdir())


def test_what_a_compiler_has_started_ends_with_it(elsewhere, monkeypatch):
    child = elsewhere / "child"
    body = f"""
        import subprocess
        child = subprocess.Popen(["sleep", "1000"])
        open({str(child)!r}, "w").write(str(child.pid))
        child.wait()
    """
    monkeypatch.setattr(building, "SECONDS", 2)
    monkeypatch.setenv("CXX", a_compiler(elsewhere / "c++", body))
    with pytest.raises(RuntimeError, match="did not end within 2 seconds"):
        native.build()
    for _ in range(100):
        process = Path("/proc", child.read_text(), "stat")
        if not process.exists() or process.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("it goes on")


def test_without_a_compiler(elsewhere, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(elsewhere))
    with pytest.raises(RuntimeError, match=r"no C\+\+ compiler was found \(c\+\+, g\+\+, clang\+\+\)"):
        native.build()
    assert native.library() is None


def test_with_a_compiler_that_fails(elsewhere, monkeypatch):
    monkeypatch.setattr(building, "FLAGS", (*building.FLAGS, "-no-such-flag"))
    with pytest.raises(RuntimeError, match=r"failed with status 1:\n(.|\n)*no-such-flag"):
        native.build()
    assert not list((elsewhere / "dynconv").iterdir())  # nothing half made is left
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match="no-such-compiler could not be started"):
        native.build()


@pytest.mark.parametrize("folder", ["/proc/nowhere", "/" + "x" * 5000, "a file"])
def test_where_nothing_can_be_kept(elsewhere, monkeypatch, folder):
    (elsewhere / "a file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(elsewhere / folder))
    with pytest.raises(RuntimeError, match="the library cannot be kept in"):
        native.build()
    assert native.library() is None


def test_a_full_disk(built, elsewhere, monkeypatch):
    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("CXX", a_compiler(elsewhere / "c++", COPY, unsealed(built, elsewhere)))
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RuntimeError, match=r"the library cannot be kept in .*: No space left on device"):
        native.build()
    assert not list((elsewhere / "dynconv").iterdir())


def test_a_folder_of_another_user(elsewhere, monkeypatch):
    (elsewhere / "dynconv").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(
        RuntimeError, match="dynconv belongs to another user; set XDG_CACHE_HOME to a folder of your own"
    ):
        native.build()


def test_two_processes_compile_once_and_a_killed_one_leaves_nothing(built, elsewhere, monkeypatch):
    body = f"open(os.path.dirname(SOURCE) + '/count', 'a').write('.'); time.sleep(0.5); {COPY}"
    settings = {"CXX": a_compiler(elsewhere / "c++", body, unsealed(built, elsewhere))}
    killed = alone("building.build()", **settings)
    while not (elsewhere / "count").exists():
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    assert [path.name[:9] for path in (elsewhere / "dynconv").iterdir()] == [building.LEFTOVERS]
    both = [alone("print(building.build(), building.library() is not None)", **settings) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert said == [f"{building._path()} True\n"] * 2
    assert (elsewhere / "count").read_text() == ".."  # the killed one, and one of the two
    assert list((elsewhere / "dynconv").iterdir()) == [building._path()]


def test_the_command_says_what_was_loaded(built, elsewhere, monkeypatch, capsys):
    monkeypatch.setenv("CXX", a_compiler(elsewhere / "c++", COPY, unsealed(built, elsewhere)))
    path = building._path()
    assert main() == 0
    assert capsys.readouterr().out.startswith(f"{path}: loaded; differs from torch's operations by at most ")
    for settings, reason in (
        ({"DYNCONV_NATIVE": "0"}, "DYNCONV_NATIVE=0"),
        ({}, "the C++ library is left aside: bad luck"),
    ):
        with monkeypatch.context() as patched:
            for name, value in settings.items():
                patched.setenv(name, value)
            patched.setattr(building.ctypes, "CDLL", lambda path: exec("raise OSError('bad luck')"))
            assert main() == 1
        said = capsys.readouterr().out
        assert said.startswith(f"{path}: built, and not loaded: PyTorch's own operations serve. Reason: {reason}")
    path.unlink()
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert main() == 1
    assert "Not built, and not needed" in capsys.readouterr().out


def test_it_can_be_left_aside(built, monkeypatch):
    monkeypatch.setenv("DYNCONV_NATIVE", "0")
    native.library.cache_clear()
    assert native.library() is None
    monkeypatch.undo()
    native.library.cache_clear()
    assert native.library() is not None
