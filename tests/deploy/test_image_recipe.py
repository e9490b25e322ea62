"""The Dockerfile: what can be said of it without a Docker engine, and each rule broken once."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.deploy_tree import ROOT

SERVICES = ("consensus", "gateway", "registry", "reporting", "enablement")
PINNED_BASE = re.compile(r"python:3\.11\.\d+-slim-\w+")
SECRET = re.compile(r"password|passwd|token|secret(?!,id=|s\b)|api_?key|BEGIN ", re.IGNORECASE)


def recipe() -> str:
    return (ROOT / "Dockerfile").read_text(encoding="utf-8")


def instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, arguments), comments dropped and continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (line.split()[0].upper(), line.partition(" ")[2].strip()) for line in joined.split("\n")
    ]


def problems_of(name: str, arguments: str) -> Iterator[str]:
    """What is wrong with one instruction."""
    words = arguments.split()
    unhashed = "-r requirements.lock" in arguments and "--require-hashes" not in arguments
    rules = {
        "ADD fetches and unpacks: use COPY": name == "ADD",
        "an address in the recipe": name in ("RUN", "COPY") and "://" in arguments,
        "the base image is not pinned to a full version": name == "FROM"
        and not PINNED_BASE.fullmatch(words[0]),
        "a secret in the image's settings": name in ("ENV", "ARG") and SECRET.search(arguments),
        "COPY of everything": name == "COPY" and words[0] in (".", "./"),
        "packages without hashes": unhashed,
        f"{name} is not in exec form": name in ("ENTRYPOINT", "CMD")
        and not arguments.startswith("["),
    }
    yield from (problem for problem, broken in rules.items() if broken)


def problems(text: str) -> list[str]:
    """What is wrong with a recipe."""
    found = instructions(text)
    last_stage = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    users = [arguments for name, arguments in found[last_stage:] if name == "USER"]
    listed = [] if users == ["65532:65532"] else ["the image does not run as 65532"]
    return listed + [problem for each in found for problem in problems_of(*each)]


def test_the_recipe_keeps_the_rules() -> None:
    assert problems(recipe()) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("USER 65532:65532\n", "", "the image does not run as 65532"),
        ("USER 65532:65532", "USER root", "the image does not run as 65532"),
        ("COPY protos ./protos", "ADD https://x.invalid/p.tar ./protos", "ADD fetches"),
        ("RUN python -m venv", "RUN curl https://x.invalid | sh; python -m venv", "an address"),
        ("FROM python:3.11.14-slim-bookworm AS", "FROM python:3.11-slim AS", "base image"),
        ("FROM python:3.11.14-slim-bookworm AS", "FROM python:latest AS", "base image"),
        ("ENV PATH", "ENV DATABASE_PASSWORD=x PATH", "a secret"),
        ("COPY pyproject.toml ./", "COPY . ./", "COPY of everything"),
        (" --require-hashes", "", "packages without hashes"),
        ('CMD ["serve"', 'CMD serve "', "CMD is not in exec form"),
    ],
)
def test_a_spoilt_recipe_breaks_its_rule(old: str, new: str, problem: str) -> None:
    assert old in recipe()
    found = problems(recipe().replace(old, new, 1))
    assert any(problem in each for each in found), found


def service_check() -> str:
    """The shell command of the recipe that judges SERVICE."""
    [command] = [a for n, a in instructions(recipe()) if n == "RUN" and a.startswith("case")]
    return command


@pytest.mark.parametrize(
    ("service", "accepted"),
    [*((service, True) for service in SERVICES), ("", False), ("chassis", False), ("../x", False)],
)
def test_only_the_services_are_accepted_as_SERVICE(service: str, accepted: bool) -> None:
    run = subprocess.run(
        ["/bin/sh", "-c", service_check()], env={"SERVICE": service}, capture_output=True, text=True
    )
    assert (run.returncode == 0) == accepted
    assert accepted or "is none of" in run.stderr


def copied(service: str, folder: Path) -> None:
    """Lay out what the recipe copies for a service, and the generated code that it builds."""
    for name, arguments in instructions(recipe()):
        if name == "COPY" and not arguments.startswith("--from"):
            source, target = (a.replace("${SERVICE}", service) for a in arguments.split())
            destination = folder / target
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, destination)
            else:
                destination = destination / source if target == "./" else destination
                destination.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, destination)
    shutil.copytree(ROOT / "gen", folder / "gen")


@pytest.mark.parametrize("service", SERVICES)
def test_the_image_of_a_service_holds_all_that_it_imports(service: str, tmp_path: Path) -> None:
    """The entry point starts from the copied files alone and names its commands."""
    copied(service, tmp_path)
    others = set(SERVICES) - {service}
    assert not [other for other in others if (tmp_path / "services" / other).exists()]
    [entry] = [json.loads(a) for n, a in instructions(recipe()) if n == "ENTRYPOINT"]
    origin = "import sys, services; sys.exit(not services.__file__.startswith(sys.argv[1]))"
    environment = {
        "PATH": str(Path(sys.executable).parent),
        "PYTHONPATH": f"{tmp_path}:{tmp_path / 'gen'}",
        "GUQIAO_IMAGE_SERVICE": service,
    }
    python = [sys.executable, "-c", origin, str(tmp_path)]
    subprocess.run(python, env=environment, cwd=tmp_path, check=True)
    run = subprocess.run(
        [*entry, "--help"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "serve" in run.stdout
