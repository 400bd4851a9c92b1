"""The two commands of this project, with nothing but Python:

python run.py lab     open the lessons in JupyterLab (sets everything up the first time)
python run.py test    run every test (same set-up)

and two for those who put it online: site and publish. Authors' commands stand in CONTRIBUTING.md.
Standard library only: this file runs before anything is installed.
"""

# Syntax of Python 3.7 only: an older Python than is needed has to read it to say so
import argparse
import errno
import hashlib
import importlib.util
import json
import os
import re
import runpy
import shutil
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
NEEDED = {"usual": 7.0, "CPU-only": 3.0}  # GB for everything, by which torch comes; on Linux the usual one brings CUDA
STOPPED = 130  # what a command gives back that Ctrl-C ended
# what pip and uv write when they reach nobody
NO_NETWORK = re.compile(r"name resolution|getaddrinfo|resolve|NewConnectionError|unreachable|ConnectTimeout|ProxyError")
# every 20th file of each package, which takes a moment, not seconds
LOOK = """import sys
from importlib.metadata import distributions, version
for name in sys.argv[1:]:
    version(name)
gone = [f for d in distributions() for f in (d.files or [])[::20] if f.suffix == ".py" and not d.locate_file(f).exists()]
sys.exit(f"{gone[0]} and {len(gone) - 1} more are gone" if gone else 0)"""


def main(argv=None):
    if sys.version_info < (3, 10):
        sys.exit(f"dynconv needs Python 3.10 or newer; this is {sys.version.split()[0]} ({sys.executable}).")
    sys.stdout.reconfigure(errors="replace")  # a Windows log file may not know every sign
    parser = argparse.ArgumentParser(
        prog="run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(title="commands", metavar="")
    for name, function in (
        ("lab", lab),
        ("test", test),
        ("site", site),
        ("publish", publish),
    ):
        words = {"help": function.__doc__.splitlines()[0], "description": function.__doc__}
        sub = commands.add_parser(name, **words)
        torch = sub.add_mutually_exclusive_group()
        torch.add_argument(
            "--cpu", dest="torch", action="store_const", const="CPU-only", help="install the small torch"
        )
        torch.add_argument("--gpu", dest="torch", action="store_const", const="usual", help="install torch with CUDA")
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
    return guarded(args.function, args, rest)


def guarded(function, args, rest):
    """Call a command; what goes wrong with the disk or is stopped ends in one sentence, not in a traceback."""
    try:
        return function(args, rest)
    except KeyboardInterrupt:
        sys.exit("\nStopped. Run the same command again: the set-up begins anew where it has to.")
    except OSError as error:
        if error.errno in (
            errno.ENOSPC,
            getattr(errno, "EDQUOT", None),
        ):  # the disk's end, or that of one's share of it
            sys.exit(f"The disk that holds {ROOT} is full ({free_space():.1f} GB free). {MAKE_ROOM}")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            sys.exit(
                f"{error.filename or ROOT} cannot be written to. Copy the repository into a folder of your own and run the "
                "command there."
            )
        raise


def lab(args, rest):
    """Open the lessons in JupyterLab, on this machine only."""
    lessons = sorted((ROOT / "notebooks").glob(f"{args.lesson or ''}*.ipynb"))
    if not lessons:
        names = ", ".join(p.stem for p in sorted((ROOT / "notebooks").glob("*.ipynb")))
        sys.exit(f"No lesson starts with {args.lesson!r}. There are: {names}")
    set_up(args.torch)
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
    set_up(args.torch, "test")
    processes = ["-n", str(min(4, os.cpu_count() or 1)), "--dist", "loadscope", "--no-loadscope-reorder"]
    return call([PYTHON, "-m", "pytest", *processes, *rest])


def site(args, rest):
    """Write every lesson, and the reference, as HTML pages that work with no kernel and no network."""
    set_up(args.torch, "site")
    return call([PYTHON, "-m", "dynconv.lessons.site", *rest])


def publish(args, rest):
    """Stamp the address of the repository (the git remote's, or owner/name) wherever it is shown, and say what is next."""
    sys.argv[1:] = rest
    runpy.run_path(str(ROOT / "dynconv" / "lessons" / "site" / "publish.py"), run_name="__main__")


def set_up(torch=None, *more):
    """Make .venv hold this checkout, its lessons and `more` extras; do nothing when it does already."""
    extras, wanted, done = {"lessons", *more}, wanted_stamp(), read_stamp()
    installed = set(done.pop("extras", []))
    damage = damaged() if done == wanted and extras <= installed else None
    if done == wanted and extras <= installed and not damage:
        if torch:
            say(f"{VENV.name} is set up already; delete that folder first to change its torch.")
        return
    if damage:
        say(f"{VENV.name} is damaged ({damage}): it is made anew.")
    if damage or not has_pip():
        create()
    STAMP.unlink(missing_ok=True)  # an interrupted set-up is repeated
    extras = sorted(extras | (installed if done == wanted else set()))
    install_torch(torch)
    what = "Installing PyTorch, JupyterLab and the lessons" + " and the test tools" * ("test" in extras)
    pip(what, "-e", f".[{','.join(extras)}]")
    quiet_jupyterlab()
    say("Building the C++ part, where there is a compiler …")
    with LOG.open(
        "a", encoding="utf-8"
    ) as log:  # it says whether it could; without it everything works, some layers slower
        if call([PYTHON, "-m", "dynconv.native"], stderr=log) == STOPPED:
            raise KeyboardInterrupt
    STAMP.write_text(json.dumps({**wanted, "extras": extras}), encoding="utf-8")


def wanted_stamp():
    """What .venv was made from: it is made ready again when one of these has changed."""
    native = sorted(path for kind in ("cpp", "h") for path in (ROOT / "dynconv" / "native").glob(f"*.{kind}"))
    sources = {"pyproject": [ROOT / "pyproject.toml"], "native": native}
    sums = {
        name: hashlib.sha256(b"".join(p.read_bytes() for p in paths)).hexdigest() for name, paths in sources.items()
    }
    return {**sums, "root": str(ROOT)}


def create():
    say(f"Creating {VENV.name} with Python {sys.version.split()[0]} …")
    if importlib.util.find_spec("ensurepip") is None:
        sys.exit(
            "This Python cannot make environments with pip. On Debian or Ubuntu: sudo apt-get install python3-venv"
        )
    try:
        venv.create(VENV, with_pip=True, clear=True)
    except subprocess.CalledProcessError as error:
        check_space(0.2)
        said = (error.output or b"").decode(errors="replace").strip().splitlines()[-1:] or [str(error)]
        sys.exit(f"{VENV} could not be made: {said[0]}")


def has_pip():
    """Whether .venv works at all: a set-up can have been interrupted at any moment."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return PYTHON.exists() and subprocess.call([str(PYTHON), "-m", "pip", "--version"], **quiet) == 0


def damaged():
    """What is missing of .venv, in words; None if all is there."""
    if not PYTHON.exists():
        return f"{PYTHON.name} is gone"
    command = [str(PYTHON), "-c", LOOK, "dynconv", "torch", "jupyterlab"]
    done = subprocess.run(command, cwd=VENV, capture_output=True, text=True, errors="replace")
    return (done.stderr.strip().splitlines() or ["its Python does not start"])[-1] if done.returncode else None


def has_torch():
    return subprocess.call([str(PYTHON), "-c", "import torch, torchvision"], stderr=subprocess.DEVNULL) == 0


def has_nvidia():
    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


def install_torch(kind):
    """On Linux without an NVIDIA device the CPU-only torch, where it can be had; pip brings the usual one afterwards."""
    if has_torch():
        return None
    if not sys.platform.startswith("linux"):
        if kind:
            say("On this system there is one torch only.")
        return check_space(NEEDED["CPU-only"])
    if kind == "usual" or (kind is None and has_nvidia()):
        return check_space(NEEDED["usual"])
    check_space(NEEDED["CPU-only"])
    if kind is None:
        say("No NVIDIA device: the CPU-only torch first, a third of the size (--gpu brings the one with CUDA) …")
    pip("Fetching uv, which knows where PyTorch keeps its CPU-only builds", "uv")
    uv = [PYTHON, "-m", "uv", "pip", "install", "--python", PYTHON, "--torch-backend=cpu", "torch", "torchvision"]
    with LOG.open("a", encoding="utf-8") as log:
        failed = subprocess.call([str(c) for c in uv], stdout=log, stderr=log)
    if not failed and has_torch():
        return None
    check_space(0.5)
    if kind == "CPU-only":
        sys.exit(
            f"No working CPU-only torch could be had; {LOG} says why. Delete {VENV.name} and run the command again without "
            "--cpu to install the usual build, about 5 GB on Linux."
        )
    say("The CPU-only torch cannot be had here: the usual one it is.")
    return check_space(NEEDED["usual"])


MAKE_ROOM = "Free some, or copy the repository to a larger disk, and run the command again."


def free_space():
    return shutil.disk_usage(ROOT).free / 1e9


def check_space(needed):
    """Say so before, not after, the disk is full."""
    if free_space() < needed:
        sys.exit(
            f"This needs about {needed:g} GB on the disk that holds {ROOT}; {free_space():.1f} GB are free. {MAKE_ROOM}"
        )


def pip(what, *arguments):
    """Run pip install with one moving progress line; its full output goes to the log."""
    start, shown = time.time(), 0.0
    command = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off", *arguments]
    say(f"{what} (a few minutes the first time) …")
    options = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    with LOG.open("a", encoding="utf-8") as log, subprocess.Popen([str(c) for c in command], **options) as process:
        for line in process.stdout:
            log.write(line)
            step = " ".join(line.split()[:2])
            if sys.stdout.isatty():
                print(f"\r  {time.time() - start:4.0f} s  {step[:60]:60}", end="", flush=True)
            elif time.time() - shown > 20 and step.startswith(("Collecting", "Downloading", "Installing")):
                shown = time.time()
                print(f"  {shown - start:4.0f} s  {step}", flush=True)
    ok = process.returncode == 0
    print("\r" * sys.stdout.isatty() + f"  {time.time() - start:4.0f} s  {'done' if ok else 'failed':60}", flush=True)
    if not ok:
        lines = LOG.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        check_space(0.5)
        if NO_NETWORK.search("".join(lines[-60:])):
            sys.exit(
                f"The package index cannot be reached: is there a network? Run the command again when there is ({LOG})."
            )
        sys.exit(f"{''.join(lines[-15:])}\nInstallation failed; the whole log is {LOG}.")


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


def call(command, **options):
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    env["JUPYTER_PREFER_ENV_PATH"] = "1"  # this .venv's kernel, not one installed for the user
    try:
        return subprocess.call([str(c) for c in command], cwd=ROOT, env=env, **options)
    except KeyboardInterrupt:
        return STOPPED


def say(message):
    print(message, flush=True)


if __name__ == "__main__":
    sys.exit(main())
