"""`guqiao document renew-key`: the key under which the keys of bodies are wrapped."""

from __future__ import annotations

from pathlib import Path

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.object_store.wrapping_keys import renew_wrapping_key
from guqiaoctl.failures import EXIT_UNVERIFIED, CliError
from guqiaoctl.network.bodies import open_body_keys
from guqiaoctl.network.layout import load_network
from guqiaoctl.network.parties import MARKET
from guqiaoctl.output import Progress, choose, print_json, print_table


def renew_key(data: Path, *, as_json: bool) -> None:
    """Renew it and say how many records there were. Exit code 7 where some were damaged; those are
    named, all others are renewed, and both keys stay.
    """
    network = load_network(data)
    keys = open_body_keys(network, open_provider(), MARKET)
    with Progress(choose("records", "密钥记录")) as progress:
        done = renew_wrapping_key(
            network.layout.wrapping_key(MARKET), keys, lambda number, _: progress.show(number)
        )
    told = {"wrapped": done.wrapped, "erased": done.erased, "damaged": list(done.damaged)}
    if as_json:
        print_json(told)
    else:
        rows = [(name, value) for name, value in told.items() if name != "damaged"]
        print_table((choose("RECORDS", "密钥记录"), ""), [*rows, ("damaged", len(done.damaged))])
    if done.damaged:
        named = ", ".join(done.damaged[:8])
        raise CliError(
            "BODY_KEY_DAMAGED",
            f"{len(done.damaged)} records of keys open under no key: {named}",
            f"{len(done.damaged)} 条密钥记录无法用任何密钥打开：{named}",
            "restore these files of body-keys from a backup, or erase their documents, and renew "
            "again: until then the old key is kept beside the new one",
            "请从备份恢复 body-keys 中的这些文件，或删除对应文档，然后重新执行；"
            "在此之前新旧两把密钥并存",
            exit_code=EXIT_UNVERIFIED,
        )
