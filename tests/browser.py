"""A headless browser that opens a file and returns its document; or node, with less of one."""

import pathlib
import shutil
import subprocess

import pytest


def document(path: pathlib.Path, profile: pathlib.Path, fragment: str = "") -> str:
    """The document of a page after its scripts have run; fails on any message on the console.

    Skips the test where there is no browser.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("neither chromium nor google-chrome is there")
    answer = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            "--allow-file-access-from-files", f"--user-data-dir={profile}",
            "--virtual-time-budget=8000", "--window-size=1700,1000", "--dump-dom",
            path.as_uri() + fragment,
        ],
        capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip
    assert "CONSOLE" not in answer.stderr, answer.stderr
    return answer.stdout


def labels_document(path: pathlib.Path, profile: pathlib.Path, fragment: str = "") -> str:
    """The document of labels.html; without a browser, what its script makes of one in node."""
    node = shutil.which("node")
    if node is None or shutil.which("chromium") or shutil.which("google-chrome"):
        return document(path, profile, fragment)
    command = [node, str(pathlib.Path(__file__).with_name("document.js")), str(path), fragment]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout
