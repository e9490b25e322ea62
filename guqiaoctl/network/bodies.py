"""Opens the encrypted bodies of a domain, in folders of the network's own."""

from __future__ import annotations

from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.object_store.body_keys import BodyKeys, load_wrapping_key, make_wrapping_key
from guqiao_sdk.object_store.encrypted import EncryptedStore
from guqiao_sdk.object_store.folder import FolderStore
from guqiaoctl.network.layout import Network


def open_bodies(network: Network, provider: GmProvider, domain: str) -> EncryptedStore:
    """The store of a domain. Its wrapping key is made with the first body, and never anew: raises
    `KeyFileError` where it is gone and records are there that it wraps.
    """
    layout = network.layout
    if not layout.body_keys(domain).exists():
        make_wrapping_key(layout.wrapping_key(domain))
    wrapping_key = load_wrapping_key(layout.wrapping_key(domain))
    keys = BodyKeys(layout.body_keys(domain), wrapping_key, provider)
    return EncryptedStore(FolderStore(layout.bodies(domain)), keys, provider)
