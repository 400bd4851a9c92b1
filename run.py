"""The two commands of this project, with nothing but Python:

python run.py lab     open the lessons in JupyterLab (sets everything up the first time)
python run.py test    run every test (same set-up)

Standard library only: this file runs before anything is installed.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "dynconv-setup.json"
LOG = VENV / "dynconv-setup.log"


def main(argv=None):
    sys.stdout.reconfigure(errors="replace")  # a Windows log file may not know every sign
    if sys.version_info < (3, 10):
        sys.exit(f"dynconv needs Python 3.10 or newer; this is {sys.version.split()[0]} ({sys.executable}).")
    parser = argparse.ArgumentParser(
        prog="run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(title="commands", metavar="")
    for name, function in (
        ("lab", lab),
        ("test", test),
        ("site", site),
        ("links", links),
    ):
        words = {"help": function.__doc__.splitlines()[0], "description": function.__doc__}
        sub = commands.add_parser(name, **words)
        sub.add_argument("--cpu", action="store_true", help="install the small CPU-only torch where there is one")
        sub.set_defaults(function=function)
        if name == "lab":
            sub.add_argument("--no-browser", action="store_true", help="only serve, and print the address")
            sub.add_argument("--port", type=int, default=8888, help="port to serve on (8888)")
            sub.add_argument("lesson", nargs="?", help="start of a lesson's name, such as 05 (default: the first)")
        else:
            sub.epilog = "Further arguments go to " + ("pytest." if name == "test" else "the tool.")
    args, rest = parser.parse_known_args(argv)
    if not hasattr(args, "function"):
        parser.print_help()
        return 0
    if rest and args.function is lab:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return args.function(args, rest)


def lab(args, rest):
    """Open the lessons in JupyterLab, on this machine only."""
    lessons = sorted((ROOT / "notebooks").glob(f"{args.lesson or ''}*.ipynb"))
    if not lessons:
        names = ", ".join(p.stem for p in sorted((ROOT / "notebooks").glob("*.ipynb")))
        sys.exit(f"No lesson starts with {args.lesson!r}. There are: {names}")
    set_up(args.cpu)
    command = [PYTHON, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={args.port}"]
    command += [f"--ServerApp.root_dir={ROOT}", f"--LabApp.default_url=/lab/tree/notebooks/{lessons[0].name}"]
    # nothing here needs the network: no news, no update check, no extension shop
    command += ["--LabApp.news_url=None", "--LabApp.extension_manager=readonly"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    command += ["--no-browser"] if args.no_browser else []
    command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # containers
    say(f"Opening {lessons[0].name} in JupyterLab. Stop it with Ctrl-C.")
    return call(command)


def test(args, rest):
    """Run every test: units, doctests, notebooks, browser."""
    set_up(args.cpu, "test")
    processes = ["-n", str(min(4, os.cpu_count() or 1)), "--dist", "loadscope", "--no-loadscope-reorder"]
    return call([PYTHON, "-m", "pytest", *processes, *rest])


def site(args, rest):
    """Write every lesson as an HTML page whose instruments work with no kernel and no network."""
    set_up(args.cpu, "site")
    return call([PYTHON, "-m", "dynconv.lessons.site", *rest])


def links(args, rest):
    """Stamp the repository's address, owner/name, into pyproject.toml, README, citation and every lesson."""
    if len(rest) != 1 or not re.fullmatch(r"[\w-]+/[\w.-]+", rest[0], re.ASCII):
        sys.exit(
            f"Give the repository as owner/name, for example: python run.py links ada/dynconv (got {' '.join(rest)!r})"
        )
    project = ROOT / "pyproject.toml"
    old = re.search(r'Repository = "https://github.com/([^"]+)"', project.read_text(encoding="utf-8"))[1]
    pages = (ROOT / "README.md", ROOT / "CITATION.cff", *sorted((ROOT / "notebooks").glob("*.ipynb")))
    for path in (
        *pages,
        project,
    ):  # the one that is asked for the old address comes last: an interrupted run is repeated
        text = path.read_text(encoding="utf-8")
        new = re.sub(rf"(github\.com/|/github/){re.escape(old)}(?![\w.-])", rf"\g<1>{rest[0]}", text)
        if new != text:
            path.write_text(new, encoding="utf-8", newline="\n")
            say(f"{path.relative_to(ROOT)}: {old} → {rest[0]}")
    return 0


def set_up(cpu=False, *more):
    """Make .venv hold this checkout, its lessons and `more` extras; do nothing when it does already."""
    extras = {"lessons", *more}
    native = sorted(path for kind in ("cpp", "h") for path in (ROOT / "dynconv" / "native").glob(f"*.{kind}"))
    sources = {"pyproject": [ROOT / "pyproject.toml"], "native": native}
    wanted = {
        name: hashlib.sha256(b"".join(p.read_bytes() for p in paths)).hexdigest() for name, paths in sources.items()
    }
    wanted["root"] = str(ROOT)
    done = read_stamp()
    installed = done.pop("extras", [])
    if done == wanted and extras <= set(installed) and PYTHON.exists():
        if cpu:
            say(f"--cpu: {VENV.name} is set up already; delete that folder first to change its torch.")
        return
    if not has_pip():
        say(f"Creating {VENV.name} with Python {sys.version.split()[0]} …")
        try:
            venv.create(VENV, with_pip=True, clear=True)
        except subprocess.CalledProcessError:
            sys.exit(
                "This Python cannot make environments with pip. On Debian or Ubuntu: sudo apt-get install python3-venv"
            )
    STAMP.unlink(missing_ok=True)  # an interrupted set-up is repeated
    if cpu:
        install_cpu_torch()
    extras = sorted(extras | set(installed if done == wanted else ()))
    pip(
        "Installing PyTorch, JupyterLab and the lessons" + " and the test tools" * ("test" in extras),
        "-e",
        f".[{','.join(extras)}]",
    )
    quiet_jupyterlab()
    say("Building the C++ part, where there is a compiler …")
    call([PYTHON, "-m", "dynconv.native"])  # says whether it could; without it everything works, some layers slower
    STAMP.write_text(json.dumps({**wanted, "extras": extras}), encoding="utf-8")


def has_pip():
    """Whether .venv works at all: a set-up can have been interrupted at any moment."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return PYTHON.exists() and subprocess.call([str(PYTHON), "-m", "pip", "--version"], **quiet) == 0


def install_cpu_torch():
    if not sys.platform.startswith("linux"):
        say("--cpu: on this system the usual torch is already the small one.")
        return
    pip("Fetching uv, which knows where PyTorch keeps its CPU-only builds", "uv")
    say("Installing the CPU-only torch …")
    uv = [PYTHON, "-m", "uv", "pip", "install", "--python", PYTHON, "--torch-backend=cpu", "torch", "torchvision"]
    failed = subprocess.call([str(c) for c in uv])
    proof = "import sys, torch, torchvision; sys.exit(torch.version.cuda is not None)"
    if failed or subprocess.call([str(PYTHON), "-c", proof], stderr=subprocess.DEVNULL):
        sys.exit(
            "No working CPU-only torch could be had (the lines above say why).\n"
            f"Delete {VENV.name} and run the command again without --cpu to install the usual build, about 5 GB on Linux."
        )


def pip(what, *arguments):
    """Run pip install with one moving progress line; its full output goes to the log."""
    start, shown = time.time(), 0.0
    command = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off", *arguments]
    with LOG.open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [str(c) for c in command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        say(f"{what} (a few minutes the first time) …")
        for line in process.stdout:
            log.write(line)
            step = " ".join(line.split()[:2])
            if sys.stdout.isatty():
                print(f"\r  {time.time() - start:4.0f} s  {step[:60]:60}", end="", flush=True)
            elif time.time() - shown > 20 and step.startswith(("Collecting", "Downloading", "Installing")):
                shown = time.time()
                print(f"  {shown - start:4.0f} s  {step}", flush=True)
    ok = process.wait() == 0
    print("\r" * sys.stdout.isatty() + f"  {time.time() - start:4.0f} s  {'done' if ok else 'failed':60}", flush=True)
    if not ok:
        tail = "".join(LOG.read_text(encoding="utf-8").splitlines(keepends=True)[-15:])
        sys.exit(f"{tail}\nInstallation failed; the whole log is {LOG}.")


def quiet_jupyterlab():
    """Switch off JupyterLab's news question: the lessons need no network and no pop-up."""
    settings = VENV / "share" / "jupyter" / "lab" / "settings"
    settings.mkdir(parents=True, exist_ok=True)
    overrides = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    (settings / "overrides.json").write_text(json.dumps(overrides, indent=2), encoding="utf-8")


def read_stamp():
    try:
        return json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def call(command):
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    env["JUPYTER_PREFER_ENV_PATH"] = "1"  # this .venv's kernel, not one installed for the user
    try:
        return subprocess.call([str(c) for c in command], cwd=ROOT, env=env)
    except KeyboardInterrupt:
        return 130


def say(message):
    print(message, flush=True)


if __name__ == "__main__":
    sys.exit(main())
