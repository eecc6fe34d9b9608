"""Find a browser, or say how to get one."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from sprat.errors import BrowserMissingError

#: Names an executable; it goes before all others.
VARIABLE = "SPRAT_BROWSER"
_NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "microsoft-edge-stable",
)
_PLACES = {
    "Darwin": (
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    ),
    "Windows": (
        r"%ProgramFiles%\Google\Chrome\Application\chrome.exe",
        r"%LocalAppData%\Google\Chrome\Application\chrome.exe",
        r"%ProgramFiles(x86)%\Microsoft\Edge\Application\msedge.exe",
    ),
}
_HOW = (
    "Debian or Ubuntu: 'sudo apt-get install chromium'. macOS: 'brew install --cask chromium', or "
    "install Google Chrome. Windows: install Google Chrome, or use Edge. Any system: "
    "'playwright install chromium'. Or name an executable in SPRAT_BROWSER."
)


def find_browser() -> Path:
    """Return the executable of a Chromium, Chrome or Edge.

    Asked in turn: the variable ``SPRAT_BROWSER``, the search path, the usual places of the system,
    Playwright's own download.

    Raises:
        BrowserMissingError: There is none; the message says how to get one.
    """
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise BrowserMissingError(f"there is no program {named!r}.", where=VARIABLE, hint=_HOW)
        return Path(found)
    for name in _NAMES:
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    for place in _PLACES.get(platform.system(), ()):
        path = Path(os.path.expandvars(place))
        if path.is_file():
            return path
    return _downloaded()


def _downloaded() -> Path:
    """Return the Chromium that ``playwright install`` keeps in its cache."""
    caches = {
        "Darwin": Path.home() / "Library/Caches/ms-playwright",
        "Windows": Path(os.path.expandvars(r"%LocalAppData%\ms-playwright")),
    }
    named = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    usual = caches.get(platform.system(), Path.home() / ".cache/ms-playwright")
    cache = Path(named) if named else usual
    patterns = (
        *("chromium-*/*/chrome", "chromium-*/*/chrome.exe"),
        *("chromium-*/*/*.app/*/*/Chromium", "chromium-*/*/*.app/*/*/Google Chrome for Testing"),
    )
    found = [path for pattern in patterns for path in cache.glob(pattern)]
    if not found:
        raise BrowserMissingError("no Chromium, Chrome or Edge was found.", hint=_HOW)
    return max(found, key=lambda path: _revision(path.relative_to(cache).parts[0]))


def _revision(folder: str) -> int:
    number = folder.rpartition("-")[2]
    return int(number) if number.isdigit() else 0
