"""What can be set from outside: one frozen model a service, built from the groups below.

Values come from the environment (`GUQIAO_<SERVICE>_<GROUP>__<FIELD>`), then from the TOML file
given by `--config`, then from the defaults. They are read once, in `__main__`, and passed on by
argument. A name that nobody knows is refused, in the file and in the environment alike, because a
misspelt setting that is ignored is worse than none.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as SettingsSourceError

S = TypeVar("S", bound="ServiceSettings")


class SettingsError(ValueError):
    """Settings that cannot be used; the text names each one and what is wrong with it."""


class Group(BaseModel):
    """Base of a group of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TelemetrySettings(Group):
    """Where traces and logs go. Without an endpoint and without a file, spans are dropped."""

    otlp_endpoint: str | None = Field(default=None, pattern=r"^https?://")
    trace_file: Path | None = None
    sample_ratio: float = Field(default=1.0, ge=0, le=1)
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class GrpcSettings(Group):
    """The plain gRPC port. It is on loopback or a Unix socket: other machines come in through the
    GM tunnel.

    `lookup_socket` is where the tunnel's sidecar says whose certificate is behind a connection, and
    `organisations` says for which organisation each of these certificates speaks. With them, nobody
    comes in beside the tunnel, and nobody speaks for another organisation.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65_535)
    message_bytes_max: int = Field(default=4 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    concurrent_rpcs_max: int = Field(default=4_096, ge=4_096, le=65_536)
    calls_per_identity_max: int = Field(default=256, ge=1, le=1_024)
    first_message_seconds: float = Field(default=5.0, gt=0, le=60)
    rate_per_second: float = Field(default=2_000.0, gt=0)
    rate_burst: int = Field(default=4_000, ge=1)
    lookup_socket: Path | None = None
    organisations: dict[str, str] = {}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.lookup_socket is None) != (not self.organisations):
            raise ValueError("lookup_socket and organisations are set together")
        if self.lookup_socket is not None and self.host.startswith("unix:"):
            raise ValueError("lookup_socket needs a port: no tunnel leads to a Unix socket")
        return self

    @property
    def address(self) -> str:
        """What to bind: `host:port`, or `unix:/path` when the host says so."""
        return self.host if self.host.startswith("unix:") else f"{self.host}:{self.port}"


class AdminSettings(Group):
    """The admin port: probes and metrics, unsigned, so on loopback unless a management network is
    named.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65_535)


class AuthoritySettings(Group):
    """A certificate authority, its revocation list, and the domains it may certify (ADR 0022)."""

    certificate: Path
    crl: Path
    domains: frozenset[str] = Field(min_length=1)


class GmSettings(Group):
    """National cryptography: the backend, and this service's certificate, key and trust."""

    backend: Literal["auto", "libcrypto", "gmssl"] = "auto"
    certificate: Path | None = None
    key: Path | None = None
    authorities: tuple[AuthoritySettings, ...] = ()
    # How often the files are read again and the live links judged.
    watch_seconds: float = Field(default=10.0, gt=0, le=30)


class IdentitySettings(Group):
    """The service's own identity on its chain, and the file of its signing key."""

    did: str
    key_id: str
    organisation: str
    key_file: Path


class ServiceSettings(BaseSettings):
    """Base of every service's settings.

    A service subclasses it with its prefix, `class Settings(ServiceSettings,
    env_prefix="GUQIAO_REGISTRY_")`, adds its groups as fields and is built by `load_settings`.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_nested_delimiter="__")

    domain: str = Field(min_length=1, max_length=64, pattern=r"^[a-z0-9-]+$")
    development: bool = False
    telemetry: TelemetrySettings = TelemetrySettings()
    grpc: GrpcSettings = Field(default=GrpcSettings(), validate_default=True)
    admin: AdminSettings = AdminSettings()
    gm: GmSettings = GmSettings()

    @field_validator("grpc")
    @classmethod
    def _callers_are_known(cls, grpc: GrpcSettings, info: ValidationInfo) -> GrpcSettings:
        """Production believes no connection that the tunnel does not vouch for."""
        if grpc.lookup_socket is None and info.data.get("development") is False:
            raise ValueError("without development, lookup_socket and organisations must be set")
        return grpc

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given: `load_settings` is the one reader of files and environment."""
        return (init_settings,)


def load_settings(settings_class: type[S], config: Path | None = None) -> S:
    """Read the settings, or raise `SettingsError` naming what is wrong. For `__main__` only."""
    try:
        from_file = {} if config is None else tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"the configuration file {config} cannot be read: {error}") from None
    _refuse_unknown_names(settings_class, os.environ)  # noqa: TID251 - this is the one reader
    try:
        return settings_class(**_merged(from_file, EnvSettingsSource(settings_class)()))
    except (SettingsSourceError, ValidationError) as error:
        raise SettingsError(_without_values(error)) from None


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both, group by group; where both speak, `above` wins."""
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        if isinstance(value, dict) and isinstance(under, dict):
            value = _merged(under, value)
        merged[name] = value
    return merged


def _refuse_unknown_names(
    settings_class: type[ServiceSettings], environment: Mapping[str, str]
) -> None:
    prefix = settings_class.model_config.get("env_prefix", "").upper()
    assert prefix, "a service's settings have an env_prefix"
    names = {name.upper() for name in settings_class.model_fields}
    for variable in sorted(environment):
        if variable.upper().startswith(prefix):
            field = variable.upper().removeprefix(prefix).partition("__")[0]
            if field not in names:
                raise SettingsError(f"the environment sets {variable}, which is no setting")


def _without_values(error: SettingsSourceError | ValidationError) -> str:
    """The error's text without the values read: one of them may be a secret."""
    if isinstance(error, SettingsSourceError):
        return str(error)
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()
    )
