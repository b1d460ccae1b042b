"""Chunks of a model's inputs, made of what users have; the service is asked for the features where names need them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from ostinato.client import given as given_inputs
from ostinato.client.answers import hold, read
from ostinato.client.exchange import ClientRequest, Exchanges, Plan
from ostinato.errors import InputError


class Chunks:
    """Makes chunks, and remembers the features of each model that it had to ask for."""

    def __init__(self, exchanges: Exchanges) -> None:
        self._exchanges = exchanges
        self._features: dict[tuple[str, str], tuple[str, ...] | None] = {}

    def rows(self, model: str, version: str, inputs: Any, *, may_be_one: bool = True) -> Plan[Any]:
        """Rows ``[n, F]``: lists and arrays of two axes as they are, anything else by its names or its shape.

        Args:
            version: of the model; empty = any.
            may_be_one: whether one axis may be one step, or several of a model with one feature.

        Raises:
            InputError: it is no chunk of the model's features.
        """
        if given_inputs.is_plain(inputs):
            return inputs
        features = yield from self._features_of(model, version)
        if features == () and given_inputs.has_names(inputs):
            raise InputError(
                f"the features of {model}/{version} are not told any more, for another version is the latest: send "
                "numbers in their order, as by frame.to_numpy()"
            )
        return given_inputs.to_rows(inputs, features or None, model, may_be_one=may_be_one)

    def sequences(self, model: str, version: str, sequences: Sequence[Any]) -> Plan[list[Any]]:
        """Whole sequences, each as ``rows`` has it.

        Raises:
            InputError: it is one sequence, and not a list of them.
        """
        if given_inputs.columns_of(sequences) is not None or getattr(sequences, "ndim", 3) < 3:
            raise InputError("this is one sequence, and a list of them is asked for: put it in a list")
        made = list(sequences)
        for place, sequence in enumerate(made):
            made[place] = yield from self.rows(model, version, sequence, may_be_one=False)
        return made

    def sources(self, model: str, sources: Sequence[Any] | None) -> Plan[Sequence[Any] | None]:
        """Sources of outputs: data frames by the names of their columns, anything else as it is."""
        if sources is None or isinstance(sources, str) or not any(map(given_inputs.columns_of, sources)):
            return sources
        features = yield from self._features_of(model, "")
        is_frame = [given_inputs.columns_of(source) is not None for source in sources]
        return [
            given_inputs.to_rows(source, features or None, model) if named else source
            for source, named in zip(sources, is_frame, strict=True)
        ]

    def _features_of(self, model: str, version: str) -> Plan[tuple[str, ...] | None]:
        """Empty where the manifest that the service gives is another version's; None where it does not tell them."""
        if (model, version) not in self._features:
            answer = yield from self._exchanges.ask(ClientRequest("GET", f"/v1/models/{quote(model, safe='')}"))
            self._features[model, version] = read(answer, lambda members: _features(members, model, version))
        return self._features[model, version]


def _features(members: Any, model: str, version: str) -> tuple[str, ...] | None:
    hold(members, model=model)
    manifest = members["manifest"]
    if manifest is None or (version and manifest.get("version", version) != version):
        return ()
    if not manifest["inputs"]:
        return None
    features = manifest["inputs"][0].get("features")
    return None if features is None else tuple(map(str, features))
