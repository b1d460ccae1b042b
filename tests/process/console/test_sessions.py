"""Sessions in the console: one from near, its state over time, what can be done with it; requests with their code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Page
from tests.process.console.conftest import SECRETS
from tests.server import CHECKOUT, ServerProcess
from tests.waiting import until

pytestmark = pytest.mark.xdist_group("console")

Shoot = Callable[[Page, str], None]
HEADERS = {"Authorization": f"Bearer {SECRETS['all']}"}


def look(server: ServerProcess, session_id: str) -> dict[str, Any]:
    answer = server.request("GET", f"/v1/sessions/{session_id}", headers=HEADERS)
    return dict(answer.json())


def test_a_session_is_looked_at_stepped_carried_away_put_back_forked_reset_and_closed(
    page: Page, server: ServerProcess, shoot: Shoot, tmp_path: Path
) -> None:
    opened = {"session_id": "near", "version": "1"}
    server.request("POST", "/v1/models/beijing-seq2seq/sessions", json=opened, headers=HEADERS)
    page.go("/console#/session")
    page.type("label=Look at a session by its id", "near")
    page.press("Enter")
    page.until_shown("1 look, from step 0 to 0")
    for steps in (1, 2, 3):
        page.click("text=Send the step")
        page.until_shown(f"Step {steps}: [[")
        page.until_shown(f"{steps + 1} looks, from step 0 to {steps}")
    page.run("document.querySelector('canvas.heat').focus()")
    page.press("ArrowRight")
    page.until_shown("unit 0, after 1 steps:")
    shoot(page, "session")

    page.tell("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.click("text=Download its state")
    saved = tmp_path / "near.safetensors"
    until(saved.exists, "the state's file")
    page.click("text=Reset …")
    page.press("Enter")  # what is chosen first changes nothing
    assert look(server, "near")["steps"] == 3
    page.click("text=Reset …")
    page.click("text=Reset it")
    page.until_shown("It is at its initial state.")
    assert look(server, "near")["steps"] == 0
    page.give_file("input[type=file]", saved)
    page.click("text=Set it")
    page.until_shown("It is at step 3 now.")
    assert look(server, "near")["steps"] == 3

    page.click("text=Fork")
    page.until("!location.hash.endsWith('/near')")
    fork = str(page.run("location.hash.split('/').pop()"))
    assert look(server, fork)["steps"] == 3
    page.until_there("text=Close …")
    page.click("text=Close …")
    page.click("text=Close it")
    page.until_shown("was closed")
    assert look(server, fork)["code"] == "session_closed"
    assert look(server, "near")["steps"] == 3


def test_what_goes_wrong_is_said_in_words(new_page: Callable[..., Page]) -> None:
    page = new_page("stepper")
    page.go("/console#/session/nobody")
    page.until_shown("a session that ended long ago is unknown")
    page.go("/console#/session")
    page.until_shown("Use a key that has this right.")


def test_a_request_is_answered_and_its_curl_and_python_are_answered_the_same(page: Page, shoot: Shoot) -> None:
    page.go("/console#/why/g2p")
    page.until_there("text=Send")
    page.run("document.querySelector('textarea').select()")
    page.type("textarea", json.dumps({"inputs": ["it's", "ox"], "max_steps": 9}))
    page.click("text=Send")
    page.until_shown("200")
    answered = json.loads(page.text("[aria-label='The answer']"))
    assert answered["outputs"] == ["IH T S", "AA K S"]
    own = {**os.environ, "OSTINATO_KEY": SECRETS["all"], "PYTHONPATH": str(CHECKOUT)}
    asked = ["bash", "-c", page.text("[aria-label='curl']")]
    done = subprocess.run(asked, env=own, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == answered
    by_client = page.text("[aria-label='Python']")
    assert "from ostinato import Client" in by_client
    done = subprocess.run([sys.executable, "-c", by_client], env=own, capture_output=True, text=True, check=True)
    assert "IH T S" in done.stdout
    page.type("textarea", json.dumps({"inputs": ["it's", "ox"], "max_steps": 9, "return_log_probs": True}))
    by_hand = page.text("[aria-label='Python']")
    assert "urllib" in by_hand
    done = subprocess.run([sys.executable, "-c", by_hand], env=own, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["outputs"] == answered["outputs"]
    page.type("textarea", '{"inputs": 3}')
    page.click("text=Send")
    page.until_shown("422")
    page.until_shown('"field": "inputs"')
    shoot(page, "why")
