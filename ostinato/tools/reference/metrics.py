"""Page of metrics: each series with its kind, labels, unit and what it counts, and each label with its values."""

from __future__ import annotations

from typing import Any

from ostinato.tools.reference.markdown import escaped, page, table

INTRODUCTION = """`GET /metrics` answers with these series, and no others. [metrics.md](metrics.md) says when to look
at which of them, and [operating.md](operating.md) has the alerts. The column "workers" says what the numbers of a
server's workers become when any of them is asked: their sum, their largest or their smallest."""
OF_LABELS = """Labels are bounded: none holds the id of a session. Where the values are known beforehand, the series are
there with 0 from the start."""
UNITS = {
    "build_info": "always 1",
    "draining": "0 or 1",
    "forecast_error_total": "the feature's",
    "input_distance": "standard deviations of the training",
    "input_missing_expected": "part, 0 to 1",
    "limit": "the setting's",
    "model_info": "0 or 1",
    "persistence_error_total": "the feature's",
    "process_start_time_seconds": "seconds since 1970",
    "queue_saturation": "part, 0 to 1",
    "ready": "0 or 1",
    "shadow_difference": "the output's",
    "store_up": "0 or 1",
    "version_failed": "0 or 1",
}
"""Of series whose name does not end with their unit; without an entry it is a count."""
LABELS = {
    "batch_invariant": "`true` where the promise is `any`: a row has the same bits in every batch; else `false`",
    "code_class": "`2xx`, `4xx` or `5xx`, by the status of the answer",
    "event": "of a session: `opened`; `closed` by a client; `expired`; `evicted` from memory, while the store has it; "
    "`loaded` from the store",
    "feature": "an input or output feature of the version, 50 at most; the others share `(others)`",
    "graph": "`step`, `sequence`, or `decode` of a model that generates or forecasts with a decoder",
    "level": "of an interval, in percent: those of 50, 80, 90, 95 and 99 that the calibration has",
    "mode": "`inline`: on the event loop; `thread`: in a thread of its own, because at load one step of a full batch "
    "took longer than `OSTINATO_INLINE_RUN_SECONDS`",
    "model": "the name of a model",
    "onnxruntime": "the release of onnxruntime",
    "part": "of the files of the store: `journal` or `database`",
    "python": "the release of Python",
    "reason": "of `ostinato_rejected_total`, the [code of the error](reference_errors.md), or `answer_unread` or "
    "`out_of_descriptors`; of `ostinato_shadow_dropped_total`, see [metrics.md](metrics.md)",
    "release": "the release of Ostinato",
    "route": "the pattern of a path, as `/v1/sessions/{name}/step`; `none` where no route has the path",
    "setting": "the name of a setting that limits something, as `max_sessions` or `deadline_seconds`",
    "shadow": "the version that is the shadow",
    "signal": "that ended the worker, as `SIGKILL`; `none` where it ended by itself",
    "store": "the scheme of the store's address, as `lmdb`",
    "task": "what the version does: `recurrent`, `sequence`, `encoder_decoder` or `generator`",
    "version": "the version of the model",
}


def metrics_page() -> str:
    """The page.

    Raises:
        KeyError: a label that nothing is said of.
    """
    from ostinato.service.metrics.series import Metrics

    families = Metrics().families
    series = (
        (
            f"`ostinato_{family.name}`",
            family.new().kind,
            ", ".join(f"`{label}`" for label in family.label_names),
            _unit(family.name),
            _together(family),
            escaped(family.text),
        )
        for family in families
    )
    labels = sorted({label for family in families for label in family.label_names})
    values = ((f"`{label}`", LABELS[label]) for label in labels)
    histograms = ((f"`ostinato_{family.name}`", _bounds(family)) for family in families if _bounds(family))
    return page(
        "Reference of metrics",
        INTRODUCTION,
        f"## Series\n\n{table(('series', 'kind', 'labels', 'unit', 'workers', 'what it is'), series)}",
        f"## Labels\n\n{OF_LABELS}\n\n{table(('label', 'values'), values)}",
        "## Buckets of histograms\n\nUpper bounds belong to their bucket. The last bucket, `+Inf`, has the rest.\n\n"
        + table(("series", "upper bounds"), histograms),
    )


def _unit(name: str) -> str:
    if name in UNITS:
        return UNITS[name]
    return next((unit for unit in ("seconds", "bytes") if name.removesuffix("_total").endswith(f"_{unit}")), "count")


def _together(family: Any) -> str:
    """How the numbers of several workers become one; no distances add up, so one is taken of all values."""
    return "of all values" if family.name == "input_distance" else str(family.over_workers.__name__)


def _bounds(family: Any) -> str:
    return ", ".join(f"{bound:g}" for bound in getattr(family.new(), "bounds", ()))
