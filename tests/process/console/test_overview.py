"""The console's first view, its key and its shell, in a real browser and over a real server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser import Page
from tests.process.console.conftest import BROKEN, SECRETS
from tests.server import ServerProcess
from tests.waiting import until

pytestmark = pytest.mark.xdist_group("console")

Shoot = Callable[[Page, str], None]


def open_some(server: ServerProcess) -> None:
    """Sessions of two tenants."""
    for key, name in (("all", "pump-7"), ("acme", "gauge-1")):
        headers = {"Authorization": f"Bearer {SECRETS[key]}"}
        opened = {"session_id": name, "ttl_seconds": 0}
        assert (
            server.request("POST", "/v1/models/accumulator/sessions", json=opened, headers=headers).status_code == 201
        )


def has_charts_after_a_step(page: Page, server: ServerProcess) -> bool:
    """Whether the charts have a few points; until then there is always a step to be drawn."""
    headers = {"Authorization": f"Bearer {SECRETS['acme']}"}
    server.request("POST", "/v1/sessions/gauge-1/step", json={"inputs": [[2.0]]}, headers=headers)
    pulse = "import(new URL('console/pulse.js', document.baseURI))"
    return bool(page.run(f"{pulse}.then(({{history}}) => history.at.length > 3)"))


def test_the_first_view_says_what_runs_whether_it_is_well_and_where_to_go(
    page: Page, server: ServerProcess, shoot: Shoot
) -> None:
    page.go("/console")
    page.until_shown("Ready")
    page.until_shown("5 models are served: accumulator, beijing-seq2seq, captioner, g2p, vad.")
    page.until_shown("Not served: broken/1")
    page.until_shown(BROKEN)
    page.until_shown("within 0.000031 of its network over 8 batch sizes, 8 lengths, 12 cuts")
    open_some(server)
    page.until_shown("gauge-1")  # an administrator sees all tenants' sessions
    until(lambda: has_charts_after_a_step(page, server), "a few scrapes")
    page.until_shown("99 of 100 under")
    titles = ("Steps a second", "Where time goes", "Rows of an iteration")
    assert [title for title in titles if title not in page.text()] == []
    page.until("document.querySelectorAll('.uplot canvas').length === 4")
    page.until("[...document.querySelectorAll('.tile')].every((tile) => !tile.innerText.includes('\\u2013'))")
    shoot(page, "overview")
    page.click("text=Stream an example through a model")
    page.until_there("text=Play")


def test_a_key_is_asked_for_said_to_be_wrong_and_kept_in_the_tab_alone(
    new_page: Callable[..., Page], shoot: Shoot
) -> None:
    page = new_page("")
    page.go("/console")
    page.until("document.querySelector('dialog[open]')")
    assert "This server asks for a key" in page.text("dialog[open]")
    assert "accumulator" not in page.text(), "nothing is told without one"
    shoot(page, "key")
    page.type("dialog[open] input", "ostinato_wrong")
    page.press("Enter")
    page.until("document.querySelector('dialog[open]')?.innerText.includes('not one of this server')")
    page.type("dialog[open] input", SECRETS["acme"])
    page.press("Enter")
    page.until_shown("5 models are served")
    page.until_shown("These figures need a key with the right “metrics”")
    assert page.run("JSON.stringify(Object.keys(localStorage)) + document.cookie") == "[]"
    assert page.run("sessionStorage.length") == 1
    assert SECRETS["acme"] not in page.run("document.documentElement.outerHTML")
    page.click("#key")
    page.click("[value=forget]")
    page.until("document.querySelector('dialog[open]') && sessionStorage.length === 0")
    page.press("Escape")
    page.until("!document.querySelector('dialog[open]')")


def test_the_keyboard_reaches_everything(page: Page) -> None:
    page.go("/console")
    page.until_shown("Ready")
    focused = "document.activeElement.textContent.trim()"
    page.press("Tab")
    assert page.run(focused) == "Skip to the content"
    page.press("Enter")
    assert page.run("document.activeElement.id") == "main"
    page.press("Tab")
    assert page.run(focused) == "Stream an example through a model"
    page.press("Enter")
    page.until_there("text=Play")
    assert page.run("document.activeElement.id") == "main", "what is read next is the view"
    page.run("document.querySelector('nav a[href=\"#/generate\"]').focus()")
    page.press("Enter")
    page.until_there("text=Write")
    assert page.run("document.title") == "Generate · Ostinato"


def test_light_and_dark_are_the_system_s_until_one_is_chosen(page: Page) -> None:
    page.look((1280, 900), "dark")
    page.go("/console")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.run(ground)
    page.click("#theme")
    assert page.run(ground) != dark
    page.go("/console?again")
    assert page.run(ground) != dark, "it is remembered"
