"""Generation in the console: symbols as they are made, beams, attention that answers the keyboard, a drawn picture."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser import Page
from tests.process.console.conftest import SECRETS
from tests.server import ServerProcess

pytestmark = pytest.mark.xdist_group("console")

HEADERS = {"Authorization": f"Bearer {SECRETS['all']}"}
Shoot = Callable[[Page, str], None]


def box_of(page: Page, selector: str) -> list[float]:
    """Where an element is: left, top, width, height."""
    get = f"const b = document.querySelector('{selector}').getBoundingClientRect()"
    return list(page.run(f"(() => {{ {get}; return [b.x, b.y, b.width, b.height]; }})()"))


def test_a_word_is_spoken_symbol_by_symbol_and_each_says_what_it_looked_at(
    page: Page, server: ServerProcess, shoot: Shoot
) -> None:
    page.go("/console#/generate/g2p")
    page.type("label=A word or text", "wrinkles")
    page.press("Enter")
    page.until_shown("What each symbol looked at")
    assert page.text(".made").split() == ["R", "IH", "NG", "K", "AH", "L", "Z"]
    asked = {"inputs": ["wrinkles"], "return_attention": True}
    [weights] = server.request("POST", "/v1/models/g2p/generate", json=asked, headers=HEADERS).json()["attention"]
    page.run("document.querySelector('canvas.heat').focus()")
    page.press("ArrowRight", times=2)
    page.press("ArrowDown")
    page.until_shown(f"IH looks at i by {100 * weights[1][2]:.1f} %")
    place = box_of(page, "canvas.heat")
    page.hover(place[0] + place[2] * 1.5 / 8, place[1] + place[3] * 0.5 / 7)
    page.until_shown(f"R looks at r by {100 * weights[0][1]:.1f} %")
    page.choose("label=How", "beam")
    page.click("text=Write")
    page.until("document.querySelectorAll('tbody tr').length === 4")
    shoot(page, "generate")


def test_a_word_that_the_model_cannot_read_is_said_in_words(page: Page) -> None:
    page.go("/console#/generate/g2p")
    page.type("label=A word or text", "naïve")
    page.press("Enter")
    page.until("document.querySelector('.told.bad')")
    assert "inputs[0]" in page.text(".told.bad")


def test_a_picture_is_drawn_by_hand_and_by_the_keyboard_and_captioned(page: Page, shoot: Shoot) -> None:
    page.go("/console#/generate/captioner")
    page.until_there(".pad")
    page.run("document.querySelector('.pad').scrollIntoView({block: 'center'})")
    box = box_of(page, ".pad")
    page.drag([(box[0] + box[2] * part, box[1] + box[2] * part) for part in (0.1, 0.3, 0.5, 0.7, 0.9)])
    page.run("document.querySelector('.pad').focus()")
    page.press("ArrowLeft", times=4)
    page.press(" ")
    page.click("text=Write")
    page.until_shown("log-probability")
    api = "import(new URL('console/api.js', document.baseURI))"
    [sent] = page.run(f"{api}.then(({{recent}}) => JSON.parse(recent[0].body).inputs)")
    assert [len(sent), len(sent[0]), max(map(max, sent))] == [8, 8, 1]
    assert sent[0][7] == 0 < sent[4][4], "ink is where the pointer was"
    assert sent[4][0] == 1, "and where the keyboard was"
    shoot(page, "picture")
