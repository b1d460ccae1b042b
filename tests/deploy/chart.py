"""The Helm chart, made of what is rendered of ``deploy/kubernetes`` (``make chart``)."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import yaml

from ostinato import __version__
from tests.deploy.rendering import DEPLOY, Document, render_with

CHART = DEPLOY / "helm" / "ostinato"
HEAD = "{{/* Made by `make chart` of deploy/kubernetes: change it there. */}}\n"
RELEASE = "release-name-here"
"""What stands in names and labels for the release's own."""

OF_STORE = {"single": 'eq .Values.store "files"', "replicas": 'eq .Values.store "redis"'}
FETCHED = "models-fetched"
KEYS = "keys"
OPTIONS = {
    FETCHED: ".Values.models",
    "grpc": ".Values.grpcService",
    "monitoring": ".Values.monitoring",
    "autoscaling-hpa": 'and (eq .Values.store "redis") (eq .Values.autoscaling "hpa")',
    "autoscaling-keda": 'and (eq .Values.store "redis") (eq .Values.autoscaling "keda")',
}
"""Component -> when it is part of the release."""

HAS_KEYS = ".Values.keysSecret"
NAME_OF_KEYS = f"{{{{ {HAS_KEYS} }}}}"
VARIABLE_OF_KEYS = "        - name: OSTINATO_KEYS\n          value: /run/secrets/ostinato-keys/keys.txt\n"
OPEN = "        - name: OSTINATO_OPEN\n          value: 'true'\n"
VOLUME_OF_KEYS = """\
      - name: keys
        secret:
          defaultMode: 288
          items:
          - key: keys.txt
            path: keys.txt
          secretName: ostinato-keys
"""
KEY_OF_PROMETHEUS = """\
  - authorization:
      credentials:
        key: prometheus
        name: ostinato-keys
    interval"""
WITH_KEY = f"""\
  - {{{{- if {HAS_KEYS} }}}}
    authorization:
      credentials:
        key: prometheus
        name: {NAME_OF_KEYS}
    {{{{- end }}}}
    interval"""
HAS_MODELS = "or .Values.models .Values.modelsClaim"
VOLUME = """\
      - name: models
        {{- if .Values.modelsClaim }}
        persistentVolumeClaim:
          claimName: {{ .Values.modelsClaim }}
        {{- else }}
        emptyDir:
          sizeLimit: 7Gi
        {{- end }}
"""
PARTS = (
    # What the component brings to a pod -> when it is there, and what stands in its place.
    (r"      initContainers:\n(?:      [ -] .*\n)+", ".Values.models", None),
    (r"        - mountPath: /models\n          name: models\n          readOnly: true\n", HAS_MODELS, None),
    (r"      - emptyDir:\n          sizeLimit: 7Gi\n        name: models\n", HAS_MODELS, VOLUME),
    (VARIABLE_OF_KEYS, HAS_KEYS, f"{VARIABLE_OF_KEYS}{{{{- else }}}}\n{OPEN}"),
    (
        r"        - mountPath: /run/secrets/ostinato-keys\n          name: keys\n          readOnly: true\n",
        HAS_KEYS,
        None,
    ),
    (VOLUME_OF_KEYS, HAS_KEYS, VOLUME_OF_KEYS.replace("ostinato-keys", NAME_OF_KEYS)),
)

SETTINGS = """\
        {{- range $name, $value := .Values.settings }}
        - name: {{ $name }}
          value: {{ $value | quote }}
        {{- end }}
"""


def templates() -> dict[str, str]:
    """The chart's templates by the names of their files."""
    made = {f"{overlay}.yaml": _of_overlay(overlay, condition) for overlay, condition in OF_STORE.items()}
    stock = _documents("replicas")
    for component, condition in OPTIONS.items():
        documents = _documents("replicas", component, KEYS)
        text = _template({name: each for name, each in documents.items() if name not in stock}, condition)
        made[f"{component}.yaml"] = text.replace(KEY_OF_PROMETHEUS, WITH_KEY)
    return made


def _of_overlay(overlay: str, condition: str) -> str:
    """An overlay with what fetches and what has keys, each part of which is there where it is asked for."""
    stock = _documents(overlay)
    documents = {name: each for name, each in _documents(overlay, FETCHED, KEYS).items() if name in stock}
    text = _template(documents, condition)
    for pattern, when, instead in PARTS:
        (found,) = re.findall(pattern, text)
        text = text.replace(found, f"{{{{- if {when} }}}}\n{instead or found}{{{{- end }}}}\n")
    (value,) = re.findall(r"value: (https://models\.example\.com/.*)\n", text)
    text = text.replace(f"value: {value}\n", "value: {{ .Values.models | quote }}\n")
    limit = f"            ephemeral-storage: 8Gi\n            memory: {'2Gi' if overlay == 'single' else '1Gi'}\n"
    fewer = "{{ if .Values.models }}8Gi{{ else }}512Mi{{ end }}"
    assert text.count(limit) == 1
    return text.replace(limit, limit.replace("8Gi", fewer))


def _documents(overlay: str, *components: str) -> dict[str, Document]:
    labels = [{"pairs": {"app.kubernetes.io/instance": RELEASE}, "includeSelectors": True}]
    with tempfile.TemporaryDirectory() as folder:
        return render_with(Path(folder), overlay, components, namePrefix=f"{RELEASE}-", labels=labels).documents


def _template(documents: dict[str, Document], condition: str) -> str:
    text = "---\n".join(yaml.safe_dump(document, sort_keys=True, width=1000) for document in documents.values())
    # What Prometheus puts in is no word of the chart's.
    text = text.replace("{{", "{{ `{{` }}").replace(RELEASE, "{{ .Release.Name }}")
    image = f"        image: ostinato:{__version__}\n"
    text = text.replace(
        image, f'{SETTINGS}        image: "{{{{ .Values.image.repository }}}}:{{{{ .Values.image.tag }}}}"\n'
    )
    number = '{{- if eq .Values.autoscaling "none" }}\n  replicas: {{ .Values.replicas }}\n{{- end }}\n'
    text = text.replace("  replicas: 3\n", f"  {number}")
    return f"{HEAD}{{{{- if {condition} }}}}\n{text}{{{{- end }}}}\n"


def main() -> None:
    """Write them."""
    for name, text in templates().items():
        (CHART / "templates" / name).write_text(text)


if __name__ == "__main__":
    main()
