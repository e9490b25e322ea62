"""The registry's list of outcomes that bind no request id is the host's own."""

from __future__ import annotations

import ast
import inspect

from guqiao_sdk.proof.receipt import NOT_EXECUTED_CODES
from services.consensus.domain.ledger import authorisation
from services.registry.consumers import UNBOUND_CODES


def refusals_of(module: object) -> set[str]:
    """The codes of every `Refusal(...)` that a module makes."""
    tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]
    return {
        str(node.args[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Refusal"
        and isinstance(node.args[0], ast.Constant)
    }


def test_the_list_is_what_the_host_refuses_before_it_looks_at_the_request() -> None:
    """Authorisation, replay, predecessor, room, and another body under a bound request id."""
    authorised = refusals_of(authorisation)
    assert len(authorised) >= 6
    assert authorised | NOT_EXECUTED_CODES | {"REQUEST_ID_REUSED"} == UNBOUND_CODES
