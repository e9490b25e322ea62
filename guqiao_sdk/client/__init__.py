"""The asynchronous client of a chain: submit, read, verify.

Nothing a replica answers is believed for its own sake: blocks, results and state values are checked
against finality certificates by the light-client rules of `guqiao_sdk.proof`.
"""
