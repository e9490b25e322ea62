"""The ports of a network on one machine."""

from __future__ import annotations

import socket

import pytest

from guqiaoctl.failures import CliError
from guqiaoctl.network import ports
from guqiaoctl.network.layout import choose_ports


def test_every_name_gets_a_port_of_its_own_below_those_of_outgoing_connections() -> None:
    chosen = choose_ports()
    assert len(set(chosen.values())) == len(chosen)
    assert all(ports.PORT_FIRST <= port < ports.PORT_END for port in chosen.values())


def test_a_port_on_which_something_listens_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ports.free_ports(4)[0]
    drawn = iter([first, first + 2])
    monkeypatch.setattr("secrets.randbelow", lambda end: next(drawn) - ports.PORT_FIRST)
    with socket.create_server(("127.0.0.1", first + 1)):
        assert ports.free_ports(2) == range(first + 2, first + 4)


def test_a_machine_without_free_ports_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda port: False)
    with pytest.raises(CliError) as refused:
        ports.free_ports(2)
    assert refused.value.code == "PORT_IN_USE"
