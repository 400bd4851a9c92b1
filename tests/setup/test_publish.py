"""From a copy with a git remote to addresses, badges and workflows that work; and what is refused."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.setup.test_house import ROOT

PLACEHOLDER = "set_owner/dynconv"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ALONE = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=ALONE, **options)


FEW = ("run.py", "pyproject.toml", "README.md", "dynconv/lessons/site/publish.py")


@pytest.fixture
def copy(tmp_path, request):
    """The checkout's files (or ``few`` of them), as a new repository without a remote."""
    if not shutil.which("git"):
        pytest.skip("Git is not here")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout.split("\n")
    for name in FEW if getattr(request, "param", "") == "few" else filter(None, listed):
        if (ROOT / name).is_file() and not name.startswith(("data/", "artifacts/")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    run("git", "init", "--quiet", cwd=tmp_path)
    return tmp_path


def publish(folder, *arguments):
    return run(sys.executable, "run.py", "publish", *arguments, cwd=folder)


def everything(folder):
    files = (p for p in folder.rglob("*") if p.is_file() and ".git" not in p.parts and "__pycache__" not in p.parts)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def mentions(folder, words):
    allowed = ("dynconv/lessons/site/publish.py", "tests/setup/test_publish.py")
    return [name for name, data in everything(folder).items() if words.encode() in data and name not in allowed]


REMOTES = {
    "https": ("https://github.com/ada/more.conv.git", "ada/more.conv"),
    "ssh": ("git@github.com:ada/dynconv.git", "ada/dynconv"),
    "with a name": ("https://someone@github.com/Ada-L/dynconv", "Ada-L/dynconv"),
    "longer": (
        "ssh://git@github.com/countess-of-lovelace/convolutions-that-move",
        "countess-of-lovelace/convolutions-that-move",
    ),
}


few = pytest.mark.parametrize("copy", ["few"], indirect=True)


@few
@pytest.mark.parametrize("kind", REMOTES)
def test_any_form_of_the_remotes_address_is_understood(copy, kind):
    address, slug = REMOTES[kind]
    run("git", "remote", "add", "origin", address, cwd=copy)
    assert publish(copy).returncode == 0
    assert f'Repository = "https://github.com/{slug}"' in (copy / "pyproject.toml").read_text(encoding="utf-8")


def test_the_address_of_the_remote_is_stamped_everywhere(copy):
    address, slug = REMOTES["longer"]
    run("git", "remote", "add", "origin", address, cwd=copy)
    done = publish(copy)
    assert done.returncode == 0, done.stderr
    assert not mentions(copy, PLACEHOLDER)
    owner, name = slug.split("/")
    for said in ("git tag v0.1.0", "Settings → Pages", f"https://{owner.lower()}.github.io/{name}/"):
        assert said in done.stdout
    for lesson in sorted((copy / "notebooks").glob("*.ipynb")):
        text = lesson.read_text(encoding="utf-8")
        assert f"colab.research.google.com/github/{slug}/blob/main/notebooks/{lesson.name}" in text
        assert re.search(rf"git\+https://github\.com/{re.escape(slug)}@v0\.1\.0\b", text)
    assert f"https://github.com/{slug}/security/advisories/new" in (copy / "SECURITY.md").read_text(encoding="utf-8")
    style = run(sys.executable, "-m", "ruff", "format", "--check", "notebooks", "dynconv/lessons", cwd=copy)
    assert style.returncode == 0, style.stdout  # its own tests hold
    again = everything(copy)
    assert "→" not in "".join(line for line in publish(copy).stdout.splitlines() if line.startswith("notebooks"))
    assert everything(copy) == again
    assert "owner/name" in publish(copy, PLACEHOLDER).stderr  # no such owner can be
    publish(copy, "bob/other")
    assert not mentions(copy, slug)
    publish(copy)
    assert everything(copy) == again


def test_a_fork_of_it_leads_to_the_fork(copy):
    publish(copy, "ada/dynconv")
    publish(copy, "bob/dynconv")  # what pages.yml runs in a fork
    assert not mentions(copy, "ada/dynconv")
    assert len(mentions(copy, "bob/dynconv")) >= 16


@few
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "owner/name, for example: python run.py publish ada/dynconv (got 'nonsense')"),
        (["-ada/dynconv"], "got '-ada/dynconv'"),
        (["ada/.."], "got 'ada/..'"),
        (["https://example.com/ada/dynconv"], "got 'https://example.com/ada/dynconv'"),
        (["ada/dynconv", "more"], "Give one repository"),
        ([], "There is no git remote to read the address from"),
    ],
)
def test_what_is_no_address_is_refused(copy, arguments, said):
    before = everything(copy)
    done = publish(copy, *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert everything(copy) == before


@few
def test_another_host_is_named(copy):
    run("git", "remote", "add", "upstream", "https://example.org/ada/dynconv.git", cwd=copy)
    assert "The remote upstream is https://example.org/ada/dynconv.git" in publish(copy).stderr


@few
def test_an_address_with_git_at_its_end_is_understood(copy):
    assert publish(copy, "ada/dynconv.git").returncode == 0
    assert not mentions(copy, 'dynconv.git"')


def test_the_workflows_fit_the_published_schema():
    """check-jsonschema carries the schemas of the code host's workflows and issue forms."""
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))
    config = [ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"]
    for kind, paths in {"workflows": WORKFLOWS, "issue-forms": forms, "issue-config": config}.items():
        schema = f"vendor.github-{kind}"
        done = run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, paths))
        assert done.returncode == 0, done.stdout + done.stderr
    assert [path.stem for path in WORKFLOWS] == ["pages", "release", "tests"]


def test_a_workflow_that_does_not_fit_is_seen(tmp_path):
    broken = tmp_path / "broken.yml"
    broken.write_text(WORKFLOWS[0].read_text(encoding="utf-8").replace("runs-on:", "run-on:"), encoding="utf-8")
    done = run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(broken))
    assert done.returncode == 1


def test_the_workflows_run_the_commands_of_the_readme():
    steps = {
        path.stem: [
            step.get("run", "")
            for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
            for step in job["steps"]
        ]
        for path in WORKFLOWS
    }
    assert "bash .ci/run" in steps["tests"]
    assert any(step.startswith("python run.py test") for step in steps["tests"])
    assert [s.split(" #")[0] for s in steps["pages"] if "run.py" in s] == [
        'python run.py publish "$GITHUB_REPOSITORY"',
        "python run.py site --cpu",
    ]


def test_issue_forms_ask_for_what_helps():
    for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.stem == "config":
            assert all(link["url"].startswith("https://") for link in form["contact_links"])
        else:
            assert {"name", "description", "body"} <= form.keys()
            assert all(field["attributes"]["label"] for field in form["body"])
