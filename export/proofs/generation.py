"""The proof for what writes: at every step the graphs answer what the trained network answers for the source alone.

The reference is the network on one source at a time, without padding. Parity: the largest difference to it, over
batch sizes, source lengths and paddings, at every step of decoding. Invariance: whether a row's numbers are the same
to the bit alone and in any batch padded to the same length, whatever the padding is. What is fed to the decoder is
the same for all: any codes, or the numbers that the network wrote. The tolerance is 1e-5, or what the network's own
rounding error accounts for where that is more (``ostinato.export.proofs.rounding``); graphs that differ by more are
held to it again by how near they are to the network in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ostinato.export.contracts.axes import Array, failed_rows
from ostinato.export.contracts.decoder import attention_shape
from ostinato.export.contracts.encoder_decoder import EncodeDecode, EncoderDecoder
from ostinato.export.contracts.source_probes import PADDED_LENGTHS, Sources, draw_fed_codes, draw_padding
from ostinato.export.errors import ExportError, first_line
from ostinato.export.graphs.recurrent import TRACED_SIZES
from ostinato.export.proofs.not_finite import check_fails
from ostinato.export.proofs.proof import (
    Measured,
    Proof,
    ProofReport,
    identical,
    measure,
    worst_place,
)
from ostinato.export.proofs.rounding import MAX_TOLERANCE, as_near, encoder_decoder_rounding, tolerance_for
from ostinato.export.proofs.teacher_forcing import Written, write_from
from ostinato.service.artifact.decoder import Decoder
from ostinato.service.artifact.numbers import largest_difference
from ostinato.service.catalogue.promise_checks import DEPENDENT, SAME_TO_ROUNDING

BATCH_SIZES = (1, 2, 3, 5, 8, 17, 64)
NUM_STEPS = 6
# (padded length, steps of decoding): differences must not grow with the steps.
LONG_RUN = (32, 150)
_LONG_BATCH = 2
# Sources over which the network's own rounding error is measured.
_NUM_ROUNDED = 64
# onnxruntime rounds the gates of an LSTM more than torch does, and attention what comes of it: so many times as far
# from float64 as the network may the graphs be.
_AS_NEAR = 5.0


def prove_generation(
    contract: EncoderDecoder,
    graphs: EncodeDecode,
    decoder: Decoder,
    *,
    seed: int = 0,
    report: ProofReport = lambda _done, _total: None,
) -> Proof:
    """Compare the graphs with the network, and with themselves alone.

    Args:
        contract: the trained network.
        graphs: its graphs, on one thread.
        decoder: as the graph ``decode`` was written.
        seed: of the probes.
        report: called with the number of lines done and the number of all lines.

    Raises:
        ExportError: the graphs fail at some size or differ from the network by more than its own rounding accounts
            for; padding has an influence; attention looks beyond a source's end or does not sum to 1.
    """
    tolerance = _tolerance(contract, decoder)
    try:
        return _proved(contract, graphs, decoder, tolerance, seed, report)
    except ExportError as error:
        try:
            wider = _proved_tolerance(contract, graphs, decoder)
        except ExportError:  # of graphs that cannot even run, what they failed by is told
            raise error from None
        if wider <= tolerance:
            raise
    return _proved(contract, graphs, decoder, wider, seed, report)


def _proved(
    contract: EncoderDecoder,
    graphs: EncodeDecode,
    decoder: Decoder,
    tolerance: float,
    seed: int,
    report: ProofReport,
) -> Proof:
    prover = _Prover(contract, graphs, decoder, tolerance, np.random.default_rng(seed))
    tasks: list[Callable[[], Measured]]
    lengths: set[int] = set()
    if contract.encoder_lengths:
        exact, padded = contract.probes.exact_lengths(), contract.probes.padded_lengths()
        lengths = {*exact, *padded}
        tasks = [partial(prover.exact, length) for length in exact]
        tasks += [partial(prover.padded, length) for length in padded]
    else:
        tasks = [prover.fixed]
    tasks.append(prover.long_run)
    return measure(
        tasks,
        report,
        tolerance=tolerance,
        batch_sizes=BATCH_SIZES,
        lengths=tuple(sorted(lengths)),
        num_chunkings=0,
    )


class _Prover:
    def __init__(
        self,
        contract: EncoderDecoder,
        graphs: EncodeDecode,
        decoder: Decoder,
        tolerance: float,
        generator: np.random.Generator,
    ) -> None:
        self._tolerance = tolerance
        self._contract = contract
        self._graphs = graphs
        self._decoder = decoder
        self._generator = generator

    def exact(self, length: int) -> Measured:
        """All batch sizes, sources of one length without padding."""
        source = self._contract.probes.draw(self._generator, max(BATCH_SIZES), length)
        sources = Sources(source, np.full(max(BATCH_SIZES), length, np.int64))
        return self._measure("one length", f"S {length}", sources, NUM_STEPS, BATCH_SIZES)

    def padded(self, length: int) -> Measured:
        """All batch sizes, sources of mixed lengths padded to one."""
        sources = self._contract.probes.draw_mixed(self._generator, max(BATCH_SIZES), length)
        longest = int(sources.lengths.max()) if sources.lengths is not None else 1
        return self._measure("mixed lengths", f"S 1 to {longest} in {length}", sources, NUM_STEPS, BATCH_SIZES)

    def fixed(self) -> Measured:
        """All batch sizes, sources of a fixed size."""
        sources = self._contract.probes.draw_mixed(self._generator, max(BATCH_SIZES), 1)
        return self._measure("fixed size", "", sources, NUM_STEPS, BATCH_SIZES)

    def long_run(self) -> Measured:
        """Few sources, many steps."""
        length, num_steps = min(LONG_RUN[0], max(self._contract.probes.padded_lengths())), LONG_RUN[1]
        sources = self._contract.probes.draw_mixed(self._generator, _LONG_BATCH, length)
        sizes = f"S {length}" if self._contract.encoder_lengths else ""
        return self._measure("long output", sizes, sources, num_steps, (_LONG_BATCH,))

    def _measure(self, what: str, sizes: str, sources: Sources, num_steps: int, batch_sizes: Sequence[int]) -> Measured:
        codes = _codes(self._decoder, self._generator, len(sources), num_steps)
        wanted = _references(self._contract, self._decoder, sources, num_steps, codes)
        fed = None if wanted[0].fed is None else np.concatenate([row.fed for row in wanted if row.fed is not None])
        alone = [self._run(sources.rows(slice(row, row + 1)), num_steps, fed, row) for row in range(len(sources))]
        worst, same = 0.0, True
        for batch_size in batch_sizes:
            batch = self._otherwise_padded(sources.rows(slice(0, batch_size)))
            made = self._run(batch, num_steps, fed, 0, noise=self._generator)
            self._check_attention(made, batch)
            for row in range(batch_size):
                length = None if sources.lengths is None else int(sources.lengths[row])
                given = made.row(row, length, self._decoder)
                true = wanted[row].row(0, length, self._decoder)
                if failed_rows(wanted[row].outputs).any():
                    check_fails(made.outputs[row : row + 1], wanted[row].outputs)
                    continue
                worst = max(worst, self._compare(given, true, batch, row))
                same &= identical(given.values(), alone[row].row(0, length, self._decoder).values())
        widest = f"B 1 to {max(batch_sizes)}" if len(batch_sizes) > 1 else f"B {batch_sizes[0]}"
        return Measured(what, ", ".join(filter(None, (widest, sizes, f"{num_steps} steps"))), worst, same)

    def _otherwise_padded(self, sources: Sources) -> Sources:
        """The same sources in the same length, with other padding."""
        if sources.lengths is None:
            return sources
        return sources.padded_by(
            draw_padding(self._contract.source, self._generator, len(sources), sources.source.shape[1])
        )

    def _run(
        self,
        sources: Sources,
        num_steps: int,
        fed: Array | None,
        row: int,
        noise: np.random.Generator | None = None,
    ) -> Written:
        """The graphs over ``sources``, whose first is ``row`` of all."""
        part = None if fed is None else fed[row : row + len(sources)]
        try:
            return write_from(self._graphs, self._decoder, sources, num_steps, part, noise)
        except ExportError:
            raise
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise ExportError(
                f"axis {self._static_axis(len(sources))} is secretly static: the graphs fail on a source of shape "
                f"{list(sources.source.shape)} ({first_line(error)}); look for a size that is read as a number"
            ) from error

    def _static_axis(self, batch_size: int) -> str:
        """B where the graphs fail on another batch of the length that they were traced with, S otherwise."""
        sources = self._contract.probes.draw_mixed(self._generator, batch_size, TRACED_SIZES[1])
        codes = _codes(self._decoder, self._generator, batch_size, 1)
        try:
            write_from(self._graphs, self._decoder, sources, 1, codes)
        except Exception:  # onnxruntime's own exceptions share no base class
            return "B"
        return "S" if sources.lengths is not None else "B"

    def _compare(self, given: dict[str, Array], wanted: dict[str, Array], batch: Sources, row: int) -> float:
        """The difference to the network.

        Raises:
            ExportError: it is over the tolerance; says so where the network itself heeds the padding.
        """
        place, difference = worst_place(given, wanted)
        if not difference <= self._tolerance:
            self._check_padding(batch.rows(slice(row, row + 1)))
            self._check_neighbours(batch, row)
            raise ExportError(
                f"the graphs differ from the trained network by {difference:.2g} in {place}, over "
                f"{self._tolerance:.2g}, for {len(batch)} sources of shape {list(batch.source.shape[1:])}: look for a "
                "size, a random number or a training-time behaviour that tracing fixed, or for sums that lose digits "
                "in float32; give real sources to try it on (examples) where random ones are like none in training"
            )
        return difference

    def _check_padding(self, padded: Sources) -> None:
        """Find out whether the network itself answers differently with padding."""
        if padded.lengths is None or padded.lengths[0] == padded.source.shape[1]:
            return
        begin = _codes(self._decoder, self._generator, 1, 1)
        [wanted] = _references(self._contract, self._decoder, padded, 1, begin)
        made = write_from(self._contract, self._decoder, padded, 1, begin, self._generator)
        length = int(padded.lengths[0])
        for place, true in wanted.row(0, length, self._decoder).items():
            difference = largest_difference(made.row(0, length, self._decoder)[place], true)
            if not difference <= self._tolerance:
                raise ExportError(
                    f"padding has an influence: a source of {length} steps padded to {padded.source.shape[1]} changes "
                    f"{place} of the network by {difference:.2g}. The content at and beyond a source's length must "
                    "not count: run layers by ostinato.models.networks.ragged.run_ragged, and leave those steps out of "
                    "the attention and of every sum"
                )

    def _check_neighbours(self, batch: Sources, row: int) -> None:
        """Find out whether the network itself answers differently beside other sources."""
        begin = _codes(self._decoder, self._generator, len(batch), 1)
        together = write_from(self._contract, self._decoder, batch, 1, begin)
        own = slice(row, row + 1)
        alone = write_from(self._contract, self._decoder, batch.rows(own), 1, None if begin is None else begin[own])
        length = None if batch.lengths is None else int(batch.lengths[row])
        place, difference = worst_place(together.row(row, length, self._decoder), alone.row(0, length, self._decoder))
        if not difference <= SAME_TO_ROUNDING:
            what = f"next to {len(batch) - 1} other sources"
            raise ExportError(f"the network: {DEPENDENT.format(what=what, place=place, difference=difference)}")

    def _check_attention(self, written: Written, sources: Sources) -> None:
        if written.attention is None or sources.lengths is None:
            return
        if "S" in attention_shape(self._decoder):
            beyond = np.arange(written.attention.shape[2]) >= sources.lengths[:, None, None]
            if (np.where(beyond, written.attention, 0.0) != 0.0).any():
                raise ExportError(
                    "padding has an influence: the attention is not 0 beyond the end of a source; mask its scores "
                    "there before the softmax"
                )
        if not np.allclose(written.attention.sum(axis=2), 1.0, atol=1e-4):
            raise ExportError("the attention does not sum to 1 over a source")


def _tolerance(contract: EncoderDecoder, decoder: Decoder) -> float:
    """By the network's own rounding error, over sources of mixed lengths."""
    generator = np.random.default_rng(0)
    sources = contract.probes.draw_mixed(generator, _NUM_ROUNDED, max(PADDED_LENGTHS))
    written = _references(contract, decoder, sources, NUM_STEPS, _codes(decoder, generator, len(sources), NUM_STEPS))
    return tolerance_for(encoder_decoder_rounding(contract, decoder, sources, written))


def _proved_tolerance(contract: EncoderDecoder, graphs: EncodeDecode, decoder: Decoder) -> float:
    """What graphs may differ by that are about as near to the network in float64 as it is; 0 where they are not."""
    generator = np.random.default_rng(0)
    sources = contract.probes.draw_mixed(generator, _NUM_ROUNDED, max(PADDED_LENGTHS))
    codes = _codes(decoder, generator, len(sources), NUM_STEPS)
    written = _references(contract, decoder, sources, NUM_STEPS, codes)
    own = encoder_decoder_rounding(contract, decoder, sources, written)
    made = _references(graphs, decoder, sources, NUM_STEPS, codes)
    return as_near(encoder_decoder_rounding(contract, decoder, sources, made), own, MAX_TOLERANCE, _AS_NEAR)


def _references(
    contract: EncodeDecode, decoder: Decoder, sources: Sources, num_steps: int, codes: Array | None
) -> list[Written]:
    """What the network writes from each source alone and without padding."""
    written = []
    for row in range(len(sources)):
        alone = sources.without_padding(row)
        try:
            written.append(
                write_from(contract, decoder, alone, num_steps, None if codes is None else codes[row : row + 1])
            )
        except ExportError:
            raise
        except Exception as error:  # a user's module may raise anything
            raise ExportError(
                f"the network fails on a source of shape {list(alone.source.shape)}: {type(error).__name__}: {error}"
            ) from error
    return written


def _codes(decoder: Decoder, generator: np.random.Generator, batch_size: int, num_steps: int) -> Array | None:
    """What a decoder of codes is fed; None for one of numbers."""
    if decoder.num_codes is None:
        return None
    return draw_fed_codes(decoder.num_codes, decoder.start, generator, batch_size, num_steps)
