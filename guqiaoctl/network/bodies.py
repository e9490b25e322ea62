"""Opens the encrypted bodies of a domain: in a folder of the network's own, or in a bucket."""

from __future__ import annotations

from guqiao_sdk.gm.keyfile import read_guarded
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.object_store.body_keys import BodyKeys
from guqiao_sdk.object_store.encrypted import EncryptedStore
from guqiao_sdk.object_store.folder import FolderStore
from guqiao_sdk.object_store.port import ObjectStore
from guqiao_sdk.object_store.s3 import S3Settings, S3SettingsError, S3Store
from guqiao_sdk.object_store.wrapping_keys import make_wrapping_key, wrapping_keys_in_force
from guqiaoctl.network.layout import Network
from services.chassis.settings import SettingsError


def open_bodies(network: Network, provider: GmProvider, domain: str) -> EncryptedStore:
    """The store of a domain. Its wrapping key is made with the first body, and never anew: raises
    `KeyFileError` where it is gone and records are there that it wraps.
    """
    keys = open_body_keys(network, provider, domain)
    return EncryptedStore(open_objects(network, domain), keys, provider)


def open_objects(network: Network, domain: str) -> ObjectStore:
    """What keeps the ciphertext of a domain; raises `KeyFileError` or `SettingsError` for settings
    of a bucket that others can read or that are none.
    """
    path = network.layout.bucket(domain)
    if not path.exists():
        return FolderStore(network.layout.bodies(domain))
    try:
        return S3Store(S3Settings.from_json(read_guarded(path)))
    except S3SettingsError as error:
        raise SettingsError(f"{path.name}: {error}") from None


def open_body_keys(network: Network, provider: GmProvider, domain: str) -> BodyKeys:
    """The wrapped keys of a domain's bodies; raises as `open_bodies`."""
    layout = network.layout
    path = layout.wrapping_key(domain)
    if not layout.body_keys(domain).exists():
        make_wrapping_key(path)
    wrapping_keys_in_force(path)
    return BodyKeys(layout.body_keys(domain), lambda: wrapping_keys_in_force(path), provider)
