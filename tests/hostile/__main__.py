"""``python -m tests.hostile``: whatever a client may send is sent, and must be refused or borne."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated

import typer

from ostinato.commands.progress import progress_bar, reporter
from tests import programs
from tests.faults.scenarios import STORES
from tests.hostile import report
from tests.hostile.apart import play_apart
from tests.hostile.attacks import Attack
from tests.hostile.breach import Breach, Toll
from tests.hostile.decoders import DECODERS, Decoder
from tests.hostile.siege import ATTACKS, besieged

GROUPS = ("decoders", "attacks")
NAMES = (*GROUPS, *(decoder.name for decoder in DECODERS), *(attack.name for attack in ATTACKS))


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"What to attack, again for each: {', '.join(NAMES)}.")] = None,
    store: Annotated[list[str] | None, typer.Option(help=f"A store, again for each: {', '.join(STORES)}.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="For each decoder, and each attack over each store.")] = 30.0,
    connections: Annotated[int, typer.Option(min=20, help="Of the crowd.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is sent.")] = 1,
    case: Annotated[int | None, typer.Option(min=0, help="This one case, and no other.")] = None,
) -> None:
    """Send decoders and a real server what no client should, while well-behaved sessions are stepped next to it.

    No decoder may fail, hang or grow. The server may not blame itself, die, or leave a request without its one answer;
    what the sessions are answered must be, to the bit, what the model answers offline. Exit status 1 if not.

    [bold]Examples[/]

    python -m tests.hostile

    python -m tests.hostile --only decoders --seconds 300 --seed 7

    python -m tests.hostile --only crowd --store memory --connections 5000

    python -m tests.hostile --only cursors --seed 1 --case 5
    """
    console = programs.console()
    programs.check_known(only, NAMES)
    programs.check_known(store, STORES)
    decoders = [each for each in DECODERS if not only or each.name in only or "decoders" in only]
    attacks = [each for each in ATTACKS if not only or each.name in only or "attacks" in only]
    numbers = None if case is None else [case]
    tolls: list[Toll] = []
    stores = (store or STORES) if attacks else ()
    total = len(decoders) + len(stores) * (len(attacks) + 1)
    with progress_bar(console, "played", transient=True) as bar:
        tell = reporter(bar, "hostile")
        tell(0, total)

        def take(toll: Toll) -> None:
            said = f"[red]{len(toll.breaches)} breaches[/]" if toll.breaches else "[green]borne[/]"
            console.print(f"{toll.what}: {toll.num_cases:,} cases in {toll.seconds:.0f} s, {said}", highlight=False)
            tolls.append(toll)
            tell(len(tolls), total)

        try:
            _play(decoders, attacks, stores, seconds, connections, seed, numbers, take)
        except KeyboardInterrupt:
            console.print("[yellow]stopped[/]; what was played until now:")
    console.print(report.table(tolls))
    for line in report.explain(tolls):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if any(toll.breaches for toll in tolls):
        raise typer.Exit(1)


def _play(
    decoders: Sequence[Decoder],
    attacks: Sequence[type[Attack]],
    stores: Sequence[str],
    seconds: float,
    num_held: int,
    seed: int,
    numbers: Sequence[int] | None,
    take: Callable[[Toll], None],
) -> None:
    for decoder in decoders:
        take(play_apart(decoder, seed, seconds=seconds, numbers=numbers))
    for store in stores:

        def take_named(toll: Toll, store: str = store) -> None:
            take(replace(toll, what=f"{toll.what}, {store}"))

        asyncio.run(besiege(store, attacks, seed, num_held, take_named, seconds=seconds, numbers=numbers))


async def besiege(
    store: str,
    attacks: Sequence[type[Attack]],
    seed: int,
    num_held: int,
    take: Callable[[Toll], None],
    *,
    seconds: float = 0.0,
    numbers: Sequence[int] | None = None,
) -> None:
    """Attack a server of its own; ``take`` is given the toll of each attack, and of the sessions next to them."""
    try:
        async with besieged(store, seed, num_held) as siege:
            for attack in attacks:
                take(await siege.play(attack, numbers=numbers, seconds=seconds))
            take(await siege.end())
    except AssertionError as error:  # the service, or Redis, did not start
        take(Toll("start", breaches=[Breach("start", seed, 0, str(error))]))


if __name__ == "__main__":
    programs.command_line(main)(prog_name="python -m tests.hostile")
