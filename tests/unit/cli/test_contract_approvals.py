"""Who approves a contract approves what he reads: its source is compiled before he signs."""

from __future__ import annotations

from typing import Any

import pytest

from guqiaoctl.commands.deploying import Found, _checked_facts
from guqiaoctl.failures import CliError
from services.consensus.domain.contracts.star.package import package
from services.consensus.domain.contracts.star.syntax import compile_source

SHOWN = b"def f(a):\n    return a\n"
OTHER = b"def f(a):\n    return 0\n"


def found(source: str, run: bytes) -> Found:
    """A proposal that shows one source and would run another."""
    digest = compile_source(run).digest.hex()
    proposal: dict[str, Any] = {"id": "ab" * 32, "facts": {"digest": digest}}
    code = {**package(run), "source": source}
    return Found("counter", 5, None, (({"id": "cd" * 32, "facts": {}}, None), (proposal, code)))


def test_a_proposal_whose_source_is_what_would_run_may_be_approved() -> None:
    _checked_facts(found(SHOWN.decode(), SHOWN), "ab" * 32)
    # Pausing and ending bring no code.
    _checked_facts(found(SHOWN.decode(), SHOWN), "cd" * 32)


@pytest.mark.parametrize("source", [SHOWN.decode(), SHOWN.decode() + "\x01", "import os\n", ""])
def test_a_proposal_that_shows_another_source_is_not_approved(source: str) -> None:
    with pytest.raises(CliError) as caught:
        _checked_facts(found(source, OTHER), "ab" * 32)
    assert (caught.value.code, caught.value.exit_code) == ("CONTRACT_SOURCE_DIFFERS", 7)


def test_a_proposal_that_is_not_open_is_not_approved() -> None:
    with pytest.raises(CliError) as caught:
        _checked_facts(found(SHOWN.decode(), SHOWN), "ef" * 32)
    assert (caught.value.code, caught.value.exit_code) == ("PROPOSAL_UNKNOWN", 3)
