"""What characters are to a search for numbers: digits, gaps between them, or not seen at all.

A table of our own, taken once from Unicode 14: replicas judge by it, and the tables that Python
brings change with its version (`tests/unit/contracts/test_personal_characters.py` holds it against
them). What is no character there is judged as any letter is, but for the ranges that Unicode keeps
for what is not shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

SPACE: Final = " "
HYPHEN: Final = "-"
BRACKET: Final = "("
LIST: Final = ","
POINT: Final = "."
COLON: Final = ":"
SLASH: Final = "/"
OTHER: Final = "_"
GAPS: Final = SPACE + BRACKET + HYPHEN + LIST + POINT + COLON + SLASH + OTHER
"""Between digits of one number stands any of these, by its kind, or nothing."""

_ZEROS: Final = """
30 660 6f0 7c0 966 9e6 a66 ae6 b66 be6 c66 ce6 d66 de6 e50 ed0 f20 1040 1090 17e0 1810 1946 19d0
1a80 1a90 1b50 1bb0 1c40 1c50 a620 a8d0 a900 a9d0 a9f0 aa50 abf0 ff10 104a0 10d30 11066 110f0
11136 111d0 112f0 11450 114d0 11650 116c0 11730 118e0 11950 11c50 11d50 11da0 16a60 16ac0 16b50
1d7ce 1d7d8 1d7e2 1d7ec 1d7f6 1e140 1e2f0 1e950 1fbf0
"""
"""The first of ten decimal digits each: category Nd."""

_FURTHER: Final = """
b2:2:2 b9:1:1 1369:1:9 19da:1:1 2070:0:1 2074:4:6 2080:0:10 2460:1:9 2474:1:9 2488:1:9 24ea:0:1
24f5:1:9 24ff:0:1 2776:1:9 2780:1:9 278a:1:9 10a40:1:4 10e60:1:9 11052:1:9 1f100:0:1 1f101:0:10
"""
"""Digits beside them, as superscripts: the first, its value, how many."""

_UNSEEN: Final = """
0-8 e-1b 7f-84 86-9f ad 300-36f 483-489 591-5bd 5bf 5c1-5c2 5c4-5c5 5c7 600-605 610-61a 61c
64b-65f 670 6d6-6dd 6df-6e4 6e7-6e8 6ea-6ed 70f 711 730-74a 7a6-7b0 7eb-7f3 7fd 816-819 81b-823
825-827 829-82d 859-85b 890-891 898-89f 8ca-902 93a 93c 941-948 94d 951-957 962-963 981 9bc
9c1-9c4 9cd 9e2-9e3 9fe a01-a02 a3c a41-a42 a47-a48 a4b-a4d a51 a70-a71 a75 a81-a82 abc ac1-ac5
ac7-ac8 acd ae2-ae3 afa-aff b01 b3c b3f b41-b44 b4d b55-b56 b62-b63 b82 bc0 bcd c00 c04 c3c
c3e-c40 c46-c48 c4a-c4d c55-c56 c62-c63 c81 cbc cbf cc6 ccc-ccd ce2-ce3 d00-d01 d3b-d3c d41-d44
d4d d62-d63 d81 dca dd2-dd4 dd6 e31 e34-e3a e47-e4e eb1 eb4-ebc ec8-ecd f18-f19 f35 f37 f39
f71-f7e f80-f84 f86-f87 f8d-f97 f99-fbc fc6 102d-1030 1032-1037 1039-103a 103d-103e 1058-1059
105e-1060 1071-1074 1082 1085-1086 108d 109d 115f-1160 135d-135f 1712-1714 1732-1733 1752-1753
1772-1773 17b4-17b5 17b7-17bd 17c6 17c9-17d3 17dd 180b-180f 1885-1886 18a9 1920-1922 1927-1928
1932 1939-193b 1a17-1a18 1a1b 1a56 1a58-1a5e 1a60 1a62 1a65-1a6c 1a73-1a7c 1a7f 1ab0-1ace
1b00-1b03 1b34 1b36-1b3a 1b3c 1b42 1b6b-1b73 1b80-1b81 1ba2-1ba5 1ba8-1ba9 1bab-1bad 1be6
1be8-1be9 1bed 1bef-1bf1 1c2c-1c33 1c36-1c37 1cd0-1cd2 1cd4-1ce0 1ce2-1ce8 1ced 1cf4 1cf8-1cf9
1dc0-1dff 200b-200f 202a-202e 2060-206f 20d0-20f0 2cef-2cf1 2d7f 2de0-2dff 302a-302d 3099-309a
3164 a66f-a672 a674-a67d a69e-a69f a6f0-a6f1 a802 a806 a80b a825-a826 a82c a8c4-a8c5 a8e0-a8f1
a8ff a926-a92d a947-a951 a980-a982 a9b3 a9b6-a9b9 a9bc-a9bd a9e5 aa29-aa2e aa31-aa32 aa35-aa36
aa43 aa4c aa7c aab0 aab2-aab4 aab7-aab8 aabe-aabf aac1 aaec-aaed aaf6 abe5 abe8 abed fb1e
fe00-fe0f fe20-fe2f feff ffa0 fff0-fffb 101fd 102e0 10376-1037a 10a01-10a03 10a05-10a06
10a0c-10a0f 10a38-10a3a 10a3f 10ae5-10ae6 10d24-10d27 10eab-10eac 10f46-10f50 10f82-10f85 11001
11038-11046 11070 11073-11074 1107f-11081 110b3-110b6 110b9-110ba 110bd 110c2 110cd 11100-11102
11127-1112b 1112d-11134 11173 11180-11181 111b6-111be 111c9-111cc 111cf 1122f-11231 11234
11236-11237 1123e 112df 112e3-112ea 11300-11301 1133b-1133c 11340 11366-1136c 11370-11374
11438-1143f 11442-11444 11446 1145e 114b3-114b8 114ba 114bf-114c0 114c2-114c3 115b2-115b5
115bc-115bd 115bf-115c0 115dc-115dd 11633-1163a 1163d 1163f-11640 116ab 116ad 116b0-116b5 116b7
1171d-1171f 11722-11725 11727-1172b 1182f-11837 11839-1183a 1193b-1193c 1193e 11943 119d4-119d7
119da-119db 119e0 11a01-11a0a 11a33-11a38 11a3b-11a3e 11a47 11a51-11a56 11a59-11a5b 11a8a-11a96
11a98-11a99 11c30-11c36 11c38-11c3d 11c3f 11c92-11ca7 11caa-11cb0 11cb2-11cb3 11cb5-11cb6
11d31-11d36 11d3a 11d3c-11d3d 11d3f-11d45 11d47 11d90-11d91 11d95 11d97 11ef3-11ef4 13430-13438
16af0-16af4 16b30-16b36 16f4f 16f8f-16f92 16fe4 1bc9d-1bc9e 1bca0-1bca3 1cf00-1cf2d 1cf30-1cf46
1d167-1d169 1d173-1d182 1d185-1d18b 1d1aa-1d1ad 1d242-1d244 1da00-1da36 1da3b-1da6c 1da75 1da84
1da9b-1da9f 1daa1-1daaf 1e000-1e006 1e008-1e018 1e01b-1e021 1e023-1e024 1e026-1e02a 1e130-1e136
1e2ae 1e2ec-1e2ef 1e8d0-1e8d6 1e944-1e94a e0000-e0fff
"""
"""Format and control characters, marks upon and around others, and what is ignorable by default."""

_PUNCTUATION: Final = """
21-23 25-2a 2c-2f 3a-3b 3f-40 5b-5d 5f 7b 7d a1 a7 ab b6-b7 bb bf 37e 387 55a-55f 589-58a 5be
5c0 5c3 5c6 5f3-5f4 609-60a 60c-60d 61b 61d-61f 66a-66d 6d4 700-70d 7f7-7f9 830-83e 85e 964-965
970 9fd a76 af0 c77 c84 df4 e4f e5a-e5b f04-f12 f14 f3a-f3d f85 fd0-fd4 fd9-fda 104a-104f 10fb
1360-1368 1400 166e 169b-169c 16eb-16ed 1735-1736 17d4-17d6 17d8-17da 1800-180a 1944-1945
1a1e-1a1f 1aa0-1aa6 1aa8-1aad 1b5a-1b60 1b7d-1b7e 1bfc-1bff 1c3b-1c3f 1c7e-1c7f 1cc0-1cc7 1cd3
2010-2027 2030-2043 2045-2051 2053-205e 207d-207e 208d-208e 2308-230b 2329-232a 2768-2775
27c5-27c6 27e6-27ef 2983-2998 29d8-29db 29fc-29fd 2cf9-2cfc 2cfe-2cff 2d70 2e00-2e2e 2e30-2e4f
2e52-2e5d 3001-3003 3008-3011 3014-301f 3030 303d 30a0 30fb a4fe-a4ff a60d-a60f a673 a67e
a6f2-a6f7 a874-a877 a8ce-a8cf a8f8-a8fa a8fc a92e-a92f a95f a9c1-a9cd a9de-a9df aa5c-aa5f
aade-aadf aaf0-aaf1 abeb fd3e-fd3f fe10-fe19 fe30-fe52 fe54-fe61 fe63 fe68 fe6a-fe6b ff01-ff03
ff05-ff0a ff0c-ff0f ff1a-ff1b ff1f-ff20 ff3b-ff3d ff3f ff5b ff5d ff5f-ff65 10100-10102 1039f
103d0 1056f 10857 1091f 1093f 10a50-10a58 10a7f 10af0-10af6 10b39-10b3f 10b99-10b9c 10ead
10f55-10f59 10f86-10f89 11047-1104d 110bb-110bc 110be-110c1 11140-11143 11174-11175 111c5-111c8
111cd 111db 111dd-111df 11238-1123d 112a9 1144b-1144f 1145a-1145b 1145d 114c6 115c1-115d7
11641-11643 11660-1166c 116b9 1173c-1173e 1183b 11944-11946 119e2 11a3f-11a46 11a9a-11a9c
11a9e-11aa2 11c41-11c45 11c70-11c71 11ef7-11ef8 11fff 12470-12474 12ff1-12ff2 16a6e-16a6f 16af5
16b37-16b3b 16b44 16e97-16e9a 16fe2 1bc9f 1da87-1da8b 1e95e-1e95f
"""
"""All of the categories P."""

_SPACES: Final = """
9-d 1c-20 85 a0 1680 2000-200a 2028-2029 202f 205f 3000
"""
"""The categories Z, tabulators and ends of lines."""

_SYMBOLS: Final = "5e 60 7c-7e 3d 2212 2044 2215 2236 ff1d ff3e ff40 ff5c ff5e"
"""Of the categories S, what people write as strokes and the like."""

_OF_KIND: Final = {
    HYPHEN: "2d 58a 5be 1400 1806 2010-2015 2043 2212 2e17 2e1a 2e3a-2e3b 2e40 2e5d 301c 3030 30a0"
    " fe31-fe32 fe58 fe63 ff0d 10ead",
    BRACKET: "28-29 5b 5d 7b 7d 2045-2046 207d-207e 208d-208e 2329-232a 3008-3011 3014-301b"
    " fe35-fe44 fe47-fe48 fe59-fe5e ff08-ff09 ff3b ff3d ff5b ff5d ff5f-ff60",
    LIST: "2c 3b 60c 61b 3001-3002 fe10-fe12 fe14 fe45-fe46 fe50-fe51 fe54 ff0c ff1b ff61 ff64",
    POINT: "2e 2024 fe52 ff0e",
    COLON: "3a 2236 fe13 fe55 ff1a",
    SLASH: "2f 5c 2044 2215 fe68 ff0f ff3c",
}
"""Marks that are told apart; all others are `OTHER`."""

_CROSSES: Final = "d7 3a7 3c7 425 445 2169 2179 2715-2716"
"""What looks like the X that ends an identity number."""


def _codes(ranges: str) -> Iterator[int]:
    for each in ranges.split():
        first, _, last = each.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)


def _digits() -> Iterator[tuple[int, str]]:
    for zero in _codes(_ZEROS):
        yield from ((zero + value, str(value)) for value in range(10))
    for each in _FURTHER.split():
        first, value, count = each.split(":")
        yield from ((int(first, 16) + at, str(int(value) + at)) for at in range(int(count)))


DIGITS: Final[dict[int, str]] = dict(_digits())
"""By code point, the digit from 0 to 9 that it is."""

PLAIN: Final[dict[int, str | None]] = {
    **dict.fromkeys(_codes(_UNSEEN)),
    **{code: chr(code - 0xFEE0) for code in (*range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))},
    **dict.fromkeys(_codes(_PUNCTUATION + _SYMBOLS), OTHER),
    **{code: kind for kind, ranges in _OF_KIND.items() for code in _codes(ranges)},
    **dict.fromkeys(_codes(_SPACES), SPACE),
    **dict.fromkeys(_codes(_CROSSES), "X"),
    **DIGITS,
    0xFF0B: "+",
    0xFFE5: "\u00a5",
}
"""By code point: digits and letters as ASCII has them, gaps by their kind, nothing for the unseen.
What is not in it stays as it is.
"""
