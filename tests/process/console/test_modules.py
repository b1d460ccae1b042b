"""Modules of the page on their own, with what lies behind them turned by hand: what no server does on demand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser import Page

# One process runs these, since they share what takes long to start.
pytestmark = pytest.mark.xdist_group("console")

SOCKET = """
(async () => {
  const { StepSocket } = await import(new URL('console/step_socket.js', document.baseURI));
  const opened = [];
  window.WebSocket = class {
    static OPEN = 1;
    constructor() {
      Object.assign(this, { readyState: 1, sent: [] });
      opened.push(this);
      setTimeout(() => this.onopen());
    }
    send(text) { this.sent.push(JSON.parse(text)); }
    close() {}
    answer(sent, content = {}) { this.onmessage({ data: JSON.stringify({ id: sent.id, seq: sent.seq, ...content }) }); }
  };
  const until = async (holds) => { while (!holds()) await new Promise((done) => setTimeout(done, 1)); };
  const socket = new StepSocket('any');
  return await (BODY)(socket, opened, until);
})()
"""

TWICE = """async (socket, opened, until) => {
  const first = socket.step('a', 0, [[1]]);
  await until(() => opened[0]?.sent.length === 1);
  const [sent] = opened[0].sent;
  opened[0].answer(sent);
  const seqs = [(await first).seq];
  const second = socket.step('a', 1, [[2]]);
  opened[0].answer(sent);  // of the first, again
  opened[0].answer(opened[0].sent[1]);
  seqs.push((await second).seq);
  return seqs;
}"""

LOST_WHILE_BUSY = """async (socket, opened, until) => {
  const step = socket.step('a', 0, [[1]]);
  await until(() => opened[0]?.sent.length === 1);
  opened[0].answer(opened[0].sent[0], { error: { code: 'draining', status: 503, retry_after_seconds: 0.5 } });
  opened[0].onclose({ code: 1001 });
  await until(() => opened[1]?.sent.length === 1);
  await new Promise((done) => setTimeout(done, 800));  // longer than it was told to wait
  const count = opened[1].sent.length;
  opened[1].answer(opened[1].sent[0]);
  return [count, (await step).seq];
}"""

TOO_BIG = """async (socket, opened, until) => {
  const step = socket.step('a', 0, [[1]]).then(() => 'answered', (error) => error.message);
  await until(() => opened[0]?.sent.length === 1);
  opened[0].onclose({ code: 1009 });
  return [await step, opened.length];
}"""

RUN = """
(async () => {
  const { Run } = await import(new URL('console/run.js', document.baseURI));
  const fed = [[], []];
  let fails = true;
  const lanes = fed.map((rows, number) => ({
    steps: 0, snapshots: [], manifest: {}, foretold: null, lines: [],
    async step(more) {
      if (number === 1 && fails) { fails = false; throw new Error('told to fail'); }
      rows.push(...more);
      this.steps += more.length;
    },
    score() {}, async snapshot() {},
  }));
  const rows = (from, to) => Array.from({ length: to - from }, (_, place) => from + place);
  const source = { count: 10, rows, value: () => 0 };
  const run = new Run(lanes, source, 1);
  await run.stepOnce();
  const told = run.error?.message;
  await run.stepOnce();
  await run.stepOnce();
  return [told, fed[0], fed[1], run.position];
})()
"""


@pytest.fixture
def blank(page: Page) -> Page:
    page.go("/console#/why")
    page.until_shown("Find out why")
    return page


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (TWICE, [0, 1]),
        (LOST_WHILE_BUSY, [1, 0]),
        (TOO_BIG, ["These rows are larger than the server takes in one message.", 1]),
    ],
    ids=["an answer that comes twice", "lost while the server was busy", "too big"],
)
def test_each_step_has_its_own_answer(blank: Page, body: str, told: list[Any]) -> None:
    assert blank.run(SOCKET.replace("BODY", body)) == told


def test_where_one_of_two_versions_fails_the_other_is_fed_nothing_twice(blank: Page) -> None:
    assert blank.run(RUN) == ["told to fail", [0, 1], [0, 1], 2]


def test_a_file_of_one_s_own_is_what_another_version_runs_on(page: Page, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("time,x\n" + "".join(f"{step},{step % 3}\n" for step in range(50)))
    page.go("/console#/stream/accumulator")
    page.until_there("text=Play")
    page.give_file("input[type=file]", tmp_path / "own.csv")
    page.until_shown("own.csv: 50 rows")
    page.choose("label=Compare with", "")
    page.until_there("text=Play")
    page.until_shown("own.csv: 50 rows")
    assert "made-up" not in page.text(".panel .faint")


def test_a_path_that_cannot_be_decoded_breaks_nothing(page: Page) -> None:
    page.go("/console#/session/%")
    page.until_shown("%")
    page.go("/console#/why")
    page.until_shown("Find out why")
