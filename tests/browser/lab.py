"""A real JupyterLab and a real Chromium, as the browser tests drive them."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from dynconv.lessons.site.execute import WIDGET

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge", "microsoft-edge")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
CHROMIUM_FLAGS = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def find_chromium() -> str | None:
    """A Chromium-family browser of this machine; the variable CHROMIUM names another one."""
    candidates = [os.environ.get("CHROMIUM"), *map(shutil.which, NAMES), *PLACES]
    return next((path for path in candidates if path and Path(path).exists()), None)


class Lab:
    """JupyterLab on loopback, with a token, over a copy of the lessons: autosave must not touch the originals."""

    def __init__(self, folder: Path, theme: str = "JupyterLab Light") -> None:
        self.served, self.port, self.token = folder / "served", free_port(), secrets.token_hex(16)
        shutil.copytree(ROOT / "notebooks", self.served / "notebooks")
        settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": theme}))
        quiet = {"fetchNews": "false", "checkForUpdates": False}
        (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
        private = {f"JUPYTER_{n}_DIR": str(folder / n.lower()) for n in ("CONFIG", "DATA", "RUNTIME")}
        private |= {
            "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "ws"),
        }
        private |= {"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_PREFER_ENV_PATH": "1"}
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1"]
        command += [f"--ServerApp.port={self.port}", f"--IdentityProvider.token={self.token}"]
        command += [
            f"--ServerApp.root_dir={self.served}",
            "--LabApp.expose_app_in_browser=True",
            "--LabApp.news_url=None",
        ]
        command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
        command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        self.log_path = folder / "lab.log"
        self.log = self.log_path.open("wb")
        self.process = subprocess.Popen(
            command, env={**os.environ, **private}, stdout=self.log, stderr=subprocess.STDOUT
        )
        self._wait()

    def _wait(self, seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/status?token={self.token}", timeout=2).close()
                return
            except OSError:
                time.sleep(0.2)
        self.close()
        raise RuntimeError(f"JupyterLab did not start:\n{self.log_path.read_text(errors='replace')[-3000:]}")

    def url(self, lesson: str) -> str:
        return f"http://127.0.0.1:{self.port}/lab/tree/notebooks/{lesson}?reset&token={self.token}"

    def close(self) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/shutdown",
            method="POST",
            headers={"Authorization": f"token {self.token}"},
        )
        try:  # ask first: the kernels stop with the server
            urllib.request.urlopen(request, timeout=5).close()
            self.process.wait(15)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.log.close()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# fingerprint of everything an instrument shows: canvas pixels, bars, curves and the numbers beside them; not the sentence, not
# the controls, which change with any move, and not whether results are out of sight; after two frames, so that what an event asked
# for is drawn, and when what is computed elsewhere has arrived
FINGERPRINT = """async root => {
  const frame = () => new Promise(requestAnimationFrame);
  await frame();
  do await frame(); while (root.getAttribute('aria-busy') === 'true');
  let h = 17;
  const add = (v) => { h = (Math.imul(h, 31) + v) | 0; };
  for (const c of root.querySelectorAll('canvas')) {
    const d = new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer);
    for (let i = 0; i < d.length; i++) add(d[i]);
  }
  const copy = root.cloneNode(true);
  copy.querySelectorAll('.dc-summary, .dc-slider, .dc-buttons, .dc-link, .dc-glance, select').forEach((e) => e.remove());
  for (const sign of copy.innerHTML.replaceAll(' style=""', '').replaceAll(' class=""', '')) add(sign.codePointAt(0));
  return h;
}"""


# bets and the table of progress have nothing to move, and tests of their own
MOVING = ".dynconv:not(.dc-bet-card, .dc-progress-card)"


# until a cell has stood in one place, as high as before, for eight frames
STILL = """cell => new Promise((done) => {
  const place = () => { const box = cell.getBoundingClientRect(); return cell.isConnected && `${box.top} ${box.height}`; };
  let [before, frames] = [null, 0];
  const look = () => {
    const now = place();
    frames = now && now === before ? frames + 1 : 0;
    before = now;
    if (frames < 8) requestAnimationFrame(look);
    else done();
  };
  look();
})"""


class Lesson:
    """One lesson open in JupyterLab in one page."""

    def __init__(self, browser, lab: Lab, name: str, viewport=(1300, 1200)) -> None:
        self.name = name
        # what eases is there at once, and wires do not run: a test looks at where things arrive
        size = {"width": viewport[0], "height": viewport[1]}
        self.context = browser.new_context(viewport=size, reduced_motion="reduce")
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.errors.append(f"page error: {e}"))
        self.page.goto(lab.url(name), wait_until="domcontentloaded")
        self.page.wait_for_function(
            "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
            timeout=90_000,
            polling=200,
        )

    def run_all(self, seconds: float = 180) -> None:
        """Run all cells; raise with the first error a cell shows."""
        self.page.evaluate("""() => { window.__ran = null; window.jupyterapp.commands.execute('notebook:run-all-cells')
            .then(() => { window.__ran = 'ok'; }, (e) => { window.__ran = String(e); }); }""")
        # looking every frame would keep a core busy with frames
        self.page.wait_for_function("window.__ran !== null", timeout=seconds * 1000, polling=200)
        failed = self.page.evaluate("""() => window.jupyterapp.shell.currentWidget.content.widgets
            .filter((c) => c.model.type === 'code')
            .flatMap((c) => c.model.outputs.toJSON().filter((o) => o.output_type === 'error').map((o) => `${o.ename}: ${o.evalue}`)
              .concat(c.model.executionCount === null ? ['not run: ' + c.model.sharedModel.source.slice(0, 80)] : []))""")
        assert not failed, f"{self.name}: {failed}"

    def instruments(self):
        """The lesson's instruments, top to bottom; each is scrolled to first, for JupyterLab draws only what is in view."""
        cells = self.page.evaluate(
            """(mime) => window.jupyterapp.shell.currentWidget.content.widgets.map((c, i) =>
            c.model.type === 'code' && c.model.outputs.toJSON().some((o) => o.data && mime in o.data) ? i : -1)
            .filter((i) => i >= 0)""",
            WIDGET,
        )
        for index in cells:
            self.page.evaluate("(i) => window.jupyterapp.shell.currentWidget.content.scrollToItem(i, 'start')", index)
            cell = self.page.locator(f'.jp-Cell[data-windowed-list-index="{index}"]')
            cell.evaluate(STILL)
            here = cell.locator(MOVING)
            for i in range(here.count()):
                yield here.nth(i)

    def fingerprint(self, instrument) -> int:
        return instrument.evaluate(FINGERPRINT)

    def kernel(self, code: str) -> str:
        """What the lesson's kernel prints for ``code``."""
        return self.page.evaluate(
            """async (code) => { const k = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const f = k.requestExecute({code, store_history: false}); let s = '';
            f.onIOPub = (m) => { if (m.header.msg_type === 'stream') s += m.content.text;
              if (m.header.msg_type === 'error') s += 'ERROR ' + m.content.evalue; };
            await f.done; return s; }""",
            code,
        )

    def close(self) -> None:
        self.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")  # the kernel, too
        self.context.close()
