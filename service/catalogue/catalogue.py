"""The catalogue: which models are served, in which versions, and which are not and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from ostinato.service.engine.generation.engine import GenerationEngine
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.engine.sequence.engine import SequenceEngine
from ostinato.service.errors import InvalidInput, Starting, UnknownModel
from ostinato.service.state.arena import Arena

AnyEngine: TypeAlias = Engine | GenerationEngine | SequenceEngine

_TASKS = {"encoder_decoder": "encoder-decoder", "generator": "autoregressive generator"}


@dataclass(frozen=True)
class Rejection:
    """A version that failed a check at load, and the reason.

    Attributes:
        mark: tells its files from others in their place; None = they could not be looked at.
        is_passing: whether the system refused, and not the version: it will be tried again.
    """

    model: str
    version: str
    reason: str
    mark: str | None = None
    is_passing: bool = False


class Catalogue:
    """The engines by model and version. Empty and not ``complete`` until the repository has been read."""

    def __init__(self) -> None:
        self._engines: dict[str, dict[str, AnyEngine]] = {}
        self._by_arena: dict[Arena, Engine] = {}
        self.rejections: list[Rejection] = []
        self.complete = False
        self._is_draining = False

    def __repr__(self) -> str:
        loading = "" if self.complete else ", loading"
        return f"<Catalogue {sorted(self._engines)}, {len(self.rejections)} rejected{loading}>"

    def add(self, engine: AnyEngine) -> None:
        """Serve an engine from now on; one that comes while the catalogue drains takes no work."""
        if self._is_draining:
            engine.drain()
        versions = self._engines.setdefault(engine.manifest.name, {})
        versions[engine.manifest.version] = engine
        self._forget_rejection(engine.manifest.name, engine.manifest.version)
        if isinstance(engine, Engine):
            self._by_arena[engine.arena] = engine
        self._engines[engine.manifest.name] = dict(sorted(versions.items(), key=lambda item: version_key(item[0])))

    def reject(self, rejection: Rejection) -> None:
        """List a version as not served, and why; it takes the place of what was known of it."""
        self._forget_rejection(rejection.model, rejection.version)
        self.rejections.append(rejection)

    def _forget_rejection(self, model: str, version: str) -> None:
        self.rejections = [each for each in self.rejections if (each.model, each.version) != (model, version)]

    def drain(self) -> None:
        """Have all engines take no new work from now on, and those that are added later, too."""
        self._is_draining = True
        for engine in self.served:
            engine.drain()

    def close(self) -> None:
        """Have all engines hand back whatever is under way as failed."""
        for engine in self.served:
            engine.close()

    def engine_of(self, arena: Arena) -> Engine:
        """The engine whose sessions the arena holds."""
        return self._by_arena[arena]

    @property
    def engines(self) -> list[Engine]:
        """The engines that have sessions, by model and rising version."""
        return [engine for engine in self.served if isinstance(engine, Engine)]

    @property
    def served(self) -> list[AnyEngine]:
        """All engines, by model and rising version."""
        return [engine for name in sorted(self._engines) for engine in self._engines[name].values()]

    @property
    def num_rows(self) -> int:
        """Rows and lanes that the engines have accepted and not yet handed back."""
        return sum(engine.num_rows for engine in self.served)

    @property
    def models(self) -> list[str]:
        """Names of all models that are served or were rejected."""
        return sorted({*self._engines, *(rejection.model for rejection in self.rejections)})

    def versions(self, model: str) -> dict[str, AnyEngine]:
        """The served versions of a model, the latest last; empty where every one was rejected.

        Raises:
            UnknownModel: the repository has no such model.
            Starting: the repository has not been read to its end.
        """
        if model in self._engines:
            return self._engines[model]
        if not self.complete:
            raise Starting("the models are still being checked; try again in a moment")
        if not self.rejected(model):
            raise UnknownModel(f"no model {model!r}; there are: {', '.join(self.models) or 'none'}")
        return {}

    def rejected(self, model: str) -> list[Rejection]:
        """The rejected versions of a model."""
        return [rejection for rejection in self.rejections if rejection.model == model]

    def resolve(self, model: str, version: str | None = None) -> Engine:
        """The engine of a version that has sessions; of the latest served where none is named.

        Raises:
            UnknownModel: no such model or version is served; says why, where a check failed.
            Starting: the repository has not been read to its end.
            InvalidInput: the model has no sessions.
        """
        engine = self.resolve_any(model, version)
        if isinstance(engine, SequenceEngine):
            raise InvalidInput(
                f"model {model!r} is of the task 'sequence': it answers whole sequences, and has no steps, sessions or "
                "forecasts: predict with it"
            )
        if not isinstance(engine, Engine):
            raise InvalidInput(
                f"model {model!r} is an {_TASKS[engine.manifest.task]} and has no steps or sessions: generate with it"
            )
        return engine

    def resolve_predictor(self, model: str, version: str | None = None) -> Engine | SequenceEngine:
        """The engine of a version that answers whole sequences; of the latest served where none is named.

        Raises:
            UnknownModel, Starting: as ``resolve``.
            InvalidInput: the model generates, and does not predict.
        """
        engine = self.resolve_any(model, version)
        return engine if isinstance(engine, SequenceEngine) else self.resolve(model, version)

    def resolve_generator(self, model: str, version: str | None = None) -> Engine | GenerationEngine:
        """The engine of a version that generates; of the latest served where none is named.

        Raises:
            UnknownModel, Starting: as ``resolve``.
            InvalidInput: the model does not generate.
        """
        engine = self.resolve_any(model, version)
        if isinstance(engine, SequenceEngine):
            raise InvalidInput(f"model {model!r} is of the task 'sequence' and cannot generate: predict with it")
        if isinstance(engine, Engine) and engine.generator is None:
            raise InvalidInput(f"model {model!r} has no decoder and cannot generate: predict with it, or open sessions")
        return engine

    def resolve_any(self, model: str, version: str | None = None) -> AnyEngine:
        """The engine of a version, whatever it does; of the latest served where none is named.

        Raises:
            UnknownModel, Starting: as ``resolve``.
        """
        versions = self.versions(model)
        if version is None and versions:
            return next(reversed(versions.values()))
        if version is not None and version in versions:
            return versions[version]
        for rejection in self.rejected(model):
            if version in (None, rejection.version):
                raise UnknownModel(f"model {model!r} version {rejection.version!r} is not served: {rejection.reason}")
        raise UnknownModel(f"model {model!r} has no version {version!r}; it has: {', '.join(versions)}")


def version_key(version: str) -> tuple[tuple[int, int | str], ...]:
    """A key that puts version 10 behind version 9 and 1.2 before 1.10."""
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in re.findall(r"\d+|\D+", version))
