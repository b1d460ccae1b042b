"""Routes under ``/v2``: the Open Inference Protocol over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from ostinato.service.edge.message import Request, Response, json_line
from ostinato.service.edge.methods import READING, other_handler
from ostinato.service.edge.oip.descriptions import Descriptions
from ostinato.service.edge.oip.forms import Forms, HttpStep
from ostinato.service.edge.oip.inference import Inference
from ostinato.service.edge.oip.options import is_of_sequence
from ostinato.service.edge.oip.reading import header_bytes, is_short, read, read_short
from ostinato.service.edge.oip.sequences import GONE
from ostinato.service.edge.oip.steps import StepForm
from ostinato.service.edge.oip.writing import write, write_in_slices
from ostinato.service.edge.system import HEALTH
from ostinato.service.edge.v1.codec import decode_json
from ostinato.service.errors import InvalidInput, MethodNotAllowed, OstinatoError, UnknownRoute
from ostinato.service.inputs.turns import SLICE_NUMBERS
from ostinato.service.sessions.chunk import StepAnswer, Waiter
from ostinato.service.sessions.session import LiveSession

OipHandler = Callable[[Request], Awaitable[Response]]

INFER, INFER_VERSION = "/v2/models/{}/infer", "/v2/models/{}/versions/{}/infer"


class IndexBody(msgspec.Struct):
    """``POST /v2/repository/index``."""

    ready: bool = False


_INDEX = msgspec.json.Decoder(IndexBody)
_NOT_LIVE = "models are loaded by POST /v1/admin/models/{model}/versions/{version}/load, and not unloaded by requests"
_NOT_SHARED = "shared memory is not read or written here: send tensors in the message, binary_data_size behind it"
_NOT_SET = "traces and the log are not set by requests: the server's settings and --help have what there is"


class OipRoutes:
    """Handlers of ``/v2``, health apart, which is the system's; its steps go a direct way, see ``DirectRoute``."""

    def __init__(self, inference: Inference, descriptions: Descriptions) -> None:
        self._inference = inference
        self._sequences = inference.sequences
        self._forms = Forms()
        self._descriptions = descriptions
        refuse_load, refuse_memory, refuse_setting = map(_refuse, (_NOT_LIVE, _NOT_SHARED, _NOT_SET))
        self.table: dict[str, dict[str, OipHandler]] = {
            "/v2": {"GET": self.server},
            "/v2/models/stats": {"GET": self.statistics},
            "/v2/repository/index": {"POST": self.index},
            "/v2/repository/models/{}/load": {"POST": refuse_load},
            "/v2/repository/models/{}/unload": {"POST": refuse_load},
            "/v2/trace/setting": dict.fromkeys(("GET", "POST"), refuse_setting),
            "/v2/models/{}/trace/setting": dict.fromkeys(("GET", "POST"), refuse_setting),
            "/v2/logging": dict.fromkeys(("GET", "POST"), refuse_setting),
        }
        for of_version in ("", "/versions/{}"):
            self.table |= {
                f"/v2/models/{{}}{of_version}": {"GET": self.model},
                f"/v2/models/{{}}{of_version}/ready": {"GET": self.ready},
                f"/v2/models/{{}}{of_version}/config": {"GET": self.config},
                f"/v2/models/{{}}{of_version}/stats": {"GET": self.statistics},
                f"/v2/models/{{}}{of_version}/infer": {"POST": self.infer},
            }
        for kind in ("systemsharedmemory", "cudasharedmemory"):
            for region in ("", "/region/{}"):
                self.table[f"/v2/{kind}{region}/status"] = {"GET": refuse_memory}
                self.table[f"/v2/{kind}{region}/unregister"] = {"POST": refuse_memory}
            self.table[f"/v2/{kind}/region/{{}}/register"] = {"POST": refuse_memory}

    def route(self, method: str, path: str, parts: Sequence[str]) -> tuple[str, str, OipHandler]:
        """The route that serves a path, whose ``parts`` are these: its pattern, ``model`` or ``model/version``, and the
        handler.

        Raises:
            UnknownRoute, MethodNotAllowed.
        """
        pattern, name = _pattern(parts)
        handlers = self.table.get(pattern)
        if path in HEALTH:  # which answers what it may be asked before it comes here
            raise MethodNotAllowed(f"{path} takes GET, not {method}", READING)
        if handlers is None or (not name and "{}" in pattern):
            if path in HEALTH:  # the system's, whatever may be asked of it
                return path, "", other_handler(method, path, ("GET",))
            raise UnknownRoute(f"there is no {path}; /docs has the routes")
        handler = handlers.get(method)
        if handler is None:
            handler = other_handler(method, pattern, handlers)
        return pattern, name, handler

    async def server(self, _: Request) -> Response:
        """``GET /v2``."""
        return _told(self._descriptions.server())

    async def model(self, request: Request) -> Response:
        """The inputs and outputs of a model."""
        return _told(self._descriptions.model(*_named(request)))

    async def ready(self, request: Request) -> Response:
        """Whether a model is served; where it is not, the error says why."""
        model, version = _named(request)
        self._descriptions.model(model, version)
        return _told({"name": model, "ready": True})

    async def config(self, request: Request) -> Response:
        """A model's configuration."""
        return _told(self._descriptions.config(*_named(request)))

    async def statistics(self, request: Request) -> Response:
        """What models have done."""
        return _told(self._descriptions.statistics(*_named(request)))

    async def index(self, request: Request) -> Response:
        """All versions in the repository."""
        asked = decode_json(request.body or b"{}", _INDEX, "the body")
        return _told(self._descriptions.index(asked.ready))

    async def infer(self, request: Request) -> Response:
        """Answer an inference request."""
        message, binary = await read(request, *_named(request))
        response = await self._inference.infer(message)
        if sum(tensor.data.size for tensor in response.outputs) > SLICE_NUMBERS:
            return await write_in_slices(response, binary)
        return write(response, binary)

    def read(self, request: Request) -> tuple[LiveSession, HttpStep] | None:
        """See ``DirectRoute``: a step that is short, and neither starts nor ends its sequence."""
        size = header_bytes(request)
        step: HttpStep | None = self._forms.find(request.name, request.body, size)
        if step is None:
            if not is_short(request.body, size):
                return None
            message, binary = read_short(request, *_named(request))
            if not is_of_sequence(message.parameters):
                return None
            step = HttpStep(StepForm(message), message.inputs, binary)
            self._forms.keep(request.name, request.body, size, step)
        session = self._sequences.use(step)
        return None if session is None else (session, step)

    def begin(self, session: LiveSession, step: HttpStep, future: Waiter) -> Awaitable[StepAnswer]:
        """See ``DirectRoute``."""
        return self._sequences.begin(session, step, future)

    def answer(self, answer: StepAnswer, step: HttpStep) -> Response:
        """See ``DirectRoute``."""
        return step.write(answer)

    async def answer_in_slices(self, answer: StepAnswer, step: HttpStep) -> Response:
        """See ``DirectRoute``."""
        return await write_in_slices(step.response(answer), step.binary)

    def told(self, step: HttpStep, error: Exception) -> Exception:
        """See ``DirectRoute``."""
        return self._sequences.not_started(step, error) if isinstance(error, GONE) else error

    async def step_anew(self, session: LiveSession, step: HttpStep, error: OstinatoError) -> Response:
        """See ``DirectRoute``."""
        return step.write(await self._sequences.step_anew(session, step, error))


def _pattern(parts: Sequence[str]) -> tuple[str, str]:
    """The pattern of a path, and the names in it."""
    if len(parts) == 5 and parts[4] == "infer" and parts[2] == "models":  # most often
        return INFER, parts[3]
    shape, name = list(parts), ""
    at = {"models": 3, "repository": 4}.get(parts[2] if len(parts) > 2 else "", 0)
    if parts[2:] == ["models", "stats"]:
        at = 0
    elif len(parts) > 4 and parts[3] == "region":
        at = 4
    if 0 < at < len(parts):
        name, shape[at] = parts[at], "{}"
        if name and len(parts) > 5 and parts[4] == "versions":
            name, shape[5] = f"{name}/{parts[5]}" if parts[5] else "", "{}"
    return "/".join(shape), name


def _told(content: object) -> Response:
    """A description, uncoded: NVIDIA's client for event loops says that it takes gzip, and can of ``infer`` alone."""
    return Response(200, json_line(content), is_plain=True)


def _named(request: Request) -> tuple[str, str | None]:
    """The model and the version that a path names."""
    model, _, version = request.name.partition("/")
    return model, version or None


def _refuse(sentence: str) -> OipHandler:
    async def refuse(_: Request) -> Response:
        raise InvalidInput(sentence)

    return refuse
