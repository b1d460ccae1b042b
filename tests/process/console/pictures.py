"""``python -m tests.process.console.pictures`` takes the pictures of the console that README and docs show."""

from __future__ import annotations

import base64
import io
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from ostinato.client.client import Client
from tests.browser import Page, running_browser
from tests.server import CHECKOUT, ServerProcess, running_server

EXAMPLES, IMAGES = CHECKOUT / "examples", CHECKOUT / "docs" / "images"
PICTURE_WIDTH = 1600
"""Pixels, for pages that are shown half as wide; the console's own are fewer, so that its words are legible there."""
NUM_COLOURS = 128
STATIONS = ("station-north", "station-east", "station-west")
SECONDS_BETWEEN_STEPS, SECONDS_OF_CHARTS = 0.1, 45.0


def main() -> None:
    """Serve the releases of the examples, step some sessions, and take the pictures."""
    with tempfile.TemporaryDirectory(prefix="ostinato-pictures-") as folder:
        home = Path(folder)
        for example in ("beijing_pm25", "cmudict"):
            shutil.copytree(EXAMPLES / example / "repository", home / "repository", dirs_exist_ok=True)
        with (
            running_server(home / "repository", home, state=f"lmdb://{home}/state") as server,
            stepped(server),
            running_browser(home) as browser,
        ):
            page = browser.new_page(server.url)
            page.look((1060, 900))
            page.go("/console#/")
            page.until_shown(STATIONS[0])
            page.until(f"performance.now() > {1000 * SECONDS_OF_CHARTS}")
            take(page, "console-overview", width=1060)
            page.go("/console#/stream/beijing-seq2seq")
            page.until_there("text=Play")
            page.choose("label=Speed", "Infinity")
            page.click("text=Play")
            page.until_shown("of 1,008, the end")
            page.until("document.querySelector('.chart .uplot')")
            take(page, "console-stream", width=1000)


@contextmanager
def stepped(server: ServerProcess) -> Iterator[None]:
    """Sessions that are stepped from time to time, so that charts have lines."""
    has_ended = threading.Event()

    def step() -> None:
        with Client(server.url) as client:
            sessions = [client.session("beijing-seq2seq", session_id=name) for name in STATIONS]
            while not has_ended.wait(SECONDS_BETWEEN_STEPS):
                for session in sessions:
                    session.step([[63, -14, 5, 1019, 0, 1.79, 0, 0, 17]])

    thread = threading.Thread(target=step)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()


def take(page: Page, name: str, width: int) -> None:
    """Draw the whole page into a picture of few colours, which is a third as large."""
    page.run("document.activeElement.blur(), scrollTo(0, 0)")
    page.look((width, 900))
    last = "[...document.querySelectorAll('main .panel, main .tiles')]"
    height = page.run(f"Math.ceil(Math.max(...{last}.map((e) => e.getBoundingClientRect().bottom)) + 16)")
    metrics = {"width": width, "deviceScaleFactor": PICTURE_WIDTH / width, "mobile": False}
    page.tell("Emulation.setDeviceMetricsOverride", height=height, **metrics)
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    drawn = base64.b64decode(page.tell("Page.captureScreenshot")["data"])
    with Image.open(io.BytesIO(drawn)) as image:
        few = image.convert("RGB").quantize(NUM_COLOURS, dither=Image.Dither.NONE)
        few.save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
