"""The instruments' modules asked for numbers: by Node where it is, else by the browser."""

import json
import shutil
import subprocess

from dynconv.lessons.views.javascript import bundle
from tests.browser.instruments import in_page

BODY = (
    "const main = (m, d) => {{ {body} }};\nconsole.log(JSON.stringify(main(await import(process.argv[2]), {data})));\n"
)


def evaluate(request, tmp_path, module, body, data):
    """What ``body`` returns, with the exports of ``module`` as ``m`` and ``data`` as ``d``."""
    node = shutil.which("node")
    if node is None:
        return in_page(request.getfixturevalue("chromium"), module, body, data)
    paths = [tmp_path / f"{name}.mjs" for name in ("script", module)]
    paths[0].write_text(BODY.format(body=body, data=json.dumps(data)), encoding="utf-8")
    paths[1].write_text(bundle(module), encoding="utf-8")
    done = subprocess.run([node, paths[0], paths[1].as_uri()], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
