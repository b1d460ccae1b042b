"""``python -m tests.deploy.rollout``: the overlay `replicas` acted out behind nginx, under load."""

from __future__ import annotations

import asyncio
from typing import Annotated, NamedTuple

import typer

from ostinato.commands.progress import ProgressReport, progress_bar, reporter
from tests import programs
from tests.deploy.rollout.stage import BehindNginx, KillPod, KillStore, RollOut, Unhashed
from tests.faults import report
from tests.faults.play import Outcome, play
from tests.faults.saboteurs import KillMaster, Saboteur
from tests.faults.scenarios import Scenario
from tests.faults.stage import Backing


class Rollout(NamedTuple):
    """A scenario and how nginx shares it out."""

    scenario: Scenario
    stage: type[BehindNginx]


def _scenario(
    name: str, what: str, saboteur: type[Saboteur], num_quick: int, num_long: int, backing: Backing = Backing.ONE
) -> Scenario:
    return Scenario(name, what, saboteur, ("redis",), num_quick, num_long, num_replicas=3, backing=backing)


ROLLOUTS = (
    Rollout(_scenario("rollout", "pods are replaced in turn, a session to a pod", RollOut, 3, 12), BehindNginx),
    Rollout(_scenario("rollout-unhashed", "pods are replaced in turn, any to any", RollOut, 3, 12), Unhashed),
    Rollout(_scenario("kill-pod", "a pod is killed", KillPod, 2, 20), BehindNginx),
    Rollout(_scenario("kill-pod-unhashed", "a pod is killed, any to any", KillPod, 2, 20), Unhashed),
    Rollout(_scenario("kill-store", "the pod of Redis is killed", KillStore, 2, 20), BehindNginx),
    Rollout(
        _scenario("failover", "Redis' copy takes its place", KillMaster, 1, 10, backing=Backing.SENTINELS), BehindNginx
    ),
)
NAMES = tuple(rollout.scenario.name for rollout in ROLLOUTS)


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"One to do, again for each: {', '.join(NAMES)}.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few of each: some minutes.")] = False,
    sessions: Annotated[int, typer.Option(min=8, max=4096, help="Sessions that are stepped at once.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Of inputs, chunks, and the times of the faults.")] = 1,
) -> None:
    """Act the overlay `replicas` out: its pods and its Redis as processes, behind nginx, while sessions are stepped.

    In the end what was answered must be, to the bit, what the model answers offline, and no session may have a step
    less or more than it was sent. Exit status 1 if one has.
    """
    console = programs.console()
    programs.check_known(only, NAMES)
    outcomes: list[Outcome] = []
    for scenario, stage in ROLLOUTS:
        if only and scenario.name not in only:
            continue
        count = scenario.num_quick if quick else scenario.num_long
        with progress_bar(console, "faults", has_remaining=True, transient=True) as bar:
            tell = reporter(bar, scenario.name)

            def show(outcome: Outcome, tell: ProgressReport = tell, count: int = count) -> None:
                tell(outcome.num_faults, count)

            playing = play(
                *(scenario, "redis"),
                num_faults=count,
                num_sessions=sessions,
                seed=seed,
                is_quick=quick,
                stage_of=stage,
                progress=show,
            )
            outcome = asyncio.run(playing)
        outcomes.append(outcome)
        console.print(f"{scenario.what}: {outcome.num_faults} times in {outcome.seconds:.0f} s", highlight=False)
    console.print(report.table(outcomes))
    for outcome in outcomes:
        for line in report.explain(outcome):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if not outcome.is_sound:
            console.print(outcome.logs, markup=False, highlight=False, soft_wrap=True)
    if not all(outcome.is_sound for outcome in outcomes):
        raise typer.Exit(1)


if __name__ == "__main__":
    programs.command_line(main)(prog_name="python -m tests.deploy.rollout")
