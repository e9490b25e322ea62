"""How a source is refused, and how a call ends that does not end well."""

from __future__ import annotations

from guqiao_sdk.proof.json_values import Json


class SourceError(Exception):
    """A source, or a canonical form, that is not star/1.

    `rule` is a symbol of `refusals.SENTENCES`; line and column count from 1, 0 where there is none.
    """

    def __init__(self, rule: str, line: int, column: int = 0, **fields: Json) -> None:
        facts = "".join(f" {name}={value!r}" for name, value in sorted(fields.items()))
        super().__init__(f"{line}:{column}: {rule}{facts}")
        self.rule = rule
        self.line = line
        self.column = column
        self.fields = fields


class ContractError(Exception):
    """The contract broke a rule of the engine (`code`), or said no (`require`).

    `line` is the line of the statement, 0 until the statement that was running notes it; `contract`
    the contract of that line, empty where it is the one that was called first.
    """

    def __init__(self, code: str, /, **fields: Json) -> None:
        super().__init__(code)
        self.code = code
        self.fields = fields
        self.line = 0
        self.contract = ""
        self.is_refusal = False

    @staticmethod
    def refusal(code: str, fields: dict[str, Json]) -> ContractError:
        """What the contract says by `require`."""
        error = ContractError(code)
        error.fields, error.is_refusal = fields, True
        return error


class OutOfGas(Exception):  # noqa: N818 - an ordinary outcome, not an error of ours
    """The gas of the call is used up."""

    def __init__(self) -> None:
        super().__init__("out of gas")
        self.line = 0
        self.contract = ""
