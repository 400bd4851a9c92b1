"""One browser and one JupyterLab for all browser tests; without a browser they are skipped, in CI they fail."""

import os

import pytest

from tests.browser.lab import CHROMIUM_FLAGS, Lab, find_chromium

ADVICE = (
    "no Chromium, Chrome or Edge was found: install one (Debian and Ubuntu: apt-get install chromium; macOS: brew install "
    "--cask chromium; Windows: Edge is there) or name it in the variable CHROMIUM"
)


@pytest.fixture(scope="session")
def chromium():
    path = find_chromium()
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(ADVICE)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # as root (containers) Chromium refuses to start in its own sandbox
        sandbox = not (hasattr(os, "geteuid") and os.geteuid() == 0)
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS, chromium_sandbox=sandbox)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(chromium, tmp_path_factory):
    server = Lab(tmp_path_factory.mktemp("lab"))
    yield server
    server.close()
