"""The catalogue: which models are served, in which versions, and which are not and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from ostinato.service.catalogue.canaries import why_unfit
from ostinato.service.catalogue.decisions import Decisions
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
    """The engines by model and version. Empty and not ``complete`` until the repository has been read.

    Attributes:
        decisions: which version is meant where none is named, and by which other names.
        are_decisions_known: whether those have been read; until then nobody is answered by a guess.
        gone: versions, by model and name, of which no session begins any more.
        confirm: what tells whether ``gone`` is known newly; None = it is, else it is awaited for that.
        on_change: called when something else is decided, or one version more or less is served; None = not.
    """

    def __init__(self) -> None:
        self._engines: dict[str, dict[str, AnyEngine]] = {}
        self._by_arena: dict[Arena, Engine] = {}
        self.rejections: list[Rejection] = []
        self.complete = False
        self._decisions = Decisions()
        self.gone: set[tuple[str, str]] = set()
        self.confirm: Callable[[], Awaitable[None] | None] = _is_known
        self._beginning: Counter[Engine] = Counter()
        self.on_change: Callable[[], object] | None = None
        self.are_decisions_known = True
        self._is_draining = False

    def __repr__(self) -> str:
        loading = "" if self.complete else ", loading"
        return f"<Catalogue {sorted(self._engines)}, {len(self.rejections)} rejected{loading}>"

    @property
    def decisions(self) -> Decisions:
        """What operators decided."""
        return self._decisions

    @decisions.setter
    def decisions(self, decided: Decisions) -> None:
        is_new = decided != self._decisions
        self._decisions = decided
        if is_new and self.on_change is not None:
            self.on_change()

    def add(self, engine: AnyEngine) -> None:
        """Serve an engine from now on; one that comes while the catalogue drains takes no work."""
        if self._is_draining:
            engine.drain()
        versions = self._engines.setdefault(engine.manifest.name, {})
        versions[engine.manifest.version] = engine
        self.forget(engine.manifest.name, engine.manifest.version)
        if isinstance(engine, Engine):
            self._by_arena[engine.arena] = engine
        self._engines[engine.manifest.name] = dict(sorted(versions.items(), key=lambda item: version_key(item[0])))
        if self.on_change is not None:
            self.on_change()

    def reject(self, rejection: Rejection) -> None:
        """List a version as not served, and why; it takes the place of what was known of it."""
        self.forget(rejection.model, rejection.version)
        self.rejections.append(rejection)

    def forget(self, model: str, version: str) -> None:
        """Take a version from the list of those that are not served."""
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

    def engine_named(self, model: str, version: str) -> AnyEngine | None:
        """The engine of a version by its own name, whatever was decided about that; None = it is not served."""
        return self._engines.get(model, {}).get(version)

    def engine_meant(self, model: str) -> AnyEngine | None:
        """The engine of the version that is meant where none is named; None = it is not served.

        Raises:
            UnknownModel, Starting: as ``versions``; and as long as it cannot be said.
        """
        if not self.versions(model):
            return None
        try:
            return self.resolve_any(model)
        except UnknownModel:
            return None

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

    def resolve_new(self, model: str, version: str | None, name: str) -> Engine:
        """``resolve``, for a session that is to begin under a name: where no version is named, it may be one of those
        that the canary has.
        """
        engine = self.resolve(model, version)
        return engine if version is not None else self.canary_of(engine, name)

    def canary_of(self, engine: Engine, name: str) -> Engine:
        """The canary, where a session that is to begin under a name is among those that it has, and ``engine`` is what
        it would begin with; else that.
        """
        model = engine.manifest.name
        own = self.decisions.of(model)
        if not own.canary_for(model, name) or self.resolve_any(model) is not engine:
            return engine
        canary = self.engine_named(model, own.canary)
        return canary if isinstance(canary, Engine) and not self.why_not_drawn(canary, engine) else engine

    def why_not_drawn(self, canary: AnyEngine, meant: AnyEngine) -> str:
        """Why no session begins with a canary that would begin with what is meant; empty where its share does."""
        if isinstance(canary, Engine) and not self.may_begin(canary):
            return f"version {canary.manifest.version!r} is being unloaded"
        return why_unfit(meant.manifest, canary.manifest)

    def may_begin(self, engine: Engine) -> bool:
        """Whether sessions of an engine begin: it is served, and not about to be unloaded."""
        model, version = engine.manifest.name, engine.manifest.version
        return (model, version) not in self.gone and self.engine_named(model, version) is engine

    @contextmanager
    def beginning(self, engine: Engine) -> Iterator[None]:
        """Within this a session of an engine begins. Where it may as of ``confirm``, an unload finds that session.

        Raises:
            UnknownModel: none begins any more.
        """
        if not self.may_begin(engine):
            raise UnknownModel(
                f"model {engine.manifest.name!r} version {engine.manifest.version!r} is being unloaded, and no session "
                "of it begins any more"
            )
        self._beginning[engine] += 1
        try:
            yield
        finally:
            self._beginning[engine] -= 1
            if not self._beginning[engine]:
                del self._beginning[engine]

    def is_beginning(self, engine: Engine) -> bool:
        """Whether a session of an engine is about to begin, or to be there with its first commit."""
        return self._beginning[engine] > 0 or engine.has_unborn

    def remove(self, engine: AnyEngine) -> None:
        """Serve an engine no more: nothing new finds it."""
        versions = self._engines[engine.manifest.name]
        del versions[engine.manifest.version]
        if not versions:
            del self._engines[engine.manifest.name]
        if self.on_change is not None:
            self.on_change()

    def let_go(self, engine: AnyEngine) -> None:
        """Forget what was removed, when nothing of it is under way any more."""
        if isinstance(engine, Engine):
            self._by_arena.pop(engine.arena, None)

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
        """The engine of a version, whatever it does, by an alias or its own name; where none is named, of the default,
        or else of the latest served. An alias comes first: what is copied into the repository changes no meaning.

        Raises:
            UnknownModel, Starting: as ``resolve``.
        """
        versions = self.versions(model)
        if not self.are_decisions_known and version not in versions:
            raise Starting("what is decided about models could not be read yet; try again in a moment")
        version = self.decisions.of(model).version_of(version)
        if version is None and versions:
            staying = [each for name, each in versions.items() if (model, name) not in self.gone]
            return (staying or [*versions.values()])[-1]
        if version is not None and version in versions:
            return versions[version]
        if not self.complete:
            raise Starting("the models are still being checked; try again in a moment")
        raise self._unknown(model, version)

    def resolve_own(self, model: str, version: str) -> AnyEngine:
        """The engine of a version by its own name, as sessions have it.

        Raises:
            UnknownModel, Starting: as ``resolve``.
        """
        engine = self.versions(model).get(version)
        if engine is None:
            raise self._unknown(model, version)
        return engine

    def _unknown(self, model: str, version: str | None) -> UnknownModel:
        for rejection in self.rejected(model):
            if version in (None, rejection.version):
                return UnknownModel(f"model {model!r} version {rejection.version!r} is not served: {rejection.reason}")
        return UnknownModel(f"model {model!r} has no version {version!r}; it has: {', '.join(self.versions(model))}")


def _is_known() -> None:
    """Nobody else decides."""


def version_key(version: str) -> tuple[tuple[int, int | str], ...]:
    """A key that puts version 10 behind version 9 and 1.2 before 1.10."""
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in re.findall(r"\d+|\D+", version))
