"""`guqiao doctor`:

is this machine fit, and is the network's folder in order? Each line with its remedy.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from guqiaoctl.failures import EXIT_UNAVAILABLE
from guqiaoctl.output import Progress, choose, language, print_json, print_table

if TYPE_CHECKING:
    from guqiao_sdk.gm.certificates import CertificateInfo
    from guqiaoctl.network.layout import Layout

DISK_FREE_BYTES_MIN: Final = 2 * 1024**3
OPEN_FILES_MIN: Final = 512
LIST_LEFT_MIN: Final = timedelta(hours=12)
TRUST_LEFT_DAYS_MIN: Final = 30
IN_CHINESE: Final = {
    "python": "Python 版本",
    "SM2/SM3/SM4": "国密算法",
    "embedded PostgreSQL": "内嵌 PostgreSQL",
    "cores": "处理器核数",
    "disk": "磁盘空间",
    "open files": "可打开文件数",
    "network": "网络",
    "genesis": "创世文件",
    "account keys": "账户密钥",
    "trust file": "信任文件",
    "certificates": "证书",
    "revocation lists": "证书吊销列表",
}
"""The checks as the table names them; their names in JSON stay."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, whether it is well, and what to do if not."""

    check: str
    ok: bool
    found: str
    remedy: str


def check(data: Path, *, as_json: bool) -> None:
    """Run every check; exit code 6 when one failed."""
    findings: list[Finding] = []
    with Progress(choose("checks", "检查"), len(PROBES)) as progress:
        for probe in PROBES:
            findings.append(_looked(probe, data))
            progress.show(len(findings))
    if as_json:
        print_json(
            [
                {"check": f.check, "ok": f.ok, "found": f.found, "remedy": "" if f.ok else f.remedy}
                for f in findings
            ]
        )
    else:
        rows = [
            (
                "✓" if f.ok else "✗",
                choose(f.check, IN_CHINESE[f.check]),
                f.found,
                "" if f.ok else f.remedy,
            )
            for f in findings
        ]
        print_table(("", "CHECK", "FOUND", "REMEDY"), rows)
    if not all(finding.ok for finding in findings):
        sys.exit(EXIT_UNAVAILABLE)


def _looked(probe: Callable[[Path], Finding], data: Path) -> Finding:
    """The finding of a probe, also where it could not look: that is what is wrong then."""
    from guqiaoctl.foreseen import foreseen

    try:
        return probe(data)
    except Exception as error:
        failure = foreseen(error)
        if failure is None:
            raise
        name = probe.__name__.strip("_").replace("_", " ")
        text, remedy = failure.texts[language()]
        return Finding(name, False, f"{failure.code}: {text}", remedy)


def _python(_: Path) -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    return Finding(
        "python",
        sys.version_info >= (3, 11),
        found,
        choose("install Python 3.11 or newer", "请安装 Python 3.11 或更新版本"),
    )


def _cryptography(_: Path) -> Finding:
    from guqiao_sdk.gm.provider import open_provider

    began = time.monotonic()
    provider = open_provider()
    ms = (time.monotonic() - began) * 1000
    found = choose(
        f"{provider.name}, vectors passed in {ms:.0f} ms",
        f"{provider.name}，标准向量自检通过，用时 {ms:.0f} 毫秒",
    )
    remedy = choose(
        "install a libcrypto (OpenSSL 1.1.1 or newer) with SM2; the fallback is 40 times slower",
        "请安装支持 SM2 的 libcrypto（OpenSSL 1.1.1 或更新）；备用实现慢 40 倍",
    )
    return Finding("SM2/SM3/SM4", provider.name == "libcrypto", found, remedy)


def _postgres(_: Path) -> Finding:
    from services.chassis.postgres.programs import possible_identities

    identities = possible_identities()
    found = ", ".join(str(identity) for identity in identities)[:60]
    remedy = choose(
        "run as a plain user, or allow user namespaces", "请以普通用户运行，或允许用户命名空间"
    )
    return Finding("embedded PostgreSQL", bool(identities), found, remedy)


def _disk(data: Path) -> Finding:
    folder = data.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    gib = f"{free / 1024**3:.1f} GiB"
    remedy = choose(
        f"free some space below {folder}, or choose another folder with --data",
        f"请在 {folder} 中腾出空间，或用 --data 指定其他目录",
    )
    found = choose(f"{gib} free", f"可用 {gib}")
    return Finding("disk", free >= DISK_FREE_BYTES_MIN, found, remedy)


def _files(_: Path) -> Finding:
    import resource

    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Finding("open files", soft >= OPEN_FILES_MIN, str(soft), f"ulimit -n {OPEN_FILES_MIN}")


def _cores(_: Path) -> Finding:
    count = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    remedy = choose("two cores or more; with one, expect time-outs", "建议两核以上；单核可能超时")
    return Finding("cores", count >= 2, str(count), remedy)


def _network(data: Path) -> Finding:
    from guqiaoctl.network.layout import load_network, refuse_foreign

    refuse_foreign(data)
    if not (data / "network.json").exists():
        return Finding("network", True, choose(f"none in {data} yet", f"{data} 中尚无"), "")
    network = load_network(data)
    made = network.created_at[:10]
    found = choose(f"{network.network_id}, made {made}", f"{network.network_id}，创建于 {made}")
    return Finding("network", True, found, "")


def _none_yet() -> str:
    return choose("none yet", "尚无")


def _genesis(data: Path) -> Finding:
    from guqiaoctl.network.genesis import check_genesis, is_founded
    from guqiaoctl.network.layout import Layout

    layout = Layout(data)
    if not is_founded(layout):
        return Finding("genesis", True, _none_yet(), "")
    check_genesis(layout)
    found = choose("two chains, and the replicas' data is theirs", "两条链，且副本数据与之相符")
    return Finding("genesis", True, found, "")


def _account_keys(data: Path) -> Finding:
    from guqiao_sdk.gm.provider import open_provider
    from guqiaoctl.network.genesis import is_founded, key_problems
    from guqiaoctl.network.layout import Layout

    layout = Layout(data)
    if not is_founded(layout):
        return Finding("account keys", True, _none_yet(), "")
    for problem in key_problems(layout, open_provider()):
        raise problem
    return Finding("account keys", True, choose("those that the chains know", "与链上登记一致"), "")


def _trust_file(data: Path) -> Finding:
    from guqiao_sdk.gm.provider import open_provider
    from guqiaoctl.network.layout import Layout
    from guqiaoctl.network.trust_file import check_trust

    layout = Layout(data)
    if not layout.trust.exists():
        return Finding("trust file", True, _none_yet(), "")
    trust = check_trust(layout, open_provider())
    soon_ms = (time.time() + TRUST_LEFT_DAYS_MIN * 86_400) * 1000
    ending = [each for each in trust.observed if each.ends_ms() <= soon_ms]
    if ending:
        found = ", ".join(f"{each.name}: {each.valid_until}" for each in ending)
        remedy_en = "look at its sealers again, then `guqiao observed trust CHECKPOINT --until DAY`"
        remedy_zh = "核实其共识节点后执行 `guqiao observed trust CHECKPOINT --until 日期` 续期"
        return Finding("trust file", False, found, choose(remedy_en, remedy_zh))
    return Finding("trust file", True, choose("of both chains", "与两条链相符"), "")


def _certificates(data: Path) -> Finding:
    from guqiaoctl.network.layout import Layout, process_names
    from guqiaoctl.network.pki import check_issuers, read_certificate

    layout = Layout(data)
    paths = {name: layout.process(name) / "tls.pem" for name in process_names()}
    there = {name: read_certificate(path) for name, path in paths.items() if path.exists()}
    if not there:
        return Finding("certificates", True, _none_yet(), "")
    check_issuers(layout)
    if bad := _unusable(layout, there, [name for name in paths if name not in there]):
        code, names, remedy = bad
        return Finding("certificates", False, f"{code}: {', '.join(names)}", remedy)
    ends = min(certificate.not_after for certificate in there.values())
    left = ends - datetime.now(UTC)
    found = choose(
        f"{len(there)}, the first ends {ends.date()}",
        f"{len(there)} 张，最早于 {ends.date()} 到期",
    )
    remedy = choose(
        "restart the network: `guqiao dev up` renews them",
        "请重新启动网络：`guqiao dev up` 会更新证书",
    )
    if left <= timedelta(0):
        found = f"CERTIFICATE_EXPIRED: {found}"
    return Finding("certificates", left > timedelta(days=7), found, remedy)


def _unusable(
    layout: Layout, there: Mapping[str, CertificateInfo], missing: list[str]
) -> tuple[str, list[str], str] | None:
    """What processes cannot use: the code, whose it is, and the remedy."""
    from guqiaoctl.network.parties import CHAINS
    from guqiaoctl.network.pki import load_anchors

    revoked = []
    for domain in CHAINS:
        anchors = load_anchors(layout, domain)
        own = {name: info for name, info in there.items() if name.startswith(f"{domain}-")}
        if anchors is not None:
            revoked += [name for name, info in own.items() if anchors.lists_as_revoked(info)]
    anew = choose(
        "delete tls.pem of each, then `guqiao dev up`: it makes new ones",
        "请逐一删除其 tls.pem，再执行 `guqiao dev up` 重新签发",
    )
    if revoked:
        return "CERTIFICATE_REVOKED", revoked, anew
    remedy = choose("`guqiao dev up` makes them", "`guqiao dev up` 会签发")
    return ("CERTIFICATE_MISSING", missing, remedy) if missing else None


def _revocation_lists(data: Path) -> Finding:
    from guqiaoctl.network.pki import next_update

    ends = {path.parent.name: next_update(path) for path in sorted(data.glob("ca/*/crl.pem"))}
    if not ends:
        return Finding("revocation lists", True, _none_yet(), "")
    first = min(ends, key=ends.__getitem__)
    left = ends[first] - datetime.now(UTC)
    end = f"{ends[first]:%Y-%m-%d %H:%M} UTC"
    found = choose(
        f"{len(ends)}, the first ({first}) ends {end}",
        f"{len(ends)} 份，最早（{first}）于 {end} 到期",
    )
    remedy = choose(
        "restart the network: `guqiao dev up` issues them anew; links end with their list",
        "请重新启动网络：`guqiao dev up` 会重新签发；吊销列表过期后链路会中断",
    )
    return Finding("revocation lists", left > LIST_LEFT_MIN, found, remedy)


PROBES: Final[tuple[Callable[[Path], Finding], ...]] = (
    _python,
    _cryptography,
    _postgres,
    _cores,
    _disk,
    _files,
    _network,
    _genesis,
    _account_keys,
    _trust_file,
    _certificates,
    _revocation_lists,
)
