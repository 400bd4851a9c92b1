"""The instruments' JavaScript and CSS, looked at by ESLint and Prettier, and read by Node as modules of their own.

Without Node these are skipped: nothing in dynconv needs it.
"""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from dynconv.lessons.views.javascript import HERE, bundle
from tests.setup.test_house import ROOT

PACKAGE = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))
PINS = PACKAGE["devDependencies"]
OFFLINE = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ERR_SOCKET_TIMEOUT")
FAULTY = """export const late = (model) => {
  var redraw = () => store();
  let sum = 0;
  if (model.value == 1) { const sum = 2; return sum ? 1 : model.a ? 2 : 3; }
  const store = () => widow.sum;
  return sum;
};
"""


def run(*command, **options):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", **options)


@pytest.fixture(scope="module")
def node():
    path = shutil.which("node")
    if path is None:
        pytest.skip("no Node: ESLint and Prettier are not run")
    return path


@pytest.fixture(scope="module")
def npm(node):
    """npm, with the pinned tools in node_modules: brought once, with the hashes that package-lock.json knows."""
    path, version = shutil.which("npm"), run(node, "--version").stdout.strip()
    if path is None or int(version[1:].split(".")[0]) < 20:
        pytest.skip(f"ESLint needs npm and Node 20.19 or newer, here is Node {version}")
    if not all(installed(name) == version for name, version in PINS.items()):
        done = run(path, "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1")
        if done.returncode and OFFLINE.search(done.stderr) and not os.environ.get("CI"):
            pytest.skip("npm cannot reach its registry, and node_modules lacks the pinned ESLint and Prettier")
        assert done.returncode == 0, done.stderr
    return path


def installed(name):
    path = ROOT / "node_modules" / name / "package.json"
    return json.loads(path.read_text(encoding="utf-8"))["version"] if path.exists() else None


def test_eslint_and_prettier_are_content(npm):
    done = run(npm, "run", "--silent", "check")
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_eslint_sees_what_the_house_does_not_want(npm):
    options = ("--format", "json", "--stdin", "--stdin-filename", "dynconv/lessons/views/js/faulty.js")
    done = run(npm, "exec", "--no", "--", "eslint", *options, input=FAULTY)
    (result,) = json.loads(done.stdout)
    assert {message["ruleId"] for message in result["messages"]} >= {
        "eqeqeq",
        "no-nested-ternary",
        "no-shadow",
        "no-undef",
        "no-unused-vars",
        "no-use-before-define",
        "no-var",
        "prefer-const",
    }


def test_each_version_is_exact_and_the_same_everywhere():
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in PINS.values())
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    named = [
        package for repo in hooks for hook in repo["hooks"] if hook.get("language") == "node"
        for package in hook["additional_dependencies"]
    ]  # fmt: skip
    assert dict(name.rsplit("@", 1) for name in named) == PINS
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert lock[""]["devDependencies"] == PINS
    assert {name: lock[f"node_modules/{name}"]["version"] for name in PINS} == PINS
    assert all("integrity" in one and "resolved" not in one for name, one in lock.items() if name)


def test_a_bundle_exports_what_its_module_exports(node, tmp_path):
    """Node reads the files as they are and finds every name that they import; what Python joins must offer the same."""
    names = sorted(path.stem for path in HERE.glob("*.js"))
    for name in names:
        (tmp_path / f"{name}.mjs").write_text(bundle(name), encoding="utf-8")
    script = """const [names, here, there] = JSON.parse(process.argv[1]);
      const keys = async (path) => Object.keys(await import(path)).sort();
      for (const name of names) console.log(JSON.stringify(
        [name, await keys(`${here}/${name}.js`), await keys(`${there}/${name}.mjs`)]));"""
    places = [names, HERE.as_uri(), tmp_path.as_uri()]
    done = run(node, "--input-type=module", "-e", script, json.dumps(places))
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, _, _ in found] == names
    assert all(own and own == joined for _, own, joined in found)
