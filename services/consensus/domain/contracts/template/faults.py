"""How a template is refused: a rule, the place in it, facts, and a sentence in two languages."""

from __future__ import annotations

from typing import Final, TypeAlias

from guqiao_sdk.proof.json_values import Json

Path: TypeAlias = tuple[str | int, ...]


class TemplateError(Exception):
    """A value that is no template. `rule` is a symbol of `SENTENCES`; `path` leads to the place."""

    def __init__(self, rule: str, path: Path, **fields: Json) -> None:
        super().__init__(f"{shown_path(path)}: {rule} {fields}")
        self.rule = rule
        self.path = path
        self.fields = fields


def shown_path(path: Path) -> str:
    """The path as `groups[0].fields[2].unit`."""
    parts = [f"[{each}]" if isinstance(each, int) else f".{each}" for each in path]
    return "".join(parts).removeprefix(".")


SENTENCES: Final = {
    "object": ("此处应为一组成员。", "This has to be a mapping."),
    "list": ("此处应为列表，项数在限度内。", "This has to be a list within its bounds."),
    "missing": ("缺少成员 {member}。", "The member {member} is missing."),
    "unknown": ("没有名为 {member} 的成员。", "There is no member {member} here."),
    "text": (
        "此处应为 1 至 {max} 个字符的文本，不含控制字符和方向控制符。",
        "This has to be a text of 1 to {max} characters without control or direction marks.",
    ),
    "name": ("名称应形如 {form}。", "A name has the form {form}."),
    "number": ("此处应为允许范围内的整数。", "This has to be a whole number within its range."),
    "flag": ("标志要么写 true，要么不写。", "A flag is true, or is left out."),
    "format": ("模板格式应为 {expected}。", "The format has to be {expected}."),
    "vocabulary": ("没有此项；可用：{known}。", "There is no such thing; there are: {known}."),
    "duplicate": ("{name} 出现了两次。", "{name} stands here twice."),
    "reference": ("模板中没有 {name}。", "The template has no {name} of this kind."),
    "unit": ("此类型的单位应为：{units}。", "The unit of this type has to be: {units}."),
    "values": (
        "代码项须列出取值；其他类型不列。",
        "A field of type enum lists its values, and no other does.",
    ),
    "personal": (
        "类型 {type} 只能属于非公开（NONPUBLIC）字段组。",
        "The type {type} is for groups of the tier NONPUBLIC alone.",
    ),
    "prefix": (
        "状态前缀须以 / 结尾，且互不包含。",
        "A prefix of state ends with / and none begins with another.",
    ),
    "key": ("业务编号应为公开字段组的字段。", "The key has to be a field of a PUBLIC group."),
    "event_member": (
        "事件只含业务编号、state 和公开字段：{name}。",
        "An event holds the key, state and PUBLIC fields: {name}.",
    ),
    "record": (
        "类型 record 须指明记录（且不属于非公开字段组）；其他类型不指明。",
        "A field of type record names one, outside NONPUBLIC groups, and no other field does.",
    ),
    "nested": (
        "记录只能用到列在它之前的记录：{name}。",
        "A record holds only those that are listed before it: {name}.",
    ),
    "record_tier": (
        "公开字段所用的记录 {name} 含有特定范围的字段。",
        "A PUBLIC value cannot be the record {name}, which holds RESTRICTED fields.",
    ),
    "sealed": (
        "类型 sealed 只属于特定范围（RESTRICTED）的数据，且为单个值，不在记录之内。",
        "The type sealed is for one value of the tier RESTRICTED, outside records.",
    ),
    "event_sealed": (
        "事件中的特定范围数据应为密文（类型 sealed）：{name}。",
        "RESTRICTED data in an event has to be sealed (the type sealed): {name}.",
    ),
    "event_tier": (
        "事件的分级应与其成员一致。",
        "The tier of an event has to be that of what it holds.",
    ),
    "in_clear": (
        "事件含未加密的特定范围数据时须写 in_clear，否则不写。",
        "An event says in_clear if it holds RESTRICTED data that is not sealed, and not otherwise.",
    ),
    "own_alone": (
        "只有链自带的合约（own）才有此项。",
        "Only a contract of the chain's own (own) has this.",
    ),
    "own_not_deployed": (
        "链自带的合约随软件发布，不按模板部署或备案。",
        "A contract of the chain's own comes with the software, and is not deployed or filed.",
    ),
    "unused": ("没有方法、字段组或事件用到 {name}。", "No method, group or event uses {name}."),
    "event_unused": ("没有步骤产生此事件。", "No transition makes this event."),
    "unreachable": ("没有步骤到达状态 {name}。", "No transition leads to the state {name}."),
    "final": ("终态 {name} 不得再有步骤。", "No transition leaves the final state {name}."),
    "no_beginning": (
        "至少须有一个步骤由无到有（from 为空）。",
        "At least one transition begins a business: its from is empty.",
    ),
    "bounds": (
        "默认值须在最小值与最大值之间。",
        "The default has to lie between the least and the greatest value.",
    ),
    "contract": (
        "合约不符合 star/1：{broken}（第 {line} 行）。",
        "The contract is not star/1: {broken} (line {line}).",
    ),
    "yaml": ("不是有效的 YAML：{why}。", "This is no YAML: {why}."),
    "yaml_twice": ("成员 {member} 出现了两次。", "The member {member} stands here twice."),
    "yaml_anchor": (
        "不得使用锚点、别名和合并键。",
        "Anchors, aliases and merge keys have no place here.",
    ),
    "yaml_tag": ("不得使用标签和指令。", "Tags and directives have no place here."),
    "yaml_value": (
        "YAML 会把 {text} 读成别的类型；文本请加引号。",
        "YAML takes {text} for another type; put a text in quotes.",
    ),
    "yaml_documents": ("文件应只有一份文档。", "The file has to hold one document."),
    "large": ("超过限度 {max}。", "This is more than {max}."),
    "source_file": (
        "source 应为同一目录下的 .star 文件名。",
        "source is the name of a .star file in the same folder.",
    ),
}
"""By rule: zh and en. What stands in braces are the facts of the error."""


def sentences(error: TemplateError) -> tuple[str, str]:
    """The sentence in zh and en, with its facts."""
    zh, en = SENTENCES[error.rule]
    return zh.format_map(error.fields), en.format_map(error.fields)
