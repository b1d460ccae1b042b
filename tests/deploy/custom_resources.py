"""What the custom resources that ``deploy/kubernetes`` uses may have: the members that we use, and no others."""

from __future__ import annotations

from typing import Any

import jsonschema
import kubernetes_validate

Schema = dict[str, Any]
TEXT: Schema = {"type": "string", "minLength": 1}
NUMBER: Schema = {"type": "integer", "minimum": 0}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
ANY: Schema = {}


def _object(*required: str, **members: Schema) -> Schema:
    return {"type": "object", "properties": members, "additionalProperties": False, "required": list(required)}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of, "minItems": 1}


_EXPRESSION = _object("key", "operator", key=TEXT, operator=TEXT, values=_list(TEXT))
_SELECTOR = _object(matchLabels=TEXTS, matchExpressions=_list(_EXPRESSION))
_DURATION: Schema = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$"}
_RELABELING = _object(action={"enum": ["replace"]}, replacement=TEXT, targetLabel=TEXT)
_AUTHORIZATION = _object("credentials", credentials=_object("name", "key", name=TEXT, key=TEXT))
_ENDPOINT = _object(
    "port", port=TEXT, path=TEXT, interval=_DURATION, relabelings=_list(_RELABELING), authorization=_AUTHORIZATION
)
_RULE = {
    **_object("expr", record=TEXT, alert=TEXT, expr=TEXT, **{"for": _DURATION}, labels=TEXTS, annotations=TEXTS),
    "oneOf": [{"required": ["record"]}, {"required": ["alert"]}],
}
_TRIGGER = _object(
    "type",
    "metadata",
    type={"const": "prometheus"},
    name={"type": "string", "pattern": "^[a-z][a-z-]*$"},
    metricType={"enum": ["Value", "AverageValue"]},
    metadata=_object(
        "serverAddress", "query", "threshold", serverAddress=TEXT, query=TEXT, threshold=TEXT, ignoreNullValues=TEXT
    ),
)
_PREDICTOR = _object(
    "model",
    minReplicas=NUMBER,
    maxReplicas=NUMBER,
    scaleMetric={"enum": ["cpu", "memory", "concurrency", "rps"]},
    scaleTarget=NUMBER,
    deploymentStrategy=ANY,  # as a Deployment's: see below
    model=_object(
        "modelFormat",
        modelFormat=_object("name", name=TEXT, version=TEXT),
        protocolVersion={"enum": ["v1", "v2", "grpc-v2"]},
        runtime=TEXT,
        storageUri=TEXT,
        env=ANY,  # as a container's: see below
        volumeMounts=ANY,
    ),
)
SPECIFICATIONS: dict[tuple[str, str], Schema] = {
    ("monitoring.coreos.com/v1", "PodMonitor"): _object(
        "selector", "podMetricsEndpoints", selector=_SELECTOR, podMetricsEndpoints=_list(_ENDPOINT)
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _object(
        "selector", "endpoints", selector=_SELECTOR, endpoints=_list(_ENDPOINT)
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _object(
        "groups", groups=_list(_object("name", "rules", name=TEXT, rules=_list(_RULE)))
    ),
    ("keda.sh/v1alpha1", "ScaledObject"): _object(
        "scaleTargetRef",
        "triggers",
        scaleTargetRef=_object("name", name=TEXT),
        minReplicaCount=NUMBER,
        maxReplicaCount=NUMBER,
        pollingInterval=NUMBER,
        cooldownPeriod=NUMBER,
        advanced=_object(horizontalPodAutoscalerConfig=_object(behavior=ANY)),  # as an HPA's: see below
        triggers=_list(_TRIGGER),
    ),
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): _object(
        "supportedModelFormats",
        "containers",
        supportedModelFormats=_list(_object("name", name=TEXT, version=TEXT, autoSelect={"type": "boolean"})),
        protocolVersions=_list({"enum": ["v1", "v2", "grpc-v2"]}),
        multiModel={"type": "boolean"},
        annotations=TEXTS,
        containers=ANY,  # as a pod's: see below
        volumes=ANY,
    ),
    ("serving.kserve.io/v1beta1", "InferenceService"): _object("predictor", predictor={"type": "object"}),
}
_OF_PREDICTOR = set(_PREDICTOR["properties"])


def validate(document: dict[str, Any], version: str) -> None:
    """Check a document, strictly: one of Kubernetes' own by its schema, another by ours.

    What a custom resource has from Kubernetes is checked as the resource of Kubernetes that has it, too.
    """
    key = (document["apiVersion"], document["kind"])
    if key not in SPECIFICATIONS:
        kubernetes_validate.validate(document, version, strict=True)
        return
    assert set(document) == {"apiVersion", "kind", "metadata", "spec"}
    spec = document["spec"]
    jsonschema.validate(spec, SPECIFICATIONS[key], jsonschema.Draft202012Validator)
    for native in _native_parts(document["kind"], spec):
        kubernetes_validate.validate({"metadata": {"name": "a"}, **native}, version, strict=True)


def _native_parts(kind: str, spec: dict[str, Any]) -> list[dict[str, Any]]:
    if kind == "ServingRuntime":
        return [{"apiVersion": "v1", "kind": "Pod", "spec": {name: spec[name] for name in ("containers", "volumes")}}]
    if kind == "ScaledObject":
        scaled = {"scaleTargetRef": {"kind": "Deployment", "name": "a"}, "maxReplicas": spec["maxReplicaCount"]}
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        of_hpa = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
        return [{**of_hpa, "spec": {**scaled, "behavior": behavior}}]
    if kind != "InferenceService":
        return []
    predictor = spec["predictor"]
    own = {name: value for name, value in predictor.items() if name in _OF_PREDICTOR}
    jsonschema.validate(own, _PREDICTOR, jsonschema.Draft202012Validator)
    # All else is a pod's.
    pod = {name: value for name, value in predictor.items() if name not in _OF_PREDICTOR}
    model = {name: own["model"][name] for name in ("env", "volumeMounts")}
    labels = {"labels": {"a": "b"}}
    workload = {
        "selector": {"matchLabels": labels["labels"]},
        "strategy": predictor["deploymentStrategy"],
        "template": {"metadata": labels, "spec": {**pod, "containers": [{"name": "a", "image": "a", **model}]}},
    }
    return [{"apiVersion": "apps/v1", "kind": "Deployment", "spec": workload}]
