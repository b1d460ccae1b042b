"""The workflows for a forge, read: what they name is there, and they may do no more than they must."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from release.trial import ALONE, ASKING

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ACTION = re.compile(r"(actions/[\w-]+|pypa/gh-action-pypi-publish)@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def read(path: Path) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true.
    found: dict[Any, Any] = yaml.safe_load(path.read_text("utf-8"))
    return {"on" if key is True else key: value for key, value in found.items()}


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        yield from read(path)["jobs"].items()


def commands() -> list[str]:
    return [step["run"] for _, job in jobs() for step in job["steps"] if "run" in step]


def test_there_is_one_for_each_change_and_one_for_releases() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "release.yml"]
    assert read(WORKFLOWS[0])["on"].keys() >= {"push", "pull_request", "schedule"}
    assert read(WORKFLOWS[1])["on"] == {"push": {"tags": ["v*"]}}


def test_what_they_run_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "\n".join(commands())
    asked = set(re.findall(r"\bmake (?:--silent )?([a-z-]+)", text))
    assert asked >= {"check", "long", "dist", "dist-check", "sbom", "release-notes", "version"}
    assert asked - targets == set()
    assert "bash .ci/run" in text
    assert all(
        (ROOT / module.replace(".", "/")).with_suffix(".py").is_file() for module in re.findall(r"-m (\S+)", text)
    )


def test_extras_that_they_try_are_tried_by_something() -> None:
    matrix = dict(jobs())["trial"]["strategy"]["matrix"]
    named = " ".join([*matrix["extras"], *(each["extras"] for each in matrix["include"])])
    named += " " + " ".join(re.findall(r'DIST="([^"]*)"', "\n".join(commands())))
    assert set(named.split()) <= ALONE.keys() | ASKING.keys()


def test_each_python_of_the_project_is_tried() -> None:
    ours = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", line)}
    for name in ("gate", "trial"):
        assert set(dict(jobs())[name]["strategy"]["matrix"]["python"]) == ours
    assert {"macos-15", "ubuntu-24.04-arm"} <= set(re.findall(r"[\w.-]+", WORKFLOWS[0].read_text()))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_they_may_do_no_more_than_they_must(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    assert "concurrency" in workflow
    wanted = {
        "attest": {"attestations": "write", "id-token": "write"},
        "publish": {"id-token": "write"},
        "release": {"contents": "write"},
    }
    for name, job in workflow["jobs"].items():
        rights = {right: level for right, level in job.get("permissions", {}).items() if level == "write"}
        assert rights == wanted.get(name, {})
        # Code of the checkout, or of the index, runs in no job that may write.
        assert not rights or not any("checkout" in step.get("uses", "") for step in job["steps"])
    # What others write (a branch's name, a title) is in no command.
    assert re.search(r"run:.*\$\{\{ *github\.(event|head_ref)", path.read_text()) is None


def test_actions_are_those_of_the_forge_and_of_the_index_at_the_commit_of_a_release() -> None:
    used = [line for path in WORKFLOWS for line in re.findall(r"uses: *(.+)", path.read_text("utf-8"))]
    assert len(used) == sum("uses" in step for _, job in jobs() for step in job["steps"])
    assert [line for line in used if not ACTION.fullmatch(line)] == []
    # One action is the same everywhere.
    assert len(set(used)) == len({line.partition("@")[0] for line in used}) > 0


def test_a_release_is_built_once_and_published_without_a_password() -> None:
    release = read(WORKFLOWS[1])["jobs"]
    assert release["publish"]["needs"] == ["build", "attest"]
    assert release["release"]["needs"] == "publish"
    assert "secrets." not in WORKFLOWS[1].read_text()


@pytest.mark.parametrize(("tag", "kind"), [("v1.2.3", "--latest"), ("v1.2.3rc1", "--prerelease")])
def test_a_candidate_is_not_the_latest_release(tag: str, kind: str, tmp_path: Path) -> None:
    (step,) = [step for step in dict(jobs())["release"]["steps"] if "run" in step]
    (tmp_path / "gh").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "gh").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "GITHUB_REF_NAME": tag}
    said = subprocess.run(
        ["bash", "-e", "-c", step["run"]], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert said.stdout.startswith(f"release create {tag} --verify-tag "), said.stderr
    assert f" {kind} " in said.stdout


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_asks_something_and_its_questions_have_names(path: Path) -> None:
    form = yaml.safe_load(path.read_text("utf-8"))
    questions = [each for each in form["body"] if each["type"] != "markdown"]
    names = [each["id"] for each in questions]
    assert len(set(names)) == len(names) > 0
    assert any(each.get("validations", {}).get("required") for each in questions)


def test_links_of_the_policy_lead_somewhere() -> None:
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    assert [link for link in re.findall(r"\]\(([^)]+)\)", text) if not (ROOT / link).exists()] == []
