"""The trainer: a recipe's way from its file to a run directory with a report, whatever its kind."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ostinato.models.errors import RecipeError, RunError
from ostinato.models.kinds.registry import Kind, kind_of, load_kind
from ostinato.models.networks.layers_recipe import with_a_part
from ostinato.models.recipe import RunRecipe
from ostinato.models.report import LineChart, Report, ReportPart, ScoreTable
from ostinato.models.report_page import read_sections, write_report
from ostinato.models.run_files import RUN_FILE, WEIGHTS_FILE, check_directory, read_content, write_run
from ostinato.models.training.checkpoints import CHECKPOINT_FILE, Checkpoints
from ostinato.models.training.fitting import Fitted, PastEpoch, reproducible
from ostinato.models.training.job import Job

# How many plain numbers of a run's metrics are compared between seeds, and between folds.
_MAX_COMPARED = 12
_VALIDATION = "validation error"


@dataclass(frozen=True)
class Wishes:
    """What is wished for besides the recipe.

    ``directory``: of the run; ``runs/<name of the recipe>`` where None. ``seed``: in place of the recipe's own.
    ``num_seeds``: how many trainings, of seeds that follow each other; the best by its validation error is the run.
    ``num_folds``: of a backtest, whose networks are trained besides; 0 = none.
    ``resume``: whether what was interrupted goes on.
    """

    directory: Path | None = None
    seed: int | None = None
    num_seeds: int = 1
    num_folds: int = 0
    resume: bool = False


def train_recipe(path: Path, wishes: Wishes, report: Report) -> tuple[Path, list[ScoreTable]]:
    """Train what a recipe says into a run directory.

    Returns:
        the directory, and what to show.

    Raises:
        TrainingError: the recipe or the data cannot be used, or training fails.
    """
    check_directory(wishes.directory)
    kind = load_kind(kind_of(path))
    recipe = kind.RECIPE.read(path, wishes.seed)
    directory = wishes.directory or Path("runs") / recipe.name
    folds = _folds(kind, recipe, wishes.num_folds)
    if wishes.num_seeds > 1:
        _train_seeds(kind, recipe, directory, wishes, report)
    else:
        _train_one(kind, recipe, directory, wishes.resume, report)
    if folds:
        _backtest(kind, folds, directory, wishes.resume, report)
    printed = [part for part in read_sections(directory) if isinstance(part, ScoreTable) and part.printed]
    return directory, printed


def _folds(kind: Kind, recipe: RunRecipe, num_folds: int) -> Sequence[RunRecipe]:
    if not num_folds:
        return ()
    if (folds := getattr(kind, "folds", None)) is None:
        raise RecipeError(f"--backtest: a recipe of kind {recipe.kind!r} has no order in time to roll along")
    found: Sequence[RunRecipe] = folds(recipe, num_folds)
    return found


def _train_one(kind: Kind, recipe: RunRecipe, directory: Path, resume: bool, report: Report) -> None:
    """Train once, and report."""
    identity = _identity(recipe)
    has_checkpoint = (directory / CHECKPOINT_FILE).exists()
    if resume and _finished(directory, identity):
        report(0, 0, f"{directory}: is trained already, by this recipe: nothing was left to resume")
        return
    if resume and not has_checkpoint and (directory / RUN_FILE).exists():
        raise RunError(
            f"{directory}: holds a run of another recipe, seed or data, and nothing to resume; leave --resume out to "
            "train anew in its place, or give another --output"
        )
    if not resume and has_checkpoint:
        report(0, 0, f"{directory}: holds an interrupted training, which begins anew; --resume would have gone on")
    checkpoints = Checkpoints(directory, identity, resume)
    with reproducible(recipe.training):
        trained = kind.train(recipe, Job(report, checkpoints))
    if recipe.training.members > 1 and not trained.fitted.members:
        raise RecipeError(f"training.members: a recipe of kind {recipe.kind!r} trains one network and no ensemble")
    write_run(directory, recipe, trained, identity)
    _report(directory, [*trained.sections, *_curves(trained.fitted)])
    checkpoints.remove()


def _train_seeds(kind: Kind, recipe: RunRecipe, directory: Path, wishes: Wishes, report: Report) -> None:
    first, members = recipe.training.seed, recipe.training.members
    # No two of them have a member in common.
    seeds = range(first, first + wishes.num_seeds * members, members)
    runs = [directory / "seeds" / str(seed) for seed in seeds]
    told: set[str] = set()
    for seed, run in zip(seeds, runs, strict=True):
        _train_one(kind, recipe.seeded(seed), run, wishes.resume, _titled(report, f"seed {seed}", told))
    validations = [read_content(run)["validation"] for run in runs]
    best = validations.index(min(validations))
    for name in (RUN_FILE, WEIGHTS_FILE):
        shutil.copy2(runs[best] / name, directory / name)
    compared = _compared(f"{len(seeds)} seeds", "seed", [str(seed) for seed in seeds], runs)
    note = f"the run is that of seed {seeds[best]}, whose validation error is the least"
    _report(directory, [replace(compared, note=note), *read_sections(runs[best])])


def _backtest(kind: Kind, folds: Sequence[RunRecipe], directory: Path, resume: bool, report: Report) -> None:
    """Train a network for each rolling origin, each told as a run of its own, and compare them."""
    numbers = [str(number) for number in range(1, len(folds) + 1)]
    runs = [directory / "backtest" / number for number in numbers]
    told: set[str] = set()
    for number, fold, run in zip(numbers, folds, runs, strict=True):
        _train_one(kind, fold, run, resume, _titled(report, f"fold {number}/{len(folds)}", told))
    compared = _compared(
        f"backtest: {len(folds)} rolling origins, each with a network of its own", "fold", numbers, runs
    )
    begins = [str(getattr(fold.data, "tested_from", "")) for fold in folds]
    kept = [part for part in read_sections(directory) if not part.title.startswith("backtest:")]
    _report(directory, [replace(compared, note=f"tested from {', '.join(begins)}" if all(begins) else ""), *kept])


def _report(directory: Path, sections: Sequence[ReportPart]) -> None:
    content = read_content(directory)
    write_report(directory, content["recipe"]["name"], content["recipe"]["description"], _facts(content), sections)


def _compared(title: str, what: str, names: Sequence[str], runs: Sequence[Path]) -> ScoreTable:
    """The plain numbers among the metrics of several runs, their mean and spread."""
    metrics = [
        _plain({_VALIDATION: content["validation"], **content["metrics"]}) for content in map(read_content, runs)
    ]
    # What a kind calls its validation error by a name of its own is the first column already.
    shared = [
        name
        for name in metrics[0]
        if all(name in one for one in metrics)
        and (name == _VALIDATION or any(one[name] != one[_VALIDATION] for one in metrics))
    ][:_MAX_COMPARED]
    rows = [(name, *(f"{one[key]:.4g}" for key in shared)) for name, one in zip(names, metrics, strict=True)]
    # One fold has no spread.
    for label, of_all in (("mean", fmean), ("standard deviation", stdev))[: len(runs)]:
        rows.append((label, *(f"{of_all([one[key] for one in metrics]):.4g}" for key in shared)))
    return ScoreTable(title, (what, *shared), tuple(rows))


def _plain(metrics: dict[str, Any]) -> dict[str, float]:
    """Numbers, those of tables within by a path; counts and moments left out."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            found |= {f"{name} {inner}": number for inner, number in _plain(value).items()}
        elif isinstance(value, float):
            found[name] = value
    return found


def _curves(fitted: Fitted) -> list[ReportPart]:
    courses = fitted.members or (fitted,)
    if not courses[0].history:
        return []

    def lines(name: str, number_of: Callable[[PastEpoch], float]) -> dict[str, tuple[list[int], list[float]]]:
        """A line for each member."""
        return {
            f"{name} of member {number}" if fitted.members else name: (
                list(range(1, len(course.history) + 1)),
                [number_of(past) for past in course.history],
            )
            for number, course in enumerate(courses)
        }

    note = f"{fitted.sentence()}; its weights are those of the run"
    label, norms = fitted.label, lines("norm", lambda past: past.gradient_norm)
    rates = lines("learning rate", lambda past: past.learning_rate)
    return [
        LineChart(
            "loss by epoch", "epoch", "loss of the training part", lines("loss", lambda one: one.loss), note=note
        ),
        LineChart(f"{label} by epoch", "epoch", label, lines(label, lambda past: past.validation)),
        LineChart("learning rate by epoch", "epoch", "learning rate", rates),
        LineChart("length of the gradient by epoch", "epoch", "mean norm before clipping", norms),
    ]


def _facts(content: dict[str, Any]) -> list[tuple[str, str]]:
    recipe, epochs = content["recipe"], content["num_epochs"]
    members = content.get("members", ())
    best = f"of {len(members)} members together" if members else f"the best was number {content['best_epoch']}"
    return [
        ("kind", content["kind"]),
        ("data", f"{recipe['data']['file']}, SHA-256 {content['data'].get('sha256', '')[:12]}..."),
        ("source", f"{recipe['data']['source'] or 'not told'}; licence: {recipe['data']['licence'] or 'not told'}"),
        ("network", ", ".join(f"{key} {value}" for key, value in with_a_part(recipe["network"]).items())),
        ("parameters", f"{content['num_parameters']:,}"),
        ("training", ", ".join(f"{key} {value}" for key, value in recipe["training"].items())),
        ("epochs", f"{epochs}, {best}" if epochs else "none"),
        ("time", f"{content['training_seconds']:,} s"),
        ("libraries", ", ".join(f"{name} {version}" for name, version in content["libraries"].items())),
    ]


def _identity(recipe: RunRecipe) -> str:
    """What must be the same for a training to go on: the recipe, and each byte of its data."""
    told = recipe.portable()
    # What says nothing about weights.
    told.pop("description")
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    file = recipe.data.file
    for path in sorted(file.rglob("*")) if file.is_dir() else (file,):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _finished(directory: Path, identity: str) -> bool:
    try:
        return bool(read_content(directory).get("identity") == identity)
    except RunError:
        return False


def _titled(report: Report, title: str, told: set[str]) -> Report:
    """A report of one of several trainings. ``told``: what others have said of their data, and is not repeated."""

    def titled(done: int, total: int, text: str) -> None:
        if not total and text in told:
            return
        if not total:
            told.add(text)
        report(done, total, f"{title}  {text}")

    return titled
