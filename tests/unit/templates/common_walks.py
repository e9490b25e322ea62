"""Ways through the common set: each list is one business life, or several that belong together, on
a contract of its own; all of them take every step and come to every state.
"""

from __future__ import annotations

from typing import Final

from tests.unit.templates.business_walks import BUSINESS_SPOILED, BUSINESS_WALKS
from tests.unit.templates.encumbrance_walks import ENCUMBRANCE_SPOILED, ENCUMBRANCE_WALKS
from tests.unit.templates.register_walks import REGISTER_SPOILED, REGISTER_WALKS

WALKS: Final = REGISTER_WALKS | ENCUMBRANCE_WALKS | BUSINESS_WALKS
SPOILED: Final = REGISTER_SPOILED | ENCUMBRANCE_SPOILED | BUSINESS_SPOILED
