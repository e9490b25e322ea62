"""What runs a form's methods gets behind the check, and sees an engine that goes too far."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from services.consensus.domain.contracts.star import program as engine
from services.consensus.domain.contracts.star.execution import Status
from services.consensus.domain.contracts.star.gas import Meter
from services.consensus.domain.contracts.star.ir import Module
from tests.fuzz import program_targets
from tests.fuzz.harness import fuzz
from tests.fuzz.program_targets import program_target, run_every_method

INPUTS = 120


@pytest.mark.req("G2-08-1")
def test_whatever_runs_ends_in_a_value_an_error_or_out_of_gas() -> None:
    ended: Counter[Status] = Counter()

    def run(module: Module) -> None:
        ended.update(each.status for each in run_every_method(module))

    outcome = fuzz(program_target(run), 0, INPUTS)
    assert [str(each) for each in outcome.findings] == []
    assert outcome.counts["accepted"] > INPUTS // 5, "many a changed form is run"
    assert outcome.counts["SourceError"] > 0
    assert all(ended[each] > 0 for each in Status), ended


def test_an_exception_of_the_engine_itself_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(*arguments: Any) -> None:
        raise RecursionError("planted")

    program = program_target(run_every_method)
    for name in ("from_json", "to_json"):
        monkeypatch.setattr(f"{engine.__package__}.execution.{name}", planted)
    with pytest.raises(Exception, match="RecursionError: planted"):
        fuzz(program, 0, 1)


def test_a_call_that_takes_more_than_its_gas_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Free(Meter):
        @property
        def used(self) -> int:
            return program_targets.GAS + 1

    monkeypatch.setattr(program_targets, "Meter", Free)
    with pytest.raises(Exception, match="used 4001 of 4000"):
        fuzz(program_target(run_every_method), 0, 1)
