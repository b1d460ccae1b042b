"""Shadows: the shadow versions of all models, as operators decided, and what is shown to them of each commit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput
from ostinato.service.inference.differences import answer_alike
from ostinato.service.inference.migration import check_takes_the_same
from ostinato.service.inference.shadow_version import ShadowVersion, Won
from ostinato.service.metrics.series import Metrics
from ostinato.service.metrics.shadows import ShadowMetrics
from ostinato.service.sessions.blocks import Block
from ostinato.service.sessions.chunk import Chunk
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.state.arena import Arena
from ostinato.service.state.commit import Commit

logger = logging.getLogger(__name__)


class Shadows:
    """The shadow versions that there are; follows the catalogue, and watches the ledger's commits while there is one.

    Whatever fails here fails for nobody else.
    """

    def __init__(self, catalogue: Catalogue, ledger: Ledger, metrics: Metrics) -> None:
        self._catalogue = catalogue
        self._ledger = ledger
        self._metrics = metrics
        self._versions: dict[str, ShadowVersion] = {}
        self._by_arena: dict[Arena, ShadowVersion] = {}
        catalogue.on_change = self.follow

    def __repr__(self) -> str:
        return f"<Shadows {self._versions}>"

    def follow(self) -> None:
        """Have what is decided, and served, be in effect."""
        try:
            self._follow()
        except Exception:
            logger.exception("what is decided about shadows is not in effect")

    def sweep(self) -> None:
        """Once in a while: let go of what nobody needs any more."""
        for version in self._versions.values():
            version.sweep()

    def see(self, works: list[Chunk | Block], commit: Commit) -> Callable[[Won], None] | None:
        """See ``CommitWatcher.see``."""
        version = self._by_arena.get(commit.arena)
        if version is None:
            return None
        try:
            told = version.see(works, commit)
        except Exception:
            logger.exception("a shadow could not see a commit")
            return None
        return None if told is None else partial(_tell, told)

    def _follow(self) -> None:
        for model, version in list(self._versions.items()):
            if self._meant(model) is not version.engine:
                version.end()
                del self._versions[model]
        self._by_arena = {}
        for model, own in self._catalogue.decisions.models.items():
            engine = self._meant(model)
            if engine is None:
                continue
            if model not in self._versions:
                series = ShadowMetrics(self._metrics, model, own.shadow)
                self._versions[model] = ShadowVersion(engine, own.shadow_share, series)
            version = self._versions[model]
            version.share = own.shadow_share
            arenas = [each.arena for each in self._catalogue.engines if _is_shadowed(each, engine)]
            version.watch(arenas)
            self._by_arena |= dict.fromkeys(arenas, version)
        self._ledger.watcher = self if self._by_arena else None

    def _meant(self, model: str) -> Engine | None:
        """The engine of a model's shadow; None = there is none, or it is not served."""
        shadow = self._catalogue.decisions.of(model).shadow
        engine = self._catalogue.engine_named(model, shadow) if shadow else None
        return engine if isinstance(engine, Engine) else None


def check_shadow(catalogue: Catalogue, model: str, version: str, default: str) -> None:
    """Refuse a version, which is served, as its model's shadow where it could run the steps of nobody: of the default
    version; or where that is none, or itself, of no other.

    Raises:
        InvalidInput: says why.
    """
    engine = catalogue.resolve_own(model, version)
    if not isinstance(engine, Engine):
        raise InvalidInput(f"model {model!r} has no sessions, so there is nothing to shadow", field="version")
    others = [each for each in catalogue.engines if each.manifest.name == model and each is not engine]
    others = [each for each in others if each.manifest.version == default] or others
    if not any(_is_shadowed(each, engine) for each in others):
        for each in (*reversed(others), engine):
            check_can_shadow(each.manifest, engine.manifest)


def check_can_shadow(former: Manifest, manifest: Manifest) -> None:
    """Refuse a version as the shadow of another whose steps it does not take, or whose outputs are others.

    Raises:
        InvalidInput: says what differs.
    """
    if manifest.framing is not None or former.framing is not None:
        raise InvalidInput("a model with framing has no shadow", field="version")
    check_takes_the_same(former, manifest)
    if not answer_alike(former, manifest):
        raise InvalidInput(
            f"version {manifest.version!r} has other outputs than {former.version!r}: they cannot be compared",
            field="version",
        )


def _is_shadowed(engine: Engine, shadow: Engine) -> bool:
    """Whether the sessions of a version can have their shadow in another."""
    if engine is shadow or engine.manifest.name != shadow.manifest.name:
        return False
    try:
        check_can_shadow(engine.manifest, shadow.manifest)
    except InvalidInput:
        return False
    return True


def _tell(told: Callable[[Won], None], won: Won) -> None:
    try:
        told(won)
    except Exception:
        logger.exception("a shadow could not take in what was committed")
