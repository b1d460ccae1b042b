"""An encoder-decoder without graphs, served by the real engine: codes in and codes out, or numbers out."""

from __future__ import annotations

from typing import Any

from ostinato.service.artifact.decoder import Decoder as DecoderPart
from ostinato.service.artifact.manifest import GraphFile, Limits, Manifest
from ostinato.service.artifact.tensors import Input, Output, State
from ostinato.service.config import Settings
from ostinato.service.engine.generation.engine import GenerationEngine
from ostinato.service.metrics.generation import GenerationMetrics
from ostinato.service.metrics.series import Metrics
from tests.service.puppet_decoder import PuppetDecoder
from tests.service.puppet_encoder import PuppetEncoder

NUM_SOURCE_CODES = 20
NUMBERS = DecoderPart(
    output=Output(name="load_next", dtype="float32", shape=("B", 1), features=("load",)),
    states=(State(name="written", input="written", output="written_next", shape=(2, "B"), dtype="float64"),),
)


def puppet_engine(num_codes: int = 6, *, part: DecoderPart | None = None, **limits: Any) -> GenerationEngine:
    """An engine of the model ``puppet``, on the running event loop.

    Args:
        num_codes: how many an output may choose from.
        part: what the manifest says of the decoder, where it is not what the puppet is.
        limits: of the manifest.
    """
    decoder = PuppetDecoder(num_codes)
    decoder.part = part or decoder.part
    source = Input(name="source", dtype="int64", shape=("B", "S"), features=("code",), num_codes=NUM_SOURCE_CODES)
    graph = GraphFile(file="puppet.onnx", sha256="0" * 64)
    manifest = Manifest(
        name="puppet",
        version="1",
        task="encoder_decoder",
        graphs={"encode": graph, "decode": graph},
        inputs=(source,),
        encoder_lengths="lengths",
        decoder=decoder.part,
        limits=Limits(**limits),
    )
    metrics = GenerationMetrics(Metrics(), "puppet", "1")
    return GenerationEngine(manifest, PuppetEncoder(decoder), decoder, Settings(), metrics)
