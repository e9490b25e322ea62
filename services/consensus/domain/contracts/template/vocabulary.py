"""The closed words of templates: tiers, classes, business types, units and orientation.

A type decides the kind of value that a contract sees and the units that it may have. Types whose
values name or locate a natural person are for the tier NONPUBLIC alone (G2-17-7).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


@dataclass(frozen=True, slots=True)
class Label:
    """A text for people, in both languages."""

    zh: str
    en: str


class TemplateClass(StrEnum):
    """Who answers for a template: the CSRC publishes COMMON, an operator files SELF."""

    COMMON = "COMMON"
    SELF = "SELF"


class Tier(StrEnum):
    """Where the data of a group of fields may be, and who may read it (article 17)."""

    PUBLIC = "PUBLIC"
    RESTRICTED = "RESTRICTED"
    NONPUBLIC = "NONPUBLIC"


CLASSES: Final = {
    TemplateClass.COMMON: Label("市场共性", "common"),
    TemplateClass.SELF: Label("自行定义", "operator's own"),
}
TIERS: Final = {
    Tier.PUBLIC: Label("完全公开", "public"),
    Tier.RESTRICTED: Label("特定范围", "restricted"),
    Tier.NONPUBLIC: Label("非公开", "non-public"),
}


@dataclass(frozen=True, slots=True)
class BusinessType:
    """`kind` is the type of the value in a contract; without `units` it has none."""

    title: Label
    kind: str
    units: tuple[str, ...] = ()
    is_personal: bool = False


UNITS: Final = {
    "share": Label("股", "share"),
    "fen": Label("分", "fen (0.01 yuan)"),
    "basis_point": Label("万分之一", "basis point"),
    "enterprise": Label("家", "enterprise"),
    "holder": Label("户", "holder"),
    "operation": Label("笔", "operation"),
    "bond": Label("张", "bond"),
    "day": Label("日", "day"),
}
TYPES: Final = {
    "uscc": BusinessType(Label("统一社会信用代码", "unified social credit code"), "str"),
    "did": BusinessType(Label("分布式身份标识", "DID"), "str"),
    "code": BusinessType(Label("代码", "code"), "str"),
    "name": BusinessType(Label("机构或产品名称", "name of an organisation or product"), "str"),
    "text": BusinessType(Label("文本", "text"), "str"),
    "enum": BusinessType(Label("代码项", "one of a list"), "str"),
    "date": BusinessType(Label("日期", "date"), "str"),
    "month": BusinessType(Label("月份", "month"), "str"),
    "digest": BusinessType(Label("SM3 摘要", "SM3 digest"), "str"),
    "reference": BusinessType(Label("引用", "reference"), "str"),
    "flag": BusinessType(Label("是否", "yes or no"), "bool"),
    "shares": BusinessType(Label("股数", "number of shares"), "int", ("share",)),
    "amount": BusinessType(Label("金额", "amount of money"), "int", ("fen",)),
    "rate": BusinessType(Label("比率", "rate"), "int", ("basis_point",)),
    "count": BusinessType(
        Label("数量", "count"), "int", ("enterprise", "holder", "operation", "bond", "day")
    ),
    "person_name": BusinessType(Label("自然人姓名", "name of a person"), "str", (), True),
    "id_number": BusinessType(Label("证件号码", "identity number"), "str", (), True),
    "phone": BusinessType(Label("电话", "telephone"), "str", (), True),
    "bank_account": BusinessType(Label("银行账号", "bank account"), "str", (), True),
    "address": BusinessType(Label("个人住址", "address of a person"), "str", (), True),
    "material": BusinessType(Label("材料", "documents"), "str", (), True),
}
RECORD: Final = "record"
"""The type of a value that is a record of the template."""
SEALED: Final = "sealed"
"""The type of what is sealed to its readers (`guqiao_sdk.sealed_form`)."""
UNITS_2: Final = UNITS | {
    "li": Label("厘", "li (0.001 yuan)"),
    "trading_day": Label("交易日", "trading day"),
    "year": Label("年", "year"),
    "freeze": Label("次冻结", "freeze"),
    "block": Label("区块", "block"),
}
TYPES_2: Final = TYPES | {
    "amount": BusinessType(Label("金额", "amount of money"), "int", ("fen", "li")),
    "count": BusinessType(
        Label("数量", "count"),
        "int",
        (*TYPES["count"].units, "trading_day", "year", "freeze", "block"),
    ),
    RECORD: BusinessType(Label("记录", "record"), "dict"),
    SEALED: BusinessType(Label("密文与密钥信封", "sealed to its readers"), "dict"),
}
"""Types and units of format 2. Those of format 1 stay what they are: old chains were judged by
them.
"""
ORIENTATIONS: Final = {
    "resource_integration": Label("推动资源整合", "integrate resources"),
    "sme_service": Label("服务中小微企业", "serve small enterprises"),
    "compliance_and_risk": Label("强化合规风控", "compliance and risk control"),
    "supervision": Label("增强监管能力", "supervision"),
    "financial_safety": Label("保障金融安全", "financial safety"),
}
"""The five of article 2 (G2-02-1)."""

STATE: Final = "state"
"""The member that holds where a business stands, in state and in events."""
DESCRIPTION: Final = ("digest", "reference", "owner")
"""All that a chain holds of a NONPUBLIC group (G2-17-8)."""
TRACE_ARGUMENT: Final = "business_id"
