"""Statistics of a model version, as Triton has them, out of the series that Prometheus reads."""

from __future__ import annotations

from typing import Any

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.metrics.families import Histogram
from ostinato.service.metrics.series import Metrics

_NANOSECONDS = 1_000_000_000


def statistics_of(manifest: Manifest, metrics: Metrics) -> dict[str, Any]:
    """``ModelStatistics`` of a version since the server began.

    ``inference_count`` counts steps, rows x steps of a sequence, or those of outputs; ``execution_count`` runs of the
    graph. A request that was taken has waited (``queue``), and was answered (``success``) unless its run failed.
    Gathering, running and scattering are one time here, ``compute_infer``. Of sizes of batches only powers of two are
    known, so ``batch_stats`` has none; nothing is answered from a cache.
    """
    labels = {"model": manifest.name, "version": manifest.version}
    queue, run = metrics.queue_seconds.labels(**labels), metrics.run_seconds.labels(**labels)
    steps = metrics.steps if manifest.task in ("recurrent", "sequence") else metrics.generated_steps
    failed = int(metrics.run_failures.labels(**labels).value)
    waited, ran = _duration(queue), _duration(run)
    nothing = {"count": 0, "ns": 0}
    return {
        "name": manifest.name,
        "version": manifest.version,
        "inference_count": int(steps.labels(**labels).value),
        "execution_count": ran["count"],
        "inference_stats": {
            "success": {"count": max(0, waited["count"] - failed), "ns": waited["ns"] + ran["ns"]},
            "fail": {"count": failed, "ns": 0},
            "queue": waited,
            "compute_input": nothing,
            "compute_infer": ran,
            "compute_output": nothing,
        },
        "batch_stats": [],
    }


def _duration(seconds: Histogram) -> dict[str, int]:
    return {"count": sum(seconds.counts), "ns": int(seconds.total * _NANOSECONDS)}
