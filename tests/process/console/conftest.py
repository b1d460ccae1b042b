"""One server with keys and one browser for all tests of the console; pictures of what is seen are in build/console."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.service.access.key import Key, Right, digest_of, new_secret
from ostinato.service.access.key_file import add_key
from tests.browser import DESKTOP, PHONE, Browser, Page, running_browser
from tests.conftest import PutNetworks
from tests.networks import accumulator
from tests.server import CHECKOUT, ServerProcess, running_server
from tests.silero import write_detector

EXAMPLES = CHECKOUT / "examples"
PICTURES = CHECKOUT / "build" / "console"
AXE = CHECKOUT / "tests" / "vendor" / "axe-core-4.14.1.js"
BROKEN = "model.json: name: Field required"

SECRETS = {name: new_secret() for name in ("all", "acme", "stepper")}
RIGHTS = {"all": ("", set(Right)), "acme": ("acme", {Right.STEP, Right.READ}), "stepper": ("acme", {Right.STEP})}


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory, put_networks: PutNetworks) -> Path:
    """Trained forecasts in two versions, spelling to phonemes, speech, captions, a running total; and a broken one."""
    folder = tmp_path_factory.mktemp("repository")
    for example in ("beijing_pm25", "cmudict"):
        shutil.copytree(EXAMPLES / example / "repository", folder, dirs_exist_ok=True)
    shutil.copytree(folder / "beijing-seq2seq" / "1", folder / "beijing-seq2seq" / "2")
    manifest = folder / "beijing-seq2seq" / "2" / "model.json"
    manifest.write_text(manifest.read_text().replace('"version": "1"', '"version": "2"'))
    write_detector(folder)
    accumulator().write(folder, np.arange(6, dtype=np.float32).reshape(2, 3, 1))
    from tests.generation_networks import export_captioner

    put_networks(folder, export_captioner)
    (folder / "broken" / "1").mkdir(parents=True)
    (folder / "broken" / "1" / "model.json").write_text("{}")
    return folder


@pytest.fixture(scope="session")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    home = tmp_path_factory.mktemp("server")
    keys = home / "keys.txt"
    for name, (tenant, rights) in RIGHTS.items():
        add_key(keys, Key(name, tenant, frozenset(rights), digest_of(SECRETS[name].encode())))
    with running_server(repository, home, keys=keys, state=f"lmdb://{home}/state") as running:
        yield running


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    heard = EXAMPLES / "voice_activity" / "go_forward.wav"
    with running_browser(tmp_path_factory.mktemp("browser"), heard) as running:
        yield running


@pytest.fixture
def new_page(browser: Browser, server: ServerProcess) -> Iterator[Callable[..., Page]]:
    """Makes pages of somebody new, who has a key or none. None of them may ask another server, or have an error."""
    pages: list[Page] = []

    def new(key: str = "all") -> Page:
        page = browser.new_page(server.url)
        page.look(DESKTOP)
        if key:
            stored = f"sessionStorage.setItem('ostinato-key', {json.dumps(SECRETS[key])})"
            page.tell("Page.addScriptToEvaluateOnNewDocument", source=stored)
        pages.append(page)
        return page

    yield new
    for page in pages:
        page.run("0")  # so that all that happened until now is heard
        assert (page.foreign, page.faults) == ([], [])
        page.close()


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    """A page of somebody whose key may do everything."""
    return new_page()


@pytest.fixture(scope="session")
def shoot() -> Callable[[Page, str], None]:
    """Draws what is seen, at a desk and on a phone, in light and dark, and holds it to the rules of accessibility."""
    rules = AXE.read_text(encoding="utf-8")

    def draw(page: Page, name: str) -> None:
        if not page.run("typeof axe === 'object'"):
            page.run(f"{rules};0")
        for size, what in ((DESKTOP, "desktop"), (PHONE, "phone")):
            for theme in ("light", "dark"):
                page.look(size, theme)
                page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
                assert page.run("document.documentElement.scrollWidth") <= size[0], f"{name} is wider than a {what}"
                # Colours differ by theme, and what lies where by size.
                if (what, theme) in (("desktop", "light"), ("phone", "dark")):
                    assert serious(page) == [], f"{name}, {what}, {theme}"
                page.picture(PICTURES / f"{name}-{what}-{theme}.png")
        page.look(DESKTOP)

    return draw


def serious(page: Page) -> list[Any]:
    """What axe finds that is serious, or worse."""
    found = page.run(
        "axe.run(document, {resultTypes: ['violations']}).then(({violations, passes}) => [passes.length, violations"
        ".map(({id, impact, nodes}) => [id, impact, nodes.map(({html}) => html.slice(0, 200))])])"
    )
    num_passed, violations = found
    assert num_passed > 10, "axe has looked"
    return [each for each in violations if each[1] in ("serious", "critical")]
