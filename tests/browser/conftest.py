from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from relay import clock
from tests.relay.console.conftest import PASSWORD, furnished_file, world
from tests.relay.console.served import served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

    from tests.relay.console.conftest import World

__all__ = ["furnished_file", "world"]

CHROMIUM = Path("/usr/bin/chromium")
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@dataclass
class Watched:
    """A page with everything that went wrong on it: dialogs, script errors, content that was refused."""

    page: Page
    base: str
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("dialog", self._dialog)
        self.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        self.page.on("console", self._console)

    def _dialog(self, dialog: Any) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _console(self, message: Any) -> None:
        # Content Security Policy violations come as errors
        if message.type in ("error", "warning"):
            self.wrong.append(f"console: {message.text}")

    def open(self, path: str) -> None:
        self.page.goto(self.base + path)

    def log_in(self, role: str) -> None:
        self.open("/login")
        self.page.fill("#name", role)
        self.page.fill("#password", PASSWORD)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(self.base + "/")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def console(world: World, browser: Browser) -> Iterator[Callable[..., Watched]]:
    """Opens the console as a role, in a browser of a kind; the world's clock is the real one."""
    world.now = clock.now()
    contexts = []
    with served(world.app()) as port:

        def open_as(role: str = "", **kind: Any) -> Watched:
            context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | kind))
            context.set_default_timeout(15_000)
            contexts.append(context)
            watched = Watched(context.new_page(), f"http://127.0.0.1:{port}")
            if role:
                watched.log_in(role)
            return watched

        yield open_as
        for context in contexts:
            context.close()
