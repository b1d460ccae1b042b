"""The machine that a folder is on, as far as it can be started again in a test."""

from __future__ import annotations

import itertools

import pytest

from ostinato.service.state.lmdb import salvage, shared_end

_boots = itertools.count(1)


def restart_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut: another run, in which nothing tells what was in the files and was not synced."""
    boot = next(_boots)
    for module in (salvage, shared_end):
        monkeypatch.setattr(module, "BOOT", boot)
