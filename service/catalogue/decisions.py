"""Decisions of operators: which version of a model is meant where none is named, and by which other names."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from ostinato.service.catalogue.shares import share_of
from ostinato.service.errors import InvalidInput, StateStoreUnavailable, UnknownModel, VersionInUse

MAX_KEPT = 16
"""Decisions about one model that can be taken back."""
MAX_ALIASES, MAX_LOADS = 100, 100
"""Of one model: names that there may be, and versions asked for that are remembered."""
ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,63}")

Alias: TypeAlias = Annotated[str, msgspec.Meta(pattern=f"^{ALIAS.pattern}$")]
ShareOfSessions: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
Fate: TypeAlias = Literal["refuse", "keep", "close", "migrate"]
"""What becomes of the sessions of a version that is unloaded: where there is one, it is not unloaded; or they stay in
the store, are closed, or continue with another version.
"""


class Leaving(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a version is unloaded. ``version``: the one that its sessions go on by, of ``migrate``; else empty."""

    sessions: Fate = "refuse"
    version: str = ""


class ModelDecisions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was decided about a model.

    Attributes:
        default: the version that is meant where none is named; empty = the latest that is served.
        aliases: name -> version.
        canary: the version that a share of new sessions has which name none; empty = there is none.
        canary_share: that share, 0 to 1.
        unloaded: versions that are not to be served, though the repository has them.
        leaving: versions of which no session begins any more, and what becomes of those that there are: the ones that
            are being unloaded, and the ones that were.
        loads: version -> how often it was asked for.
        shadow: the version that a copy of the traffic runs on; empty = none.
        shadow_share: the share of the sessions that it runs, 0 to 1.
    """

    default: str = ""
    aliases: dict[Alias, str] = {}
    canary: str = ""
    canary_share: ShareOfSessions = 0.0
    unloaded: dict[str, int] = {}
    loads: dict[str, int] = {}
    shadow: str = ""
    shadow_share: ShareOfSessions = 0.0
    leaving: dict[str, Leaving] = {}

    def version_of(self, named: str | None) -> str | None:
        """The version that is meant by a name, be it a version's or an alias; None = the latest that is served."""
        if named is None:
            return self.default or None
        return self.aliases.get(named, named)

    @property
    def meant(self) -> set[str]:
        """The versions that are meant by any name, or by none."""
        return {self.default, self.canary, *self.aliases.values()} - {""}

    @property
    def wanted(self) -> set[str]:
        """The versions that whoever has them is to serve."""
        return {*self.meant, *self.loads, self.shadow} - {""}

    @property
    def gone(self) -> set[str]:
        """The versions of which no session begins any more."""
        return {*self.unloaded, *self.leaving}

    def newly_meant(self, former: ModelDecisions) -> set[str]:
        """The versions that a name means which meant another one, or none, before; and the shadow, likewise."""
        new = {version for name, version in self.aliases.items() if former.aliases.get(name) != version}
        new |= {self.canary} - {"", former.canary}
        new |= {self.shadow} - {"", former.shadow}
        return new if self.default in ("", former.default) else {*new, self.default}

    def held_back(self, former: ModelDecisions, awaited: AbstractSet[str]) -> ModelDecisions:
        """The same, but for names of versions that are awaited, which mean what they did before."""
        if awaited.isdisjoint(self.meant):
            return self
        default = former.default if self.default in awaited else self.default
        aliases = {
            name: former.aliases.get(name, version) if version in awaited else version
            for name, version in self.aliases.items()
        }
        canary = former if self.canary in awaited else self
        return msgspec.structs.replace(
            self, default=default, aliases=aliases, canary=canary.canary, canary_share=canary.canary_share
        )

    def canary_for(self, model: str, name: str) -> str:
        """The version that a new session has which names none, by its name in the store; empty = no canary."""
        return self.canary if self.canary and share_of(model, name) < self.canary_share else ""


class Decisions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was decided about all models, and about each what it was before, the newest last.

    Attributes:
        stamp: of the change that made it, by which two that decide the same are told apart.
    """

    models: dict[str, ModelDecisions] = {}
    before: dict[str, list[ModelDecisions]] = {}
    stamp: int = 0

    @classmethod
    def read(cls, content: bytes) -> Decisions:
        """From a document; of an empty one, none.

        Raises:
            ValueError: it is no such document.
        """
        return msgspec.json.decode(content, type=cls) if content else cls()

    def written(self, stamp: int = 0) -> bytes:
        """As a document, of a change with this stamp."""
        return msgspec.json.encode(msgspec.structs.replace(self, stamp=stamp))

    def of(self, model: str) -> ModelDecisions:
        """About one model."""
        return self.models.get(model, _NONE)

    def with_default(self, model: str, version: str) -> Decisions:
        """Another version is meant where none is named; empty = the latest."""
        return self._changed(model, default=version)

    def with_alias(self, model: str, alias: str, version: str | None) -> Decisions:
        """A name for a version; None = the name is none any more.

        Raises:
            InvalidInput: it could be a version's, or there are as many as there may be.
        """
        if not ALIAS.fullmatch(alias) or re.fullmatch(r"v?[0-9.]+", alias):
            raise InvalidInput(
                "an alias is 1 to 64 of A-Z a-z 0-9 . _ -, begins with a letter, and is no number", field="alias"
            )
        aliases = {name: known for name, known in self.of(model).aliases.items() if name != alias}
        if version is not None and len(aliases) >= MAX_ALIASES:
            raise InvalidInput(f"model {model!r} has {MAX_ALIASES} aliases, which are the most; take one away", "alias")
        return self._changed(model, aliases=aliases if version is None else {**aliases, alias: version})

    def with_canary(self, model: str, version: str, share: float) -> Decisions:
        """A share of new sessions has this version; empty = none has."""
        return self._changed(model, canary=version, canary_share=share if version else 0.0)

    def with_leaving(self, model: str, version: str, leaving: Leaving) -> Decisions:
        """No session of a version begins any more, which is about to be unloaded; what is decided so already stays.

        Raises:
            UnknownModel: it is unloaded already; or the version is that its sessions are to continue with, or about to
            be.
            InvalidInput: a name means it, or sessions of a version that is unloaded continue with it.
            VersionInUse: it is being unloaded, and something else is to become of its sessions.
        """
        own = self.of(model)
        self._check_unmeant(model, version)
        if version in own.unloaded:
            raise UnknownModel(f"model {model!r} version {version!r} is unloaded already")
        before = own.leaving.get(version, leaving)
        if before != leaving:
            raise VersionInUse(
                f"{model}/{version} is being unloaded already, with 'sessions': {before.sessions!r}: wait for that, "
                "ask for the same, or load it, which takes that back"
            )
        if leaving.version in own.gone:
            raise _gone_error(model, leaving.version, own)
        for other, way in own.leaving.items():
            if way.version == version and other not in own.unloaded:
                raise InvalidInput(
                    f"sessions of version {other!r}, which is being unloaded, continue with version {version!r}: wait "
                    "for that first",
                    field="version",
                )
        return self._with(model, msgspec.structs.replace(own, leaving={**own.leaving, version: leaving}))

    def without_leaving(self, model: str, version: str, leaving: Leaving) -> Decisions:
        """Sessions of a version begin again that was about to be unloaded so; one that is unloaded stays so."""
        own = self.of(model)
        if version in own.unloaded or own.leaving.get(version) != leaving:
            return self
        others = {known: way for known, way in own.leaving.items() if known != version}
        return self._with(model, msgspec.structs.replace(own, leaving=others))

    def with_unload(self, model: str, version: str, leaving: Leaving) -> Decisions:
        """A version that is leaving so is not served any more, by nobody; until it is to be loaded again.

        Raises:
            VersionInUse: it is not leaving so any more.
            InvalidInput: a name means it.
        """
        own = self.of(model)
        self._check_unmeant(model, version)
        if own.leaving.get(version) != leaving:
            raise VersionInUse(f"{model}/{version} is not unloaded: somebody has taken that back meanwhile")
        loads = {known: count for known, count in own.loads.items() if known != version}
        unloaded = {**own.unloaded, version: own.unloaded.get(version, 0) + 1}
        return self._with(model, msgspec.structs.replace(own, loads=loads, unloaded=unloaded))

    def with_shadow(self, model: str, version: str, share: float) -> Decisions:
        """A version runs a copy of the traffic, of a share of the sessions; empty = none does."""
        return self._changed(model, shadow=version, shadow_share=share if version else 0.0)

    def with_load(self, model: str, version: str) -> Decisions:
        """A version is to be loaded by all; it is nothing that can be taken back."""
        own = self.of(model)
        others = [(known, count) for known, count in own.loads.items() if known != version]
        loads = {**dict(others[1 - MAX_LOADS :]), version: own.loads.get(version, 0) + 1}
        unloaded = {known: count for known, count in own.unloaded.items() if known != version}
        leaving = {known: way for known, way in own.leaving.items() if known != version}
        return self._with(model, msgspec.structs.replace(own, loads=loads, unloaded=unloaded, leaving=leaving))

    def rolled_back(self, model: str) -> Decisions:
        """As it was before the last decision about default, aliases, canary and shadow.

        Raises:
            InvalidInput: there was none.
            UnknownModel: a name would come to mean a version that is unloaded, or about to be.
        """
        kept = self.before.get(model, [])
        if not kept:
            raise InvalidInput(f"nothing was decided about model {model!r} that could be taken back")
        own = self.of(model)
        former = msgspec.structs.replace(kept[-1], loads=own.loads, unloaded=own.unloaded, leaving=own.leaving)
        _check_served(model, former, own)
        return Decisions({**self.models, model: former}, {**self.before, model: kept[:-1]})

    def forgetful(self) -> Decisions:
        """The same, but that the model of which most can be taken back has its oldest former decision forgotten.

        Raises:
            InvalidInput: there is none.
        """
        if not any(self.before.values()):
            raise InvalidInput("what is decided about all models takes too much room; take aliases away")
        model = max(self.before, key=lambda model: len(self.before[model]))
        return msgspec.structs.replace(self, before={**self.before, model: self.before[model][1:]})

    def _changed(self, model: str, **changes: Any) -> Decisions:
        own = self.of(model)
        new = msgspec.structs.replace(own, **changes)
        if new == own:
            return self
        _check_served(model, new, own)
        kept = [*self.before.get(model, []), own][-MAX_KEPT:]
        return Decisions({**self.models, model: new}, {**self.before, model: kept})

    def _with(self, model: str, new: ModelDecisions) -> Decisions:
        """The same with this about a model, which is nothing that can be taken back."""
        return msgspec.structs.replace(self, models={**self.models, model: new})

    def _check_unmeant(self, model: str, version: str) -> None:
        own = self.of(model)
        if version in {*own.meant, own.shadow}:
            names = [name for name, meant in own.aliases.items() if meant == version]
            names = [*(["the default"] if own.default == version else []), *names]
            names += ["the canary"] if own.canary == version else []
            names += ["the shadow"] if own.shadow == version else []
            raise InvalidInput(
                f"version {version!r} is meant by {', '.join(names)}: have another one meant first", field="version"
            )


_NONE = ModelDecisions()


def decoded(content: bytes) -> Decisions:
    """The decisions of a store's document; raises StateStoreUnavailable where it is none."""
    try:
        return Decisions.read(content)
    except ValueError as error:
        raise StateStoreUnavailable(
            f"the store's document of decisions cannot be read ({error}); nothing was decided"
        ) from error


def _check_served(model: str, new: ModelDecisions, former: ModelDecisions) -> None:
    """Refuse what has a name mean a version that is unloaded, or about to be, and that it did not mean before."""
    for version in sorted(new.newly_meant(former) & new.gone):
        raise _gone_error(model, version, new)


def _gone_error(model: str, version: str, own: ModelDecisions) -> UnknownModel:
    what = "is unloaded" if version in own.unloaded else "is being unloaded"
    return UnknownModel(f"model {model!r} version {version!r} {what}: load it first")
