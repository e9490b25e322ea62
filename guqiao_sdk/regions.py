"""The regions of the equity markets: the name that a chain has, and the letters of its codes.

JR/T 0325 lists the names of chains, JR/T 0326 the letters that the codes of a region begin with.
"""

from __future__ import annotations

from typing import Final

_TABLE: Final = """
beijing BJ tianjin TJ hebei HE shanxi SX neimenggu NM liaoning LN jilin JL heilongjiang HL
shanghai SH jiangsu JS zhejiang ZJ anhui AH fujian FJ jiangxi JX shandong SD henan HA hubei HB
hunan HN guangdong GD guangxi GX hainan HI chongqing CQ sichuan SC guizhou GZ yunnan YN shaanxi SN
gansu GS qinghai QH ningxia NX xinjiang XJ dalian DLC ningbo NGB xiamen XMN qingdao TAO shenzhen SZX
"""
_WORDS: Final = tuple(_TABLE.split())
REGIONS: Final = dict(zip(_WORDS[::2], _WORDS[1::2], strict=True))
"""Letters by name."""


def region_of_chain(chain_id: str) -> str:
    """The region's part of a chain's id: all of it, or what stands before the first hyphen."""
    return chain_id.partition("-")[0]


def region_of_did(did: str) -> str:
    """The part of `did:rem:<region>:<code>` that names the region or the domain."""
    parts = did.split(":")
    return parts[2] if len(parts) > 3 else ""
