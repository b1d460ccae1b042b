"""The Helm chart, made of what is rendered of ``deploy/kubernetes`` (``make chart``)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml

from tests.deploy.rendering import DEPLOY, Document, render_with

CHART = DEPLOY / "helm" / "ostinato"
HEAD = "{{/* Made by `make chart` of deploy/kubernetes: change it there. */}}\n"
RELEASE = "release-name-here"
"""What stands in names and labels for the release's own."""

OF_STORE = {"single": 'eq .Values.store "files"', "replicas": 'eq .Values.store "redis"'}
OPTIONS = {
    "grpc": ".Values.grpcService",
    "monitoring": ".Values.monitoring",
    "autoscaling-hpa": 'and (eq .Values.store "redis") (eq .Values.autoscaling "hpa")',
    "autoscaling-keda": 'and (eq .Values.store "redis") (eq .Values.autoscaling "keda")',
}
"""Component -> when it is part of the release."""

SETTINGS = """\
        {{- range $name, $value := .Values.settings }}
        - name: {{ $name }}
          value: {{ $value | quote }}
        {{- end }}
"""


def templates() -> dict[str, str]:
    """The chart's templates by the names of their files."""
    made = {f"{overlay}.yaml": _template(_documents(overlay), condition) for overlay, condition in OF_STORE.items()}
    stock = _documents("replicas")
    for component, condition in OPTIONS.items():
        documents = _documents("replicas", component)
        made[f"{component}.yaml"] = _template(
            {name: each for name, each in documents.items() if name not in stock}, condition
        )
    return made


def _documents(overlay: str, *components: str) -> dict[str, Document]:
    labels = [{"pairs": {"app.kubernetes.io/instance": RELEASE}, "includeSelectors": True}]
    with tempfile.TemporaryDirectory() as folder:
        return render_with(Path(folder), overlay, components, namePrefix=f"{RELEASE}-", labels=labels).documents


def _template(documents: dict[str, Document], condition: str) -> str:
    text = "---\n".join(yaml.safe_dump(document, sort_keys=True, width=1000) for document in documents.values())
    # What Prometheus puts in is no word of the chart's.
    text = text.replace("{{", "{{ `{{` }}").replace(RELEASE, "{{ .Release.Name }}")
    image = "        image: ostinato:0.1.0\n"
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
