"""A headless browser that opens a file and gives back its document."""

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
