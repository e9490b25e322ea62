"""`guqiao document …`: documents by tier on the market's chain, their readers and their bodies."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from guqiaoctl.options import DEFAULT_DATA, Data, Output, Shown
from guqiaoctl.result_files import STANDARD_OUTPUT

document = typer.Typer(name="document", help="Documents by tier 分级文档", no_args_is_help=True)


class TierName(StrEnum):
    """The tiers, as they are typed."""

    PUBLIC = "public"
    RESTRICTED = "restricted"
    NONPUBLIC = "nonpublic"


Id = Annotated[str, typer.Argument(metavar="ID", help="A document 文档编号")]
Area = Annotated[str, typer.Option("--area", help="An area of documents 区域")]
AreaId = Annotated[str, typer.Argument(metavar="AREA", help="An area of documents 区域")]
ReaderName = Annotated[
    str, typer.Option("--reader", help="An account of the market, or a DID 读者账户或 DID")
]
Version = Annotated[int, typer.Option("--version", min=1, help="Of it 版本")]
Purpose = Annotated[str, typer.Option("--purpose", help="A word, such as review 用途")]
Reason = Annotated[str, typer.Option("--reason", help="For the record 事由")]
Title = Annotated[str, typer.Option("--title", help="In the clear: no personal data 标题")]


@document.command("area")
def document_area(
    area: AreaId,
    tier: Annotated[TierName, typer.Option("--tier", help="For ever 级别")],
    title: Title,
    data: Data = DEFAULT_DATA,
) -> None:
    """Define an area as the market's administrator 设立文档区域."""
    from guqiaoctl.commands.documents import define_area

    define_area(data, area, tier.value, title)


@document.command("grant")
def document_grant(
    area: AreaId,
    reader: ReaderName,
    purpose: Purpose,
    condition: Annotated[
        str, typer.Option("--condition", help="JSON, such as a role on the chain 条件")
    ] = "",
    data: Data = DEFAULT_DATA,
) -> None:
    """Let somebody read in an area 授权读者."""
    from guqiaoctl.commands.documents import grant

    grant(data, area, reader, purpose, condition)


@document.command("revoke")
def document_revoke(
    area: AreaId, reader: ReaderName, reason: Reason, data: Data = DEFAULT_DATA
) -> None:
    """End a reader's grant 撤销授权."""
    from guqiaoctl.commands.documents import revoke

    revoke(data, area, reader, reason)


@document.command("publish")
def document_publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to publish 文件")],
    identifier: Annotated[str, typer.Option("--id", help="The document's id 文档编号")],
    area: Area,
    kind: Annotated[str, typer.Option("--type", help="A word, such as announcement 类型")],
    title: Title,
    data: Data = DEFAULT_DATA,
) -> None:
    """Publish the next version as the area's tier asks 发布文档; prints ID@VERSION."""
    from guqiaoctl.commands.documents import Order, publish

    publish(data, Order(file, identifier, area, kind, title))


@document.command("show")
def document_show(
    identifier: Id,
    version: Annotated[int, typer.Option("--version", min=0, help="0: the latest 版本")] = 0,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Show what stands on chain, proven 查看链上记录. Exit code 3: there is none."""
    from guqiaoctl.commands.document_reading import show

    show(data, identifier, version, as_json=output is Shown.JSON)


@document.command("open")
def document_open(
    identifier: Id,
    version: Version,
    purpose: Purpose,
    account: Annotated[str, typer.Option("--account", help="Who reads 读者账户")],
    to: Annotated[
        Path, typer.Option("--to", help="Write it here; - is standard output 输出文件")
    ] = STANDARD_OUTPUT,
    data: Data = DEFAULT_DATA,
) -> None:
    """Read a version, once the chain allows and records it 读取文档. Exit code 4: denied;
    7: it was changed.
    """
    from guqiaoctl.commands.document_reading import open_document

    open_document(data, identifier, version, account=account, purpose=purpose, to=to)


@document.command("trace")
def document_trace(identifier: Id, data: Data = DEFAULT_DATA, output: Output = Shown.TABLE) -> None:
    """Show every attempt to read a document, proven 查看访问记录."""
    from guqiaoctl.commands.document_reading import trace

    trace(data, identifier, as_json=output is Shown.JSON)


@document.command("erase")
def document_erase(
    identifier: Id, version: Version, reason: Reason, data: Data = DEFAULT_DATA
) -> None:
    """Destroy the key of a NONPUBLIC body for good, and note it 删除链外正文."""
    from guqiaoctl.commands.documents import erase

    erase(data, identifier, version, reason)


@document.command("reclassify")
def document_reclassify(
    identifier: Id, area: Area, reason: Reason, data: Data = DEFAULT_DATA
) -> None:
    """Move a document to a stricter area, or propose to any other 变更级别."""
    from guqiaoctl.commands.documents import reclassify

    reclassify(data, identifier, area, reason)


@document.command("approve")
def document_approve(
    identifier: Id,
    proposal: Annotated[str, typer.Argument(metavar="PROPOSAL", help="Its id 提案编号")],
    governor: Annotated[
        int, typer.Option("--governor", help="The entity, by its replica 单位编号")
    ],
    data: Data = DEFAULT_DATA,
) -> None:
    """Approve a downgrade for an entity that does not own the document 批准降级."""
    from guqiaoctl.commands.documents import approve

    approve(data, identifier, proposal, governor)


@document.command("renew-key")
def document_renew_key(data: Data = DEFAULT_DATA, output: Output = Shown.TABLE) -> None:
    """Wrap the keys of all bodies under a new key and destroy the old one 更换封装密钥."""
    from guqiaoctl.commands.body_keys import renew_key

    renew_key(data, as_json=output == "json")


@document.command("store")
def document_store(
    settings: Annotated[
        Path, typer.Argument(metavar="FILE", help="Settings of an S3 bucket, JSON 存储桶设置")
    ],
    data: Data = DEFAULT_DATA,
) -> None:
    """Move the bodies into a bucket of an S3-compatible store 正文改存对象存储."""
    from guqiaoctl.commands.body_store import use_bucket

    use_bucket(data, settings)
