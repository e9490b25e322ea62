"""A certificate as a page for a person: HTML in Chinese and English, of its own, with no script, no
link and nothing to load. It proves nothing: the file beside it does, and the page says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from html import escape
from typing import Final

from guqiao_sdk.register_papers.certificate import Certificate
from guqiao_sdk.register_papers.proven import FREEZE, PLEDGE
from guqiaoctl.commands.verifying import time_text

_STYLE: Final = (
    "body{font-family:serif;margin:3em auto;max-width:60em}table{border-collapse:collapse;"
    "margin:1em 0}td,th{border:1px solid;padding:.3em .6em;text-align:left}"
)
_HOLDINGS: Final = (
    ("nature", "股份性质 Nature"),
    ("total", "总数 Total"),
    ("available", "可用 Available"),
    ("pledged", "质押 Pledged"),
    ("frozen", "冻结 Frozen"),
    ("pledged_and_frozen", "质押且冻结 Both"),
    ("confirmed", "已确权 Confirmed"),
    ("restricted_until", "限售至 Restricted until"),
)
_ENCUMBRANCES: Final = (
    ("kind", "种类 Kind"),
    ("number", "编号 Number"),
    ("nature", "股份性质 Nature"),
    ("registered", "登记 Registered"),
    ("effective", "生效 Effective"),
    ("waiting", "轮候 Waiting"),
    ("queue_place", "轮候位次 Place"),
)
_KINDS: Final = {PLEDGE: "质押 pledge", FREEZE: "冻结 freeze"}


def page_of(certificate: Certificate) -> str:
    """The page, UTF-8."""
    place = certificate.place
    facts = (
        ("证书编号 Certificate number", certificate.number),
        ("验证码 Verification code", certificate.code),
        ("账户 Account", certificate.account),
        ("产品代码 Product code", certificate.product),
        ("链与高度 Chain and height", f"{place.chain_id} {place.height}"),
        ("区块时间 Block time", time_text(place.block_time_ms)),
        ("登记机构 Registration institution", certificate.signer.did),
        ("摘要（SM3） Digest (SM3)", certificate.digest.hex()),
    )
    held = [asdict(each) for each in certificate.holdings]
    bound = [{**asdict(each), "kind": _KINDS[each.kind]} for each in certificate.encumbrances]
    listed = _table(_ENCUMBRANCES, bound) if bound else "<p>无 None</p>"
    return (
        '<!DOCTYPE html>\n<html lang="zh"><head><meta charset="utf-8">'
        f"<title>{escape(certificate.number)}</title><style>{_STYLE}</style></head><body>\n"
        "<h1>股权持有证书 Certificate of holding</h1>\n"
        f"<table>{''.join(_row((name, value), head=1) for name, value in facts)}</table>\n"
        f"<h2>持有 Holdings</h2>\n{_table(_HOLDINGS, held)}\n"
        f"<h2>质押与冻结 Pledges and freezes</h2>\n{listed}\n"
        "<p>本页仅供阅读，以证书文件为准："
        "请用 <code>guqiao verify FILE --trust TRUST --code CODE</code> 核验。"
        "所证明的是上述高度的状态，不涉及之后的变更。</p>\n"
        "<p>This page is for reading; the certificate's file is what holds: verify it with "
        "<code>guqiao verify FILE --trust TRUST --code CODE</code>. It is of the height above "
        "and says nothing of later ones.</p>\n</body></html>\n"
    )


def _table(columns: Sequence[tuple[str, str]], rows: Iterable[Mapping[str, object]]) -> str:
    head = _row([title for _, title in columns], head=len(columns))
    return (
        f"<table>{head}{''.join(_row([row[name] for name, _ in columns]) for row in rows)}</table>"
    )


def _row(cells: Sequence[object], head: int = 0) -> str:
    """The first `head` cells are headings."""
    marked = (
        f"<th>{_text(cell)}</th>" if at < head else f"<td>{_text(cell)}</td>"
        for at, cell in enumerate(cells)
    )
    return f"<tr>{''.join(marked)}</tr>"


def _text(cell: object) -> str:
    if isinstance(cell, bool):
        return "是 yes" if cell else "否 no"
    return escape(str(cell))
