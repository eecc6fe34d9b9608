"""Find a browser, or say how to get one."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sprat.errors import BrowserMissingError

Kind = Literal["chromium", "firefox", "webkit"]

#: Names an executable; it goes before all others.
VARIABLE = "SPRAT_BROWSER"


@dataclass(frozen=True)
class _Places:
    """Where browsers of one kind are.

    Attributes:
        title: For people.
        names: On the search path.
        paths: Of a system, as ``platform.system()`` calls it.
        downloads: Patterns in the cache of ``playwright install``.
        how: How to get one.
    """

    title: str
    names: tuple[str, ...]
    paths: Mapping[str, tuple[str, ...]]
    downloads: tuple[str, ...]
    how: str


_PLACES: dict[Kind, _Places] = {
    "chromium": _Places(
        "Chromium, Chrome or Edge",
        (
            "chromium",
            "chromium-browser",
            "google-chrome",
            "google-chrome-stable",
            "chrome",
            "microsoft-edge",
            "microsoft-edge-stable",
        ),
        {
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
        },
        (
            *("chromium-*/*/chrome", "chromium-*/*/chrome.exe"),
            *("chromium-*/*/*.app/*/*/Chromium",),
            "chromium-*/*/*.app/*/*/Google Chrome for Testing",
        ),
        "Debian or Ubuntu: 'sudo apt-get install chromium'. macOS: 'brew install --cask chromium', "
        "or install Google Chrome. Windows: install Google Chrome, or use Edge. Any system: "
        "'playwright install chromium'. Or name an executable in SPRAT_BROWSER.",
    ),
    "firefox": _Places(
        "Firefox",
        ("firefox", "firefox-esr"),
        {
            "Darwin": ("/Applications/Firefox.app/Contents/MacOS/firefox",),
            "Windows": (
                r"%ProgramFiles%\Mozilla Firefox\firefox.exe",
                r"%ProgramFiles(x86)%\Mozilla Firefox\firefox.exe",
            ),
        },
        (
            "firefox-*/firefox/firefox",
            "firefox-*/firefox/firefox.exe",
            "firefox-*/firefox/*.app/*/*/firefox",
        ),
        "Debian: 'sudo apt-get install firefox-esr'. macOS: 'brew install --cask firefox'. "
        "Windows: install Firefox. Any system: 'playwright install firefox'. Or name an executable "
        "in SPRAT_BROWSER.",
    ),
    "webkit": _Places(
        "WebKit of Playwright",
        (),
        {},
        ("webkit-*/pw_run.sh", "webkit-*/Playwright.exe"),
        "'playwright install webkit': Playwright drives WebKit in a build of its own only.",
    ),
}


@dataclass(frozen=True)
class Found:
    """A browser.

    Attributes:
        path: Its executable.
        downloaded: Playwright's own build.
    """

    path: Path
    downloaded: bool = False


def find_browser(kind: Kind = "chromium") -> Found:
    """Return the executable of a browser.

    Asked in turn: the variable ``SPRAT_BROWSER``, the search path, the usual places of the system,
    Playwright's own download.

    Args:
        kind: Which; ``chromium`` takes Chrome and Edge as well.

    Returns:
        Where it is.

    Raises:
        BrowserMissingError: There is none; the message says how to get one.
    """
    places = _PLACES[kind]
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise BrowserMissingError(
                f"there is no program {named!r}.", where=VARIABLE, hint=places.how
            )
        return Found(Path(found), _cache() in Path(found).parents)
    for name in places.names:
        found = shutil.which(name)
        if found is not None:
            return Found(Path(found))
    for place in places.paths.get(platform.system(), ()):
        path = Path(os.path.expandvars(place))
        if path.is_file():
            return Found(path)
    return _downloaded(places)


def _cache() -> Path:
    named = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    caches = {
        "Darwin": Path.home() / "Library/Caches/ms-playwright",
        "Windows": Path(os.path.expandvars(r"%LocalAppData%\ms-playwright")),
    }
    usual = caches.get(platform.system(), Path.home() / ".cache/ms-playwright")
    return Path(named) if named else usual


def _downloaded(places: _Places) -> Found:
    """Return the newest browser that ``playwright install`` keeps in its cache."""
    cache = _cache()
    found = [path for pattern in places.downloads for path in cache.glob(pattern)]
    if not found:
        raise BrowserMissingError(f"no {places.title} was found.", hint=places.how)
    newest = max(found, key=lambda path: _revision(path.relative_to(cache).parts[0]))
    return Found(newest, downloaded=True)


def _revision(folder: str) -> int:
    number = folder.rpartition("-")[2]
    return int(number) if number.isdigit() else 0
