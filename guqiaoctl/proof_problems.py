"""What failed in a proof, and why, in Chinese: the proof package states both in English.

One line a kind of piece or reason; a test holds that none that the package can state is missing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from guqiao_sdk.proof.errors import ProofError

_Sentences = Sequence[tuple[str, str]]

_PIECES: Final[_Sentences] = (
    (r"framing", "文件封装"),
    (r"section (.*)", "分段 {}"),
    (r"trust file", "信任文件"),
    (r"conformance report", "符合性测试报告"),
    (r"trust in (.*)", "对 {} 的信任"),
    (r"envelope", "批量签名"),
    (r"certified header", "已认证的区块头"),
    (r"genesis header of (.*)", "{} 的创世区块头"),
    (r"header of (.*) height (.*)", "{} 高度 {} 的区块头"),
    (r"finality certificate of (.*) height (.*)", "{} 高度 {} 的终局证书"),
    (r"misbehaviour evidence of (.*) height (.*)", "{} 高度 {} 的作恶证据"),
    (r"next set of block (.*)/(.*)", "{} 区块 {} 之后的副本集"),
    (r"set changes? of (.*) to epoch (.*)", "{} 进入第 {} 纪元的副本集变更"),
    (r"set change of (.*) at height (.*)", "{} 高度 {} 的副本集变更"),
    (r"set changes of (.*)", "{} 的副本集变更"),
    (r"packet (.*) of (.*) port (.*)", "第 {} 号数据包（{}，端口 {}）"),
    (r"seal (.*) of packet (.*)", "第 {} 枚签章（第 {} 号数据包）"),
    (r"receipt in (.*) height (.*)", "{} 高度 {} 的回执"),
    (r"anchor of packet (.*)", "第 {} 号数据包的锚定"),
    (r"regulatory anchor in (.*) height (.*)", "{} 高度 {} 的监管锚定"),
    (r"transaction in (.*) height (.*)", "{} 高度 {} 的交易"),
    (r"transaction (.*) at height (.*)", "交易 {}（高度 {}）"),
    (r"result of transaction (.*)", "交易 {} 的结果"),
    (r"transaction (.*)", "交易 {}"),
    (r"state of (.*)", "{} 的状态"),
    (r"block (.*)/(.*)", "{} 区块 {}"),
    (r"block (.*)", "区块 {}"),
    (r"certificates", "终局证书"),
    (r"restart authorities", "有权批准重启的两方"),
    (r"restart of (.*) in epoch (.*)", "{} 第 {} 纪元的重启"),
    (r"restart in epoch (.*)", "第 {} 纪元的重启"),
    (r"restart", "重启"),
    (r"governor of (.*)", "{} 的治理人"),
    (r"approval of (.*)", "{} 的批准"),
    (r"governors\[(.*)\] of the restart", "重启声明中的第 {} 位治理人"),
    (r"folder of replica (.*)", "副本 {} 的数据文件夹"),
    (r"genesis block of (.*)", "{} 的创世区块"),
    (r"receipt of transaction (.*)", "交易 {} 的回执"),
    (r"transactions of height (.*)", "高度 {} 的全部交易"),
    (r"block header", "区块头"),
    (r"checkpoint", "检查点文件"),
    (r"record of an observed chain", "被观察链的记录"),
    (r"receipt", "回执"),
    (r"transaction", "交易"),
)

_REASONS: Final[_Sentences] = (
    # Seals.
    (r"no certificate stands for it", "没有证书可证明该签章"),
    (r"it carries no sealed object", "其中没有经签章的数据对象"),
    (r"it is no signature of the operation", "不是该业务操作的签名"),
    # Framing and files.
    (r"(.*) bytes, at most (.*) allowed", "共 {} 字节，最多允许 {} 字节"),
    (r"its sections are (.*)", "其分段为 {}"),
    (r"its keys do not ascend", "键未按升序排列"),
    (r"the checksum is not that of the content", "校验和与内容不符"),
    (
        r"the end magic is damaged or missing: the file is cut off or changed",
        "结尾标记损坏或缺失：文件被截断或改动",
    ),
    (r"the start magic is damaged or missing", "开头标记损坏或缺失"),
    (r"it cannot be read \((.*)\)", "无法读取（{}）"),
    (r"it is missing", "文件缺失"),
    (r"it is malformed: (.*)", "格式不正确：{}"),
    (r"it has (.*) bytes, its manifest says (.*)", "文件有 {} 字节，清单所记为 {}"),
    (r"its digest is not the one in its manifest", "摘要与清单所记不符"),
    (r"it holds other heights than its manifest says", "所含高度与清单所记不符"),
    (r"that of height (.*) is missing", "缺少高度 {} 的终局证书"),
    (r"it does not follow the manifest before it", "与前一份清单不衔接"),
    (r"it is not written as a manifest is", "不是清单的规范写法"),
    (
        r"it is of another chain or replica than the one before it",
        "与前一份清单的链或副本不同",
    ),
    (r"it lists (.*), (.*) is due", "列出的是 {}，应为 {}"),
    (r"it says that it is number (.*), number (.*) is due", "自称第 {} 号，应为第 {} 号"),
    (r"a segment's file is not named by its number", "段文件未按编号命名"),
    (r"its number is out of range", "编号超出范围"),
    (r"its format is not (.*)", "格式版本不是 {}"),
    (r"a class of (.*)", "数据包类别为 {}，没有这一类别"),
    (r"a deadline that JSON state cannot carry", "时限超出状态数据可表示的范围"),
    (r"replica is not below (.*)", "副本编号不小于 {}"),
    (r"there are two of it", "有重复的两份"),
    # Values of trust files and manifests.
    (r"not strict JSON: (.*)", "不是严格的 JSON：{}"),
    (r"(.*) has not exactly the members (.*)", "{} 的成员应恰为 {}"),
    (r"(.*) is not (.*) bytes in hex", "{} 不是 {} 字节的十六进制"),
    (r"(.*) is not a text of (.*) to (.*) bytes", "{} 不是 {} 至 {} 字节的文本"),
    (r"(.*) is not a text of (.*) to (.*) characters", "{} 不是 {} 至 {} 个字符的文本"),
    (r"(.*) is not an array of (.*) to (.*) entries", "{} 不是 {} 至 {} 项的数组"),
    (r"(.*) is not an integer from 0 to 2\^53 - 1", "{} 不是 0 至 2^53 - 1 的整数"),
    (r"(.*) is not of the form (.*)", "{} 不符合格式 {}"),
    (r"(.*) has an empty header hash", "{} 的区块头哈希为空"),
    (r"(.*) has another set than its epoch had before", "{} 与其纪元此前的副本集不同"),
    (r"(.*) has the set of another chain or epoch", "{} 的副本集属于其他链或纪元"),
    (r"(.*) is not above the one before it", "{} 不高于前一项"),
    (r"the genesis hash of (.*) is empty", "{} 的创世哈希为空"),
    (r"it names a chain twice", "重复列出同一条链"),
    (r"(.*) is of another chain than the one before it", "{} 与前一项不属于同一条链"),
    (r"(.*) has a period with a day that no calendar has", "{} 的有效期中有不存在的日期"),
    (
        r"(.*) is vouched for until (.*), more than (.*) days after the issue",
        "{} 的有效期至 {}，自签发起超过 {} 天",
    ),
    (r"its issuer vouched for it until (.*)", "签发方的担保截至 {}"),
    (r"the trust file has another checkpoint at height (.*)", "信任文件在高度 {} 是另一个检查点"),
    (r"it is signed with another key than the issuer's", "所用签名密钥不是签发方的密钥"),
    (r"the issuer's signature does not hold", "签发方的签名不成立"),
    (r"it is not written as canonical JSON", "不是规范的 JSON 写法"),
    (r"it says of itself another result than its checks have", "所称结果与各检查项不符"),
    (
        r"it does not have every check of every node, each once",
        "每个节点的每个检查项应各有一次，报告有缺漏或重复",
    ),
    (r"(.*) is no check or has no result", "{} 不是检查项或没有结果"),
    (r"(.*) is not an object of (.*) members at most", "{} 不是至多 {} 个成员的对象"),
    (
        r"(.*) says why it was passed, or not why it was not",
        "{} 已通过却给出原因，或未通过却未给出原因",
    ),
    # Trust, epochs and sets.
    (r"it does not name the chain (.*)", "其中没有链 {}"),
    (
        r"it has no checkpoint of (.*) epoch (.*) \(it has epochs (.*)\): "
        r"get a trust file that has one, or export the bundle from one of these",
        "其中没有 {} 第 {} 纪元的检查点（有第 {} 纪元的）：请取得含有该纪元的信任文件，"
        "或从上述纪元之一导出证明文件",
    ),
    (r"the trust file has another header at this height", "信任文件在该高度是另一个区块头"),
    (
        r"the trust file has another replica set for its epoch",
        "信任文件在该纪元是另一个副本集",
    ),
    (r"its genesis is not the one in the trust file", "创世哈希与信任文件不符"),
    (r"it names another set than the trust file", "其副本集与信任文件不符"),
    (r"epoch (.*) contradicts the checkpoint at height (.*)", "第 {} 纪元与高度 {} 的检查点矛盾"),
    (r"epoch (.*) follows no trusted set change here", "第 {} 纪元没有可信的副本集变更相衔接"),
    (r"epoch (.*) ended below it", "第 {} 纪元在其之前已经结束"),
    (r"epoch (.*) is before the trusted one", "第 {} 纪元早于所信任的纪元"),
    (r"how epoch (.*) began is not known", "不知第 {} 纪元如何开始"),
    (r"epoch (.*) of (.*) is followed by the next one", "{1} 第 {0} 纪元之后只能是下一个纪元"),
    (r"none is known after epoch (.*)", "第 {} 纪元之后没有已知的变更"),
    (r"the epoch ended below it: a set change is missing", "该纪元在其之前已结束：缺少副本集变更"),
    (
        r"the set is of another chain or of no following epoch",
        "副本集属于其他链，或不是下一个纪元",
    ),
    (r"no manifest holds the set that it names", "没有任何清单含有它所指的副本集"),
    (r"no manifest holds the set that the header names", "没有任何清单含有区块头所指的副本集"),
    (r"the replica set is of chain (.*)", "副本集属于链 {}"),
    (r"the certified header names another set", "已认证的区块头指向另一个副本集"),
    (r"(.*) of them, at most (.*) in one step", "共 {} 次，一步最多 {} 次"),
    (r"the header names another", "区块头指向另一个"),
    # Headers and certificates.
    (r"it is not of chain (.*)", "不属于链 {}"),
    (
        r"it is of another chain or set, or of a later block",
        "属于其他链或其他副本集，或为后来的区块",
    ),
    (r"it certifies another header", "认证的是另一个区块头"),
    (r"its signers are not distinct and ascending", "签名者有重复或未按编号排列"),
    (
        r"(.*) signatures, a bundle carries exactly the quorum of (.*)",
        "有 {} 个签名，证明文件应恰含法定数量 {} 个",
    ),
    (r"(.*) signatures, the quorum is (.*)", "有 {} 个签名，法定数量为 {}"),
    (r"replica (.*) is jailed, its vote does not count", "副本 {} 已被停权，其投票不计"),
    (r"replica (.*) is not in the set", "副本 {} 不在副本集中"),
    (r"the signature of replica (.*) does not hold", "副本 {} 的签名不成立"),
    (r"the header is of epoch (.*), the set of (.*)", "区块头属于第 {} 纪元，副本集属于第 {} 纪元"),
    (r"the batch digest is not that of its time and transactions", "批次摘要与时间和交易不符"),
    (r"height (.*) is trusted already", "高度 {} 已经可信"),
    (r"height (.*) was asked for, (.*) came", "所求高度为 {}，得到的是 {}"),
    (r"height (.*) was due", "应为高度 {}"),
    (r"block (.*) is due", "应为区块 {}"),
    (r"no header below height 1 is ever certified", "高度 1 以下的区块头不会被认证"),
    (r"its block time is before that of (?:a lower height|its parent)", "区块时间早于更低的高度"),
    (r"its block time lies in the future", "区块时间在未来"),
    (r"its parent is another block(?: than the one before it)?", "其父区块不是前一个区块"),
    (r"its block does not come before it", "其区块不在它之前"),
    (r"(.*) blocks before it have no certificate", "其前有 {} 个区块没有终局证书"),
    (r"the two headers are of different heights", "两个区块头的高度不同"),
    (r"the two headers are one and the same", "两个区块头相同"),
    (r"an empty hash as (.*) proves nothing", "{} 的哈希为空，不能证明任何内容"),
    (r"a (?:genesis|header) hash that is empty proves nothing", "空的哈希不能证明任何内容"),
    (r"an empty state root proves nothing", "空的状态根不能证明任何内容"),
    # Transactions, receipts, packets.
    (r"it was signed for the chain (.*)", "它是为链 {} 签署的"),
    (r"the maker's signature does not hold", "经办人的签名不成立"),
    (r"the checker's signature does not hold", "复核人的签名不成立"),
    (r"its signatures are not those of the signers it names", "签名与其所列签署人不符"),
    (r"it is of another transaction", "属于另一笔交易"),
    (r"it is of an attempt, not of the outcome", "只是一次未执行的尝试，并非最终结果"),
    (r"another one was answered", "返回的是另一笔交易"),
    (r"its source is not (.*)", "来源不是 {}"),
    (
        r"the transaction sent (.*) packets, not all are here",
        "该交易发出 {} 个数据包，此处不全",
    ),
    (r"the packet was sent to (.*)", "数据包是发往 {} 的"),
    (r"the receipt does not say that the packet arrived", "回执未载明数据包已到达"),
    (r"the receipt does not say that the transaction sent it", "回执未载明由该交易发出"),
    (r"the receipt has no acknowledgement of the packet", "回执中没有该数据包的确认"),
    (r"an event that is not an object", "事件不是 JSON 对象"),
    (r"an event that is not strict JSON: (.*)", "事件不是严格的 JSON：{}"),
    (r"the certified receipt says something else", "已认证的回执内容不同"),
    (
        r"its proofs are for another place than the result names",
        "证明所在位置与结果所称不同",
    ),
    (
        r"it names a place that the certified block does not have",
        "所称位置在已认证的区块中不存在",
    ),
    (r"(.*) receipts for (.*) transactions", "{} 份回执对应 {} 笔交易"),
    (r"its batch is not the one that the header names", "批次不是区块头所指的批次"),
    (r"its transactions are not those under the header's root", "交易与区块头的根不符"),
    (r"its receipts are not those under the header's root", "回执与区块头的根不符"),
    # Restarts.
    (r"(.*) holds another header", "{} 持有的是另一个区块头"),
    (
        r"(.*) vote keys stay, a quorum of (.*): it decides",
        "留下 {} 个投票密钥，已达法定数量 {}：应由链自行决定",
    ),
    (r"a key is not an SM2 point of 65 bytes", "密钥不是 65 字节的 SM2 点"),
    (r"a key of his record has another shape", "其记录中的密钥格式不符"),
    (r"a key of his record is not in hex", "其记录中的密钥不是十六进制"),
    (r"a vote key keeps its number and its entity", "投票密钥须保持原编号与原机构"),
    (r"an approval is there twice or not needed", "有重复或不需要的批准"),
    (r"epoch (.*) is followed by the next one", "第 {} 纪元之后只能是下一个纪元"),
    (r"he has no key that may govern at the header's time", "在该区块时间没有可用于治理的密钥"),
    (r"his record is not strict JSON: (.*)", "其记录不是严格的 JSON：{}"),
    (r"it does not go on from the last certified block", "没有从最后一个已认证的区块继续"),
    (r"it does not name exactly the entities that stay", "所列机构与留下的机构不一致"),
    (r"it gives no reason, or too long a one", "没有事由，或事由过长"),
    (
        r"it goes on from height (.*), height (.*) is final here",
        "从高度 {} 继续，而此处高度 {} 已经终局",
    ),
    (
        r"it goes on from height (.*), replica (.*) holds (.*)",
        "从高度 {} 继续，而副本 {} 已持有高度 {}",
    ),
    (r"block (.*) is final above it", "其上的区块 {} 已经终局"),
    (r"it is of another genesis", "属于另一个创世文件"),
    (r"it is signed with a key that is not his", "所用签名密钥不属于签署方"),
    (
        r"it restarts above height (.*), an entity that stays holds (.*)",
        "从高度 {} 之后重启，而留下的机构持有高度 {}",
    ),
    (r"it starts from no certified header", "没有从已认证的区块头开始"),
    (r"its certificate does not have exactly a quorum", "其终局证书的签名数不等于法定数量"),
    (r"its time is before that of its header", "其时间早于区块头的时间"),
    (r"no entity of the old set stays", "原副本集中没有机构留下"),
    (r"no entity that stays holds its header", "留下的机构均不持有该区块头"),
    (r"nobody of the new set is jailed yet", "新副本集不得含有已停权的成员"),
    (r"not approved by (.*)", "尚未获得以下各方批准：{}"),
    (
        r"not exactly csrc and province, each a key in hex",
        "应恰为 csrc 与 province 两个十六进制密钥",
    ),
    (r"not in hex", "不是十六进制"),
    (r"one key approves twice", "同一密钥批准了两次"),
    (r"one key for both of them", "两方使用了同一密钥"),
    (r"the header names another set for the next height", "区块头为下一高度指定了另一个副本集"),
    (r"the old set is not the one after the header", "原副本集不是该区块头之后的副本集"),
    (r"the new set has not the lineage of this restart", "新副本集的谱系标识不属于此次重启"),
    (r"the record is not that of an active governor of it", "所示记录不是该机构的有效治理人"),
    (r"the set in force is that of epoch (.*)", "现行副本集属于第 {} 纪元"),
    (r"the signature under this statement does not hold", "对此声明的签名不成立"),
    (r"the vote key of replica (.*) is jailed", "副本 {} 的投票密钥已被停权"),
    (r"what (.*) holds contradicts itself", "{} 所持内容自相矛盾"),
    (r"genesis names no restart authorities", "创世文件没有指定有权批准重启的两方"),
    (
        r"no restart authorities are known of the chain, so nobody can approve it here: "
        r"take a new trust file that has a checkpoint of epoch (.*)",
        "此处不知该链由谁批准重启，无从核验：请取得含有第 {} 纪元检查点的新信任文件",
    ),
    # Trees.
    (
        r"a Merkle path of (.*) siblings for leaf (.*) of (.*)",
        "默克尔路径有 {} 个兄弟节点，与第 {} 个叶子（共 {} 个）不符",
    ),
    (r"a sibling that is no SM3 digest", "兄弟节点不是 SM3 摘要"),
    (r"index (.*) of (.*) leaves, at most (.*) allowed", "序号 {}，共 {} 个叶子，最多允许 {} 个"),
    (r"the (?:Merkle path|state proof) leads to another root", "路径得出的根不同"),
    (r"more siblings than the tree is deep", "兄弟节点多于树的深度"),
    (r"the key is present", "该键存在"),
    (r"the leaf found does not stand on the key's path", "所示叶子不在该键的路径上"),
    (r"the leaf found is not this key with this value", "所示叶子不是该键与该值"),
    # Chains of another kind.
    (r"it is no JSON object", "不是 JSON 对象"),
    (r"it is not JSON", "不是 JSON"),
    (r"(.*) is no text", "{} 不是文本"),
    (r"(.*) is no list", "{} 不是列表"),
    (r"(.*) is missing", "缺少 {}"),
    (r"(.*) has more than (.*) characters or items", "{} 超过 {} 个字符或项"),
    (r"(.*) is no whole number in range", "{} 不是范围内的整数"),
    (r"(.*) is not in lower-case hex", "{} 不是小写十六进制"),
    (r"(.*) is not of the right size", "{} 的长度不对"),
    (r"(.*) is empty or not printable", "{} 为空或含不可打印字符"),
    (r"its members are not those of (.*)", "成员与格式 {} 不符"),
    (r"(.*) sealers, from (.*) to (.*) are believed", "有 {} 个共识节点，只采信 {} 至 {} 个的"),
    (r"its status is (.*)", "其状态为 {}"),
    (r"a sealer stands in it twice", "同一共识节点列了两次"),
    (r"the key of a sealer is no SM2 key", "有共识节点的密钥不是 SM2 密钥"),
    (r"the weight of a sealer is out of range", "有共识节点的权重超出范围"),
    (r"one sealer alone has the weight of a quorum", "一个共识节点独占法定权重"),
    (r"its parent is not the block before it", "其父区块不是前一个区块"),
    (r"extra data could hide a sealer or a weight", "附加数据可能掩藏共识节点或权重"),
    (r"its hash is not that of its fields", "哈希与各字段不符"),
    (r"its hash is not the one that is trusted", "哈希不是所信任的哈希"),
    (r"version (.*) is not one that can be verified", "版本 {} 无法核验"),
    (r"it is signed with ECDSA instead of SM2", "签名用的是 ECDSA 而不是 SM2"),
    (r"it has not one weight for each sealer", "权重与共识节点不是一一对应"),
    (r"sealer (.*) is not in its list", "共识节点 {} 不在其列表中"),
    (r"a sealer signed it twice", "同一共识节点签了两次"),
    (r"the signature of sealer (.*) does not hold", "共识节点 {} 的签名不成立"),
    (r"weight (.*) signed it, the quorum is (.*)", "签名权重为 {}，法定权重为 {}"),
    (
        r"its sealers are others, and only weight (.*) of those believed signed it",
        "其共识节点已更换，所信任的节点中只有权重 {} 签名",
    ),
    (r"the proof has too many levels", "证明的层数过多"),
    (r"the proof is cut off or has a hash of another size", "证明不完整，或有哈希长度不对"),
    (r"the proof is empty", "证明为空"),
    (r"the proof has no number where one is due", "证明中应为数目之处不是数目"),
    (r"a level of (.*) hashes, at most (.*) are believed", "一层有 {} 个哈希，最多采信 {} 个"),
    (r"the Merkle path does not hold the leaf", "默克尔路径中没有该叶子"),
    (r"the Merkle path does not lead to place (.*)", "默克尔路径不通向第 {} 位"),
    (r"its signature does not hold", "签名不成立"),
    (r"it is signed by another than it names as its sender", "签名者不是其所称的发送方"),
    (
        r"its fields could be divided otherwise under the same hash",
        "同一哈希之下其字段可以有别的划分",
    ),
    (r"it is not of height (.*)", "不属于高度 {}"),
    (r"it is not of (.*)", "不属于 {}"),
    (
        r"its tree has another shape than that of the transactions",
        "其树与交易树的形状不同",
    ),
    (r"they are not those under the root of its header", "与其区块头的根不符"),
    (r"the chain does not use national cryptography", "该链没有使用国密算法"),
    (r"its text does not say once which chain it is", "创世文本没有恰好一次说明是哪条链"),
)


def in_chinese(error: ProofError) -> tuple[str, str]:
    """Return the piece that failed and why. What a decoder says of bytes stays as it is, as a
    file's name does.
    """
    reason = reason_in_chinese(error.detail)
    return (
        piece_in_chinese(error.piece) or error.piece,
        f"不成立（{error.detail}）" if reason is None else reason,
    )


def piece_in_chinese(piece: str) -> str | None:
    """Return the name of a piece in Chinese, or None where it has none here."""
    return _translated(_PIECES, piece)


def reason_in_chinese(detail: str) -> str | None:
    """Return a reason in Chinese, or None where it has no sentence here."""
    return _translated(_REASONS, detail)


def _translated(sentences: _Sentences, text: str) -> str | None:
    for pattern, sentence in sentences:
        found = re.fullmatch(pattern, text, re.DOTALL)
        if found is not None:
            return sentence.format(*found.groups())
    return None
