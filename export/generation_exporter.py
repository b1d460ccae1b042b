"""Export of a trained network that writes: its graphs, manifest and golden answers in the repository, all proved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.decoder import DecoderOptions, valid_decoder
from ostinato.export.contracts.encoder_decoder import EncoderDecoder, inspect_encoder_decoder
from ostinato.export.contracts.module import Tensors, run_decoder, run_encoder
from ostinato.export.contracts.narrowing import PROBES, check_answers_in_float32, check_float32, in_float32
from ostinato.export.contracts.one_step import one_step
from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.contracts.source_probes import draw_fed_codes, draw_source
from ostinato.export.errors import ExportError
from ostinato.export.graphs.generation import GenerationGraphs, write_decoder, write_encoder
from ostinato.export.graphs.recurrent import StepGraph, write_graph
from ostinato.export.proofs.generation import prove_generation
from ostinato.export.proofs.golden import golden_generation, golden_text
from ostinato.export.proofs.overflow import check_overflow
from ostinato.export.proofs.promise import generation_promise
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.proofs.recurrent import prove
from ostinato.export.proofs.rounding import recurrent_rounding, tolerance_for
from ostinato.export.version_directory import Exported, new_version
from ostinato.service.artifact.decoder import Decoder
from ostinato.service.artifact.manifest import Limits
from ostinato.service.artifact.tensors import Input, Nested
from ostinato.service.artifact.vocabulary import Vocabulary

ENCODER_FILE = "encode.onnx"
DECODER_FILE = "decode.onnx"
# Over how many steps of a text differences may add up, and over how many texts the network's own are measured.
_CARRIED_STEPS = 12
_NUM_TEXTS = 64


def export_encoder_decoder(
    module: nn.Module,
    source: Input,
    repository: Path | str,
    *,
    name: str,
    version: str = "1",
    start: Nested = 0,
    stop: int | None = None,
    num_codes: int | None = None,
    output_features: Sequence[str] = (),
    feedback: bool = False,
    state_names: Sequence[str] = (),
    memory_names: Sequence[str] = (),
    examples: Sequence[ArrayLike] = (),
    vocabularies: Mapping[str, Vocabulary] | None = None,
    limits: Limits | None = None,
    description: str = "",
    provenance: Mapping[str, Any] | None = None,
    force: bool = False,
    report: ProofReport = lambda _done, _total: None,
) -> Exported:
    """Export an encoder-decoder to ``<repository>/<name>/<version>/``.

    The module has ``encode`` and ``decode`` (see ``ostinato.export.contracts.encoder_decoder``). Its decoder is fed
    one of three: codes, where ``num_codes`` or a target vocabulary is given; its own numbers, with ``feedback``; or
    nothing (``previous`` is None), where its states carry what it needs.

    Args:
        module: is copied, put in evaluation mode and moved to the CPU; the caller's own stays as it is.
        source: name, dtype and shape of what is encoded: ``[B, S]`` codes, ``[B, S, ...]`` numbers, or ``[B, ...]`` of
            a fixed size, which ``encode`` takes without lengths. A source vocabulary tells its ``num_codes``.
        start: what stands for the step before the first: a code, a number, or a list of numbers.
        stop: the code that ends an output.
        num_codes: how many codes the decoder scores; the size of the target vocabulary where not given.
        output_features: names of the output's numbers, needed with ``feedback``; a target vocabulary's symbols, or
            ``output_0``, ... where none are given.
        feedback: the decoder takes the numbers of the step before.
        state_names, memory_names: in the graphs and the manifest; ``state_0``, ... and ``memory_0``, ... otherwise.
        examples: real sources, ``[S]`` or ``[S, ...]`` each, to try the graphs on and to take golden answers of; random
            ones where none are given. No longer ones are tried, and none beyond ``limits.max_source_steps``.
        vocabularies: ``source`` and ``target``, for text.
        limits: what one request may ask for.
        provenance: where the model comes from; the library versions are added.
        force: replace the version where it exists.
        report: called with how much of the proof is done, and of how much.

    Raises:
        ExportError: the module breaks the contract, has a secretly static axis, heeds the padding of its sources,
            differs from its graphs by more than the tolerance, or the version exists already. Nothing is written then.
    """
    words = dict(vocabularies or {})
    options = _options(words, num_codes, output_features, start=start, stop=stop, feedback=feedback)
    options = replace(options, state_names=tuple(state_names), memory_names=tuple(memory_names))
    with new_version(repository, name, version, force=force) as new:
        whole_source = _with_codes(source, words.get("source"))
        max_steps = limits.max_source_steps if limits else 0
        narrow = in_float32(module)
        contract = inspect_encoder_decoder(narrow, whole_source, options, examples, max_steps)
        notes = check_answers_in_float32(module, narrow, partial(_answers, contract))
        paths = new.folder / ENCODER_FILE, new.folder / DECODER_FILE
        encoded = write_encoder(contract, paths[0])
        decoder = write_decoder(contract.module, contract.decoder, paths[1], encoded)
        proof = prove_generation(contract, GenerationGraphs(*paths, contract, decoder), decoder, report=report)
        proof = replace(proof, notes=(*notes, *proof.notes))
        return new.finish(
            proof,
            golden_generation(contract, decoder),
            {"encode": ENCODER_FILE, "decode": DECODER_FILE},
            provenance,
            find_promise=partial(generation_promise, may_be_any=proof.batch_invariant),
            task="encoder_decoder",
            description=description,
            inputs=(contract.source,),
            encoder_lengths=contract.encoder_lengths,
            decoder=decoder,
            vocabularies=words,
            limits=limits or Limits(),
        )


def export_generator(
    module: nn.Module,
    repository: Path | str,
    *,
    name: str,
    version: str = "1",
    start: int,
    stop: int | None = None,
    num_codes: int | None = None,
    state_names: Sequence[str] = (),
    vocabularies: Mapping[str, Vocabulary] | None = None,
    limits: Limits | None = None,
    description: str = "",
    provenance: Mapping[str, Any] | None = None,
    force: bool = False,
    report: ProofReport = lambda _done, _total: None,
) -> Exported:
    """Export a network that writes from a prompt or from nothing to ``<repository>/<name>/<version>/``.

    The module keeps the recurrent contract, ``forward(codes [B, T] int64, *state) -> (scores [B, T, V], *state)`` and
    ``initial_state(batch_size)``; the graph takes one step. Arguments are those of ``export_encoder_decoder``.

    Raises:
        ExportError: as ``export_module`` with ``step_by_step``, or the scores are not ``[B, T, V]`` of ``num_codes``.
    """
    words = dict(vocabularies or {})
    options = _options(words, num_codes, (), start=start, stop=stop)
    if options.num_codes is None:
        raise ExportError("a generator writes codes: give num_codes or a target vocabulary")
    with new_version(repository, name, version, force=force) as new:
        codes = Input(name="previous", dtype="int64", shape=("B", "T"), features=("code",), num_codes=options.num_codes)
        narrow = in_float32(module)
        whole = inspect_module(narrow, codes, options.output_features, state_names)
        notes = check_float32(module, whole)
        check_overflow(whole)
        decoder, contract = _one_step_of(whole, options)
        write_graph(contract, new.folder / DECODER_FILE, name="decode")
        graph = StepGraph(new.folder / DECODER_FILE, contract)
        texts = draw_fed_codes(options.num_codes, start, np.random.default_rng(0), _NUM_TEXTS, 4 * _CARRIED_STEPS)
        tolerance = tolerance_for(recurrent_rounding(whole, texts, _CARRIED_STEPS))
        proof = prove(contract, graph, tolerance=tolerance, carried_steps=_CARRIED_STEPS, report=report)
        proof = replace(proof, notes=(*notes, *proof.notes))
        return new.finish(
            proof,
            golden_text(whole, decoder),
            {"decode": DECODER_FILE},
            provenance,
            find_promise=partial(generation_promise, may_be_any=proof.batch_invariant),
            task="generator",
            description=description,
            decoder=decoder,
            vocabularies=words,
            limits=limits or Limits(),
        )


def _answers(contract: EncoderDecoder, module: nn.Module, cast: Callable[[Any], Any]) -> Tensors:
    """What a module makes of likely sources: memory, states, and the first step that is written."""
    source = torch.from_numpy(draw_source(contract.source, np.random.default_rng(0), *PROBES))
    lengths = torch.full(PROBES[:1], PROBES[1]) if contract.encoder_lengths else None
    memory, states = run_encoder(module, cast(source), lengths)
    decoder, previous = contract.decoder, None
    if decoder.previous is not None:
        rows = np.broadcast_to(
            np.asarray(decoder.start, decoder.previous.dtype), (PROBES[0], *decoder.previous.row_shape)
        )
        previous = torch.from_numpy(rows.copy())
    output, after, _ = run_decoder(module, cast(previous), states, memory, lengths)
    return (*memory, *states, output, *after)


def _one_step_of(whole: Contract, options: DecoderOptions) -> tuple[Decoder, Contract]:
    """The generator as a decoder, and the contract of its one step."""
    (scores,) = whole.made
    if scores.shape != ("B", "T", options.num_codes):
        raise ExportError(
            f"the scores have shape {list(scores.shape)}: one is needed for each of {options.num_codes} codes at "
            f"each step, ['B', 'T', {options.num_codes}]"
        )
    contract = one_step(replace(whole, made=(scores.model_copy(update={"name": "scores"}),)))
    decoder = valid_decoder(
        previous=contract.given[0],
        start=options.start,
        stop=options.stop,
        output=contract.made[0],
        states=contract.states,
    )
    return decoder, contract


def _options(
    words: Mapping[str, Vocabulary],
    num_codes: int | None,
    output_features: Sequence[str],
    *,
    start: Nested,
    stop: int | None,
    feedback: bool = False,
) -> DecoderOptions:
    """What is asked for, with what the target vocabulary tells."""
    target = words.get("target")
    if target is not None and num_codes not in (None, len(target.symbols)):
        raise ExportError(f"num_codes is {num_codes} and the target vocabulary has {len(target.symbols)} symbols")
    if target is not None:
        num_codes = len(target.symbols)
        output_features = output_features or target.symbols
    if feedback and num_codes is not None:
        raise ExportError("feedback is for numbers: a decoder of codes is fed the code of the step before anyway")
    return DecoderOptions(
        num_codes=num_codes, feedback=feedback, start=start, stop=stop, output_features=tuple(output_features)
    )


def _with_codes(source: Input, vocabulary: Vocabulary | None) -> Input:
    """The source, ``num_codes`` taken from its vocabulary where it is not known."""
    if vocabulary is None:
        return source
    if source.num_codes not in (None, len(vocabulary.symbols)):
        raise ExportError(
            f"the source has num_codes {source.num_codes} and its vocabulary {len(vocabulary.symbols)} symbols"
        )
    return source.model_copy(update={"num_codes": len(vocabulary.symbols)})
