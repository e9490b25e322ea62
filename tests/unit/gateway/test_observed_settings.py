"""What a gateway's settings may say of chains that it observes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services.gateway.settings import ObservedSettings, Settings

pytestmark = pytest.mark.req("T2-14", "G2-07-3")

NODES = ("http://10.0.0.1:20200", "http://10.0.0.2:20200")


def test_two_nodes_of_a_chain_are_taken() -> None:
    made = ObservedSettings(chain_id="zhejiang", nodes=NODES)
    assert made.nodes == NODES
    assert made.tls() is None, "none of them has https"


@pytest.mark.parametrize(
    "nodes",
    [
        (),
        NODES[:1],
        (NODES[0], NODES[0]),
        (NODES[0], NODES[0] + "/rpc"),
        (NODES[0], "ftp://10.0.0.2:20200"),
        (NODES[0], "http://10.0.0.2"),
        tuple(f"http://10.0.0.{number}:20200" for number in range(17)),
    ],
    ids=["none", "one", "one twice", "one under two paths", "no http", "no port", "too many"],
)
def test_nodes_that_cannot_be_compared_are_refused(nodes: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        ObservedSettings(chain_id="zhejiang", nodes=nodes)


def test_https_is_asked_for_with_the_authority_that_is_named(tmp_path: Path) -> None:
    nodes = (NODES[0], "https://10.0.0.2:20200")
    assert ObservedSettings(chain_id="zhejiang", nodes=nodes).tls() is not None
    missing = ObservedSettings(chain_id="zhejiang", nodes=nodes, ca_file=tmp_path / "ca.pem")
    with pytest.raises(OSError, match="No such file"):
        missing.tls()


def checked(role: str, *chains: str) -> Any:
    observed = tuple(ObservedSettings(chain_id=chain, nodes=NODES) for chain in chains)
    values: dict[str, Any] = {"role": role, "remotes": (), "observed": observed}
    check: Any = Settings._the_regulator_observes
    return check(Settings.model_construct(**values))


def test_the_regulator_observes_each_chain_once_and_a_market_none() -> None:
    assert len(checked("regulator", "zhejiang", "shandong").observed) == 2
    assert checked("market").observed == ()
    with pytest.raises(ValueError, match="twice"):
        checked("regulator", "zhejiang", "zhejiang")
    with pytest.raises(ValueError, match="market"):
        checked("market", "zhejiang")
