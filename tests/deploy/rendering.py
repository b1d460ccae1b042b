"""The folders of ``deploy/kubernetes`` as ``kubectl kustomize`` renders them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.tools import run_tool

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
Document = dict[str, Any]


class Rendered(NamedTuple):
    """What is rendered of an overlay: documents by ``Kind/name``."""

    folder: str
    documents: dict[str, Document]

    @property
    def workload(self) -> Document:
        """What runs the service."""
        name = "StatefulSet/ostinato" if self.folder == "single" else "Deployment/ostinato"
        spec: Document = self.documents[name]["spec"]
        return spec

    @property
    def pod(self) -> Document:
        """The specification of the service's pods."""
        spec: Document = self.workload["template"]["spec"]
        return spec

    @property
    def container(self) -> Document:
        """Their only container."""
        (only,) = self.pod["containers"]
        assert isinstance(only, dict)
        return only

    @property
    def variables(self) -> dict[str, str]:
        """Its environment as the kubelet makes it: ``$(NAME)`` is a variable that stands above."""
        variables: dict[str, str] = {}
        for each in self.container["env"]:
            value = each["value"]
            for name, above in variables.items():
                value = value.replace(f"$({name})", above)
            variables[each["name"]] = value
        return variables

    @property
    def pods(self) -> list[Document]:
        """The specifications of all pods, of the service and of what is beside it."""
        return [
            document["spec"]["template"]["spec"]
            for document in self.documents.values()
            if "template" in document.get("spec", {})
        ]


@cache
def render(folder: str) -> Rendered:
    """An overlay."""
    return Rendered(folder, _documents(KUBERNETES / "overlays" / folder))


def render_with(scratch: Path, overlay: str, components: Sequence[str], **further: Any) -> Rendered:
    """An overlay of a user's own: with components, and whatever else a kustomization may say."""
    # Paths in a kustomization are relative, and links are followed.
    (scratch / "kubernetes").symlink_to(KUBERNETES)
    text = yaml.safe_dump(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [f"kubernetes/overlays/{overlay}"],
            "components": [f"kubernetes/components/{name}" for name in components],
            **further,
        }
    )
    (scratch / "kustomization.yaml").write_text(text)
    return Rendered(overlay, _documents(scratch))


def _documents(folder: Path) -> dict[str, Document]:
    documents: dict[str, Document] = {}
    for document in yaml.safe_load_all(run_tool("kubectl", "kustomize", folder, is_silent=True)):
        name = document["metadata"]["name"]
        # A generated ConfigMap's name ends with a checksum of what is in it.
        name = name.rpartition("-")[0] if document["kind"] == "ConfigMap" else name
        key = f"{document['kind']}/{name}"
        assert key not in documents, f"two of {key}"
        documents[key] = document
    return documents
