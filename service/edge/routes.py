"""Routes: which handler answers a method and a path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ostinato.service.access.meter import UNMETERED, Meter
from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.catalogue.reload import LiveModels
from ostinato.service.edge.desk import Desk
from ostinato.service.edge.direct_route import DirectRoute
from ostinato.service.edge.message import EventStream, Request, Response
from ostinato.service.edge.methods import other_handler
from ostinato.service.edge.oip.descriptions import Descriptions
from ostinato.service.edge.oip.inference import Inference
from ostinato.service.edge.oip.routes import INFER, INFER_VERSION, OipRoutes
from ostinato.service.edge.system import HEALTH
from ostinato.service.edge.typed import typed_handlers
from ostinato.service.edge.v1.admin import AdminRoutes
from ostinato.service.edge.v1.columns import ColumnSteps
from ostinato.service.edge.v1.forecasts import ForecastManyRoute
from ostinato.service.edge.v1.generate import GenerateRoutes
from ostinato.service.edge.v1.lives import LifeRoutes
from ostinato.service.edge.v1.models import ModelRoutes
from ostinato.service.edge.v1.predict import PredictRoute
from ostinato.service.edge.v1.sessions import SessionRoutes
from ostinato.service.edge.v1.steps import StepRoutes
from ostinato.service.errors import UnknownRoute
from ostinato.service.inference.departures import Departures
from ostinato.service.sessions.checkpoints import CheckpointShelf
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.named_locks import NamedLocks
from ostinato.service.sessions.sessions import Sessions

Handler = Callable[[Request], Awaitable[Response]] | Callable[[Request], Awaitable[Response | EventStream]]

STEP = "/v1/sessions/{}/step"
PREDICT, STEP_MANY = "/v1/models/{}/predict", "/v1/models/{}/step"


class Routes:
    """Handlers by method and path: those under ``/v1`` and ``/v2``, and the typed ones.

    Every path under ``/v1`` is ``/v1/<collection>``, ``/v1/<collection>/<name>`` or
    ``/v1/<collection>/<name>/<action>``, so that one look into a dictionary finds its handler.

    Attributes:
        direct: those that hand a step on without a task, by their patterns.
        room: what refuses requests to a model that it has no room for, by their patterns, of those with large bodies.
        inference, descriptions: of the Open Inference Protocol, for its other ways in.
        columns: for the binary frames of streams.
        catalogue, sessions, ledger, desk: what these are the routes of.
        live, departures: what loads models by request, and unloads them; None = nothing does.
        patterns: every method with its path, for those who describe them.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        sessions: Sessions,
        ledger: Ledger,
        desk: Desk,
        locks: NamedLocks | None = None,
        meter: Meter = UNMETERED,
        *,
        sees_all: bool = True,
        live: LiveModels | None = None,
        departures: Departures | None = None,
    ) -> None:
        self.catalogue, self.sessions, self.ledger, self.desk = catalogue, sessions, ledger, desk
        steps = StepRoutes(sessions, ledger, meter)
        self.columns = ColumnSteps(catalogue, sessions, ledger, desk)
        models, predict = ModelRoutes(catalogue), PredictRoute(catalogue, meter)
        generate, checkpoints = GenerateRoutes(catalogue, desk, meter), CheckpointShelf(sessions)
        lives = SessionRoutes(sessions, checkpoints, sees_all=sees_all)
        beyond = LifeRoutes(catalogue, sessions, checkpoints)
        routes: dict[tuple[str, str], Handler] = {
            ("GET", "/v1/models"): models.list,
            ("GET", "/v1/models/{}"): models.show,
            ("POST", "/v1/models/{}/predict"): predict.answer,
            ("POST", "/v1/models/{}/step"): self.columns.answer,
            ("POST", "/v1/models/{}/forecast"): ForecastManyRoute(catalogue, sessions, desk, meter).answer,
            ("POST", "/v1/models/{}/generate"): generate.generate,
            ("POST", "/v1/models/{}/score"): generate.score,
            ("POST", "/v1/models/{}/sessions"): lives.open,
            ("GET", "/v1/models/{}/stream"): self.columns.refuse_without_handshake,
            ("GET", "/v1/sessions"): lives.list,
            ("GET", "/v1/sessions/{}"): lives.show,
            ("DELETE", "/v1/sessions/{}"): lives.close,
            ("POST", "/v1/sessions/{}/reset"): lives.reset,
            ("POST", "/v1/sessions/{}/fork"): lives.fork,
            ("GET", "/v1/sessions/{}/state"): lives.get_state,
            ("PUT", "/v1/sessions/{}/state"): lives.put_state,
            ("POST", "/v1/sessions/{}/step"): steps.step,
            ("POST", "/v1/sessions/{}/forecast"): steps.forecast,
            ("POST", "/v1/sessions/{}/checkpoint"): beyond.save,
            ("POST", "/v1/sessions/{}/migrate"): beyond.migrate,
            ("GET", "/v1/checkpoints"): beyond.list,
            ("GET", "/v1/checkpoints/{}"): beyond.show,
            ("DELETE", "/v1/checkpoints/{}"): beyond.delete,
        }
        self.inference = Inference(catalogue, sessions, ledger, locks, meter)
        self.descriptions = Descriptions(catalogue, desk.metrics, ttl_seconds=sessions.default_ttl_seconds)
        self._oip = oip = OipRoutes(self.inference, self.descriptions)
        self.direct: dict[str, DirectRoute] = {STEP: steps, INFER: oip, INFER_VERSION: oip}
        self.room = dict.fromkeys((PREDICT, STEP_MANY, INFER), predict.check_room)
        # By the number of parts, the collection and the action: all of a path except its name.
        self._paths: dict[tuple[int, str, str], tuple[str, dict[str, Handler]]] = {}
        for (method, path), handler in routes.items():
            _, _, collection, _, action = [*path.split("/"), "", ""][:5]
            self._paths.setdefault((path.count("/") + 1, collection, action), (path, {}))[1][method] = handler
        self._typed: dict[str, tuple[str, dict[str, Handler]]] = {
            path: (path, {"POST": typed}) for path, typed in typed_handlers(predict, steps, generate).items()
        }
        self.live, self.departures = live, departures
        self._admin = None
        if live is not None:
            self.departures = departures or Departures(catalogue, live, sessions)
            self._admin = AdminRoutes(catalogue, live, self.departures, desk.deadline_seconds)
        admin = {} if self._admin is None else self._admin.table
        of_admin = [(method, path) for path, handlers in admin.items() for method in handlers]
        of_protocol = [(method, path) for path, handlers in oip.table.items() for method in handlers]
        self.patterns = (*routes, *of_admin, *of_protocol, *(("POST", path) for path in self._typed))
        desk.expect(["none", *dict.fromkeys(path for _, path in self.patterns)])

    def serve(self, path: str) -> bool:
        """Whether a path is answered here, be it with a refusal; every other path is BentoML's."""
        if path.startswith("/v1/") or path == "/v1" or path in self._typed:
            return True
        return (path.startswith("/v2/") or path == "/v2") and path not in HEALTH

    def route(self, method: str, path: str) -> tuple[str, str, Handler]:
        """The route that serves a path: its pattern, the path's variable part, and the handler.

        Raises:
            UnknownRoute, MethodNotAllowed.
        """
        if method == "HEAD":  # the server leaves the body out
            method = "GET"
        parts = path.split("/")
        num_parts = len(parts)
        if num_parts > 1 and parts[1] == "v2":
            return self._oip.route(method, path, parts)
        if num_parts > 4 and parts[2] == "admin" and self._admin is not None:
            return self._admin.route(method, path, parts)
        found = self._paths.get((num_parts, parts[2] if num_parts > 2 else "", parts[4] if num_parts == 5 else ""))
        if found is None:
            found = self._typed.get(path)
        if found is None:
            raise UnknownRoute(f"there is no {path}; /docs has the routes")
        pattern, handlers = found
        handler = handlers.get(method)
        if handler is None:
            handler = other_handler(method, pattern, handlers)
        return pattern, parts[3] if num_parts > 3 else "", handler
