"""The cases that come with each template of the common set: they pass, and leave no line untried.

An operator's deployment brings their report (G2-16-5), so they ship with the templates.
"""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from guqiaoctl.__main__ import app
from tests.unit.templates.template_market import FOLDER, template

NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


@pytest.mark.req("G2-16-5")
@pytest.mark.parametrize("name", NAMES)
def test_the_cases_of_a_template_pass_and_run_every_line(name: str) -> None:
    file = FOLDER / f"{name}.star"
    ended = CliRunner().invoke(app, ["contract", "test", str(file), "-o", "json"])
    assert ended.exit_code == 0, ended.output
    report = json.loads(ended.stdout)
    assert report["form"] == template(name).contract.module.digest.hex()
    assert (report["failed"], report["lines_not_run"]) == (0, [])
    cases = json.loads((FOLDER / f"{name}.cases.json").read_text())["cases"]
    called = {each["method"] for each in cases if each["expect"]["status"] == "ok"}
    of_template = template(name)
    assert called >= {each.method for each in of_template.transitions} | {"trace"}
    assert any(each["expect"].get("code") for each in cases), "the bad path stands beside the good"
