"""Renders a Kustomize folder without a cluster and without kubectl.

It knows exactly what our folders use: resources, components, namespace, JSON patches by target, and
images. Anything else in a kustomization, a duplicate key or a patch that meets nothing is an error,
so that a folder can never render to less than it says.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

Body: TypeAlias = dict[str, Any]

KUSTOMIZATION: Final = "kustomization.yaml"
KINDS: Final = {
    "Kustomization": "kustomize.config.k8s.io/v1beta1",
    "Component": "kustomize.config.k8s.io/v1alpha1",
}
FIELDS: Final = frozenset(
    {"apiVersion", "kind", "resources", "components", "namespace", "patches", "images"}
)
CLUSTER_SCOPED: Final = frozenset({"Namespace"})
DEPTH_MAX: Final = 8


class LoadError(Exception):
    """A folder that cannot be rendered: the file, and what is wrong with it."""

    def __init__(self, file: Path, text: str) -> None:
        super().__init__(text)
        self.file = file
        self.text = text


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object as rendered, and the file it came from."""

    file: Path
    body: Body

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.body.get("kind", ""))

    @property
    def name(self) -> str:
        """Its name."""
        return str(_metadata(self.body).get("name", ""))

    @property
    def namespace(self) -> str:
        """Its namespace, or nothing for what belongs to the cluster."""
        return str(_metadata(self.body).get("namespace", ""))

    @property
    def spec(self) -> Body:
        """Its spec, empty where there is none."""
        spec = self.body.get("spec")
        return spec if isinstance(spec, dict) else {}

    @property
    def title(self) -> str:
        """How a report names it."""
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


@dataclass(slots=True)
class Renderer:
    """Renders folders and notes every file that was read."""

    files: set[Path] = field(default_factory=set)

    def render(self, folder: Path) -> list[Manifest]:
        """Every object of the folder, in order, or raise `LoadError`."""
        rendered = self._folder(folder.resolve(), [], "Kustomization", 0)
        seen: set[str] = set()
        for manifest in rendered:
            if manifest.title in seen:
                raise LoadError(manifest.file, f"{manifest.title} is there twice")
            seen.add(manifest.title)
        return rendered

    def _folder(self, folder: Path, given: list[Manifest], kind: str, depth: int) -> list[Manifest]:
        file = folder / KUSTOMIZATION
        if depth > DEPTH_MAX:
            raise LoadError(file, f"folders name each other more than {DEPTH_MAX} deep")
        plan = self._plan(file, kind)
        result = list(given)
        for name in plan.get("resources", []):
            result += self._resource(folder / name, file, depth)
        for name in plan.get("components", []):
            result = self._folder((folder / name).resolve(), result, "Component", depth + 1)
        if "namespace" in plan:
            _set_namespace(result, plan["namespace"])
        for patch in plan.get("patches", []):
            _patch(result, patch, file)
        for image in plan.get("images", []):
            _set_image(result, image, file)
        return result

    def _plan(self, file: Path, kind: str) -> Body:
        documents = self._documents(file)
        plan = documents[0] if len(documents) == 1 else {}
        if plan.get("kind") != kind or plan.get("apiVersion") != KINDS[kind]:
            raise LoadError(file, f"this is no {kind} of {KINDS[kind]}")
        unknown = sorted(set(plan) - FIELDS)
        if unknown:
            raise LoadError(file, f"{', '.join(unknown)}: not among {', '.join(sorted(FIELDS))}")
        return plan

    def _resource(self, path: Path, named_by: Path, depth: int) -> list[Manifest]:
        path = path.resolve()
        if path.is_dir():
            return self._folder(path, [], "Kustomization", depth + 1)
        if not path.is_file():
            raise LoadError(named_by, f"{path.name} does not exist")
        manifests = [Manifest(path, body) for body in self._documents(path)]
        for manifest in manifests:
            if not manifest.kind or not manifest.name:
                raise LoadError(path, "an object has no kind or no name")
        return manifests

    def _documents(self, file: Path) -> list[Body]:
        try:
            documents = read_documents(file)
        except OSError as error:
            raise LoadError(file, f"cannot be read: {error.strerror}") from None
        self.files.add(file)
        return documents


def read_documents(file: Path) -> list[Body]:
    """The YAML documents of a file, each a mapping, or raise `LoadError`."""
    try:
        documents = copy.deepcopy(_parsed(file.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise LoadError(file, f"this is not YAML: {' '.join(str(error).split())}") from None
    for document in documents:
        if not isinstance(document, dict):
            raise LoadError(file, "a document is no mapping")
    return documents


@cache
def _parsed(text: str) -> list[Any]:
    """Kept, because the overlays read the same files; who changes a document takes a copy."""
    return list(yaml.load_all(text, _StrictLoader))


class _StrictLoader(yaml.CSafeLoader):
    """Safe YAML in which a key may appear once, as the cluster's API also demands."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} appears twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def containers_of(body: Body) -> Iterator[Body]:
    """Every container of a workload's pod template, those of its start first."""
    spec = pod_spec(body)
    for name in ("initContainers", "containers"):
        yield from spec.get(name) or []


def pod_spec(body: Body) -> Body:
    """The pod's spec of a workload, empty for what has none."""
    spec = body.get("spec")
    template = spec.get("template") if isinstance(spec, dict) else None
    found = template.get("spec") if isinstance(template, dict) else None
    return found if isinstance(found, dict) else {}


def pod_labels(body: Body) -> dict[str, str]:
    """The labels of a workload's pods, empty where there are none."""
    template = (body.get("spec") or {}).get("template") or {}
    labels = _metadata(template).get("labels")
    return labels if isinstance(labels, dict) else {}


def _metadata(body: Body) -> Body:
    metadata = body.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _set_namespace(manifests: list[Manifest], namespace: str) -> None:
    for manifest in manifests:
        if manifest.kind not in CLUSTER_SCOPED:
            manifest.body["metadata"]["namespace"] = namespace


def _patch(manifests: list[Manifest], patch: Body, file: Path) -> None:
    if set(patch) != {"target", "patch"} or not set(patch["target"]) <= {
        "kind",
        "name",
        "namespace",
    }:
        raise LoadError(file, "a patch is a target (kind, name, namespace) and a patch")
    target = patch["target"]
    met = [
        manifest
        for manifest in manifests
        if all(getattr(manifest, key) == value for key, value in target.items())
    ]
    if not met:
        raise LoadError(file, f"a patch meets nothing: {target}")
    operations = yaml.load(patch["patch"], _StrictLoader)  # noqa: S506 - a SafeLoader
    for manifest in met:
        for operation in operations:
            _apply(manifest.body, copy.deepcopy(operation), file)


def _apply(body: Body, operation: Body, file: Path) -> None:
    """One operation of RFC 6902: add, replace or remove."""
    *parents, last = [
        part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]
    ]
    target: Any = body
    try:
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target[part]
        match operation["op"], target:
            case "add", list():
                position = len(target) if last == "-" else int(last)
                target.insert(position, operation["value"])
            case "add", dict():
                target[last] = operation["value"]
            case "replace" | "remove", list() | dict():
                key: Any = int(last) if isinstance(target, list) else last
                target[key]  # It must be there.
                if operation["op"] == "replace":
                    target[key] = operation["value"]
                else:
                    del target[key]
            case _:
                raise KeyError(operation["op"])
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise LoadError(file, f"the patch at {operation.get('path')} fails: {error!r}") from None


def _set_image(manifests: list[Manifest], image: Body, file: Path) -> None:
    if not set(image) <= {"name", "newName", "newTag", "digest"}:
        raise LoadError(file, f"an image has a field that is not known: {sorted(image)}")
    met = False
    for manifest in manifests:
        for container in containers_of(manifest.body):
            name, tag = split_image(str(container.get("image", "")))
            if name == image["name"]:
                met = True
                suffix = (
                    f"@{image['digest']}" if "digest" in image else f":{image.get('newTag', tag)}"
                )
                container["image"] = image.get("newName", name) + suffix
    if not met:
        raise LoadError(file, f"no container has the image {image['name']}")


def split_image(image: str) -> tuple[str, str]:
    """Name, and tag or digest; a port of the registry is no tag."""
    if "@" in image:
        name, _, digest = image.partition("@")
        return name, digest
    head, slash, tail = image.rpartition("/")
    name, _, tag = tail.partition(":")
    return head + slash + name, tag
