"""Inference by the Open Inference Protocol: one place for what a request means, whichever way it came."""

from __future__ import annotations

from ostinato.service.access.meter import UNMETERED, Meter
from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge.oip.generation import infer_outputs
from ostinato.service.edge.oip.messages import InferRequest, InferResponse
from ostinato.service.edge.oip.options import is_of_sequence, version_of
from ostinato.service.edge.oip.sequences import SequenceSteps
from ostinato.service.edge.oip.stateless import infer_sequences
from ostinato.service.engine.generation.engine import GenerationEngine
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.named_locks import NamedLocks
from ostinato.service.sessions.sessions import Sessions


class Inference:
    """Answers requests to ``infer``: steps of sequences, whole sequences, and what models generate.

    Attributes:
        sequences: for those who hand a step on without a task.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        sessions: Sessions,
        ledger: Ledger,
        locks: NamedLocks | None = None,
        meter: Meter = UNMETERED,
    ) -> None:
        self._catalogue = catalogue
        self._meter = meter
        self.sequences = SequenceSteps(catalogue, sessions, ledger, locks or NamedLocks())

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer a request.

        Raises:
            InvalidInput: a parameter, an input or a requested output is not what the model takes; names it.
            UnknownSession, SessionExpired, SessionClosed: a step of a sequence that has not been started; says so.
            SessionExists: the sequence's name is that of a session of another model.
            UnknownModel, Starting, SeqConflict, TooLarge, Overloaded, Draining, RunFailed, StateStoreUnavailable: as
                the routes under ``/v1``.
        """
        if is_of_sequence(request.parameters):
            return await self.sequences.infer(request)
        engine = self._catalogue.resolve_any(request.model, version_of(request))
        if isinstance(engine, GenerationEngine):
            return await infer_outputs(self._catalogue, engine, request, self._meter)
        return await infer_sequences(engine, request, self._meter)
