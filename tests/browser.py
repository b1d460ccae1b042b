"""A browser for tests: Debian's Chromium without a window, used as a person does, by the DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from websockets.sync.client import ClientConnection, connect

from tests.waiting import PATIENCE_SECONDS, until

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser")
OPTIONS = (
    "--headless",
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    # Whatever a page asks for by a name is not found: this machine is all there is.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
KEYS = {"Enter": 13, "Tab": 9, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, " ": 32}

Theme = Literal["light", "dark"]
DESKTOP, PHONE = (1280, 900), (390, 844)


class Browser:
    """One process of Chromium, and the connection that it is told by.

    Args:
        home: a folder for what it writes.
        microphone: a WAV that it hears, over and over.
    """

    def __init__(self, home: Path, microphone: Path | None = None) -> None:
        beside = Path(sys.executable).parent
        found = [each for name in NAMES for each in (shutil.which(name), shutil.which(name, path=str(beside))) if each]
        assert found, "the tests need chromium-headless-shell: .ci/install-tools"
        heard = [] if microphone is None else [f"--use-file-for-fake-audio-capture={microphone}"]
        profile = f"--user-data-dir={home / 'profile'}"
        self._log = home / "browser.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [found[0], *OPTIONS, *heard, profile, "about:blank"],
                env={**os.environ, "HOME": str(home)},
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,  # Debian's command is a shell around the program
            )
        # All that is to be undone at the end, the last first.
        self._ends = contextlib.ExitStack()
        self._ends.callback(self._kill)
        until(self._address, "the browser's address")
        address = self._address()
        assert address is not None
        opened = connect(address, max_size=None, compression=None)
        self._connection: ClientConnection = self._ends.enter_context(opened)
        self._last_id = 0
        self._pages: dict[str, Page] = {}

    def _address(self) -> str | None:
        assert self._process.poll() is None, self._log.read_text(errors="replace")
        found = re.search(r"DevTools listening on (ws://\S+)", self._log.read_text(errors="replace"))
        return found and found[1]

    def tell(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Have a command of the protocol done; what comes of it."""
        self._last_id += 1
        own = self._last_id
        message = {"id": own, "method": method, "params": parameters}
        self._connection.send(json.dumps({**message, "sessionId": session} if session else message))
        while True:
            answer = json.loads(self._connection.recv(PATIENCE_SECONDS))
            if answer.get("id") == own:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            if (page := self._pages.get(answer.get("sessionId", ""))) is not None:
                page.hear(answer["method"], answer["params"])

    def new_page(self, root: str) -> Page:
        """A page of somebody who was never here; ``root`` is all that it may ask."""
        context = self.tell("Target.createBrowserContext", disposeOnDetach=True)["browserContextId"]
        target = self.tell("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, root, context)
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.tell(f"{domain}.enable", session)
        return page

    def close(self) -> None:
        """End it, and all that it has started."""
        self._ends.close()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Page:
    """A tab.

    Attributes:
        foreign: addresses of other servers that it asked for.
        faults: errors of its scripts, and what its Content-Security-Policy kept it from.
    """

    def __init__(self, browser: Browser, session: str, root: str, context: str) -> None:
        self._browser, self._session, self._root, self._context = browser, session, root, context
        self._size: tuple[int, int] = DESKTOP
        self._theme: Theme = "light"
        self.foreign: list[str] = []
        self.faults: list[str] = []

    def hear(self, event: str, told: dict[str, Any]) -> None:
        """Take note of an event."""
        if event in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            url = told["url"] if "url" in told else told["request"]["url"]
            parts = urlsplit(url)
            if parts.scheme not in ("data", "blob") and parts.netloc != urlsplit(self._root).netloc:
                self.foreign.append(url)
        elif event == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.faults.append(details.get("exception", {}).get("description") or details["text"])
        elif event == "Log.entryAdded" and told["entry"]["level"] == "error" and told["entry"]["source"] != "network":
            self.faults.append(told["entry"]["text"])

    def close(self) -> None:
        """Leave it, and forget whoever it was of."""
        self._browser.tell("Target.disposeBrowserContext", browserContextId=self._context)

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Have a command done in this tab."""
        if method.startswith("Browser."):
            return self._browser.tell(method, browserContextId=self._context, **parameters)
        return self._browser.tell(method, self._session, **parameters)

    def look(self, size: tuple[int, int], theme: Theme = "light") -> None:
        """Be so large, and in the light or dark that its person's system has."""
        self._size, self._theme = size, theme
        is_phone = size[0] < 600
        self.tell(
            "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=is_phone
        )
        self.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])

    def go(self, path: str) -> None:
        """Go to a path of the server."""
        self.tell("Page.navigate", url=f"{self._root}{path}")
        self.until("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """What an expression comes to; a promise is awaited."""
        made = self.tell("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in made, made["exceptionDetails"]
        return made["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression is true."""
        self._wait(lambda: self.run(f"Boolean({condition})"), condition)

    def until_shown(self, text: str) -> None:
        """Wait until a text is somewhere on the page."""
        self._wait(lambda: text in self.text(), repr(text))

    def _wait(self, is_so: Callable[[], object], what: str) -> None:
        try:
            until(is_so, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; the page has {self.faults} and\n{self.text()}") from None

    def text(self, selector: str = "body") -> str:
        """The text that is seen of an element."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def until_there(self, selector: str) -> None:
        """Wait until an element is there, and can be used."""
        self.until(f"(() => {{ const e = {_found(selector)}; return e && !e.disabled && e.offsetParent; }})()")

    def click(self, selector: str) -> None:
        """Click an element where it is seen: by its text (``text=Play``), or by CSS."""
        self.until_there(selector)
        place = self.run(
            f"(() => {{ const e = {_found(selector)}; e.scrollIntoView({{block: 'center'}});"
            "const b = e.getClientRects()[0]; return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        self.drag([(place[0], place[1])])

    def drag(self, places: list[tuple[float, float]]) -> None:
        """Press the pointer at the first place, move it along the others, and let go."""
        moves = [("Moved", each) for each in places[1:]]
        for kind, (x, y) in [("Pressed", places[0]), *moves, ("Released", places[-1])]:
            self.tell("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, button="left", buttons=1, clickCount=1)

    def hover(self, x: float, y: float) -> None:
        """Move the pointer there."""
        self.tell("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key: str, times: int = 1) -> None:
        """Press a key of the keyboard."""
        told = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"Enter": "\r", " ": " "}.get(key)
        for _ in range(times):
            self.tell("Input.dispatchKeyEvent", type="keyDown", **told, **({"text": text} if text else {}))
            self.tell("Input.dispatchKeyEvent", type="keyUp", **told)

    def type(self, selector: str, text: str) -> None:
        """Put a text in the place of what a field has."""
        self.until_there(selector)
        self.run(f"{_found(selector)}.focus(), {_found(selector)}.select?.()")
        self.tell("Input.insertText", text=text)

    def choose(self, selector: str, value: str) -> None:
        """Choose among the options of a field."""
        self.until_there(selector)
        self.run(
            f"(() => {{ const e = {_found(selector)}; e.value = {json.dumps(value)};"
            "for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind, {bubbles: true})); })()"
        )

    def give_file(self, selector: str, path: Path) -> None:
        """Choose a file in a field for files."""
        self.tell("DOM.enable")
        root = self.tell("DOM.getDocument")["root"]["nodeId"]
        node = self.tell("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.tell("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Draw what is seen into a PNG; ``whole``: down to the end of the page."""
        width, height = self._size
        if whole:  # what is fixed to the edge of the screen stays there
            tall = self.run("document.documentElement.scrollHeight")
            self.look((width, max(height, tall)), self._theme)
        drawn = self.tell("Page.captureScreenshot")
        if whole:
            self.look((width, height), self._theme)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(drawn["data"]))


def _found(selector: str) -> str:
    """What finds an element: ``text=Play`` the button, link or summary with that text, else CSS."""
    if selector.startswith("text="):
        text = json.dumps(selector.removeprefix("text="))
        which = f"(e) => e.offsetParent && e.textContent.trim() === {text}"
        return f"[...document.querySelectorAll('button, a, summary')].find({which})"
    if selector.startswith("label="):
        text = json.dumps(selector.removeprefix("label="))
        which = f"(e) => e.offsetParent && e.firstChild.textContent === {text}"
        found = f"[...document.querySelectorAll('.field')].find({which})"
        return f"{found}?.querySelector('input, select, textarea')"
    return f"document.querySelector({json.dumps(selector)})"


@contextlib.contextmanager
def running_browser(home: Path, microphone: Path | None = None) -> Iterator[Browser]:
    """A browser for the length of a test."""
    browser = Browser(home, microphone)
    try:
        yield browser
    finally:
        browser.close()
