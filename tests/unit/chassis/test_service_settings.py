"""Settings: the environment before the file before defaults; what nobody knows is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from services.chassis.settings import Group, ServiceSettings, SettingsError, load_settings


class Database(Group):
    url: SecretStr = SecretStr("postgresql:///none")
    connections_max: int = 5


class Settings(ServiceSettings, env_prefix="GUQIAO_TRIAL_"):
    database: Database = Database()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "trial.toml"
    path.write_text(
        'domain = "shandong"\ndevelopment = true\n'
        '[database]\nurl = "postgresql:///a"\nconnections_max = 7\n'
    )
    return path


def test_the_file_sets_and_defaults_fill(config: Path) -> None:
    settings = load_settings(Settings, config)
    assert settings.domain == "shandong"
    assert settings.database.connections_max == 7
    assert settings.grpc.host == "127.0.0.1"
    assert settings.admin.host == "127.0.0.1"
    assert settings.grpc.lookup_socket is None


def test_the_environment_wins_over_the_file_field_by_field(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUQIAO_TRIAL_DATABASE__CONNECTIONS_MAX", "9")
    monkeypatch.setenv("GUQIAO_TRIAL_GRPC__PORT", "5005")
    settings = load_settings(Settings, config)
    assert settings.database.connections_max == 9
    assert settings.database.url.get_secret_value() == "postgresql:///a"
    assert settings.grpc.address == "127.0.0.1:5005"


def test_the_environment_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUQIAO_TRIAL_DEVELOPMENT", "true")
    monkeypatch.setenv("GUQIAO_TRIAL_DOMAIN", "csrc")
    assert load_settings(Settings).domain == "csrc"


def test_what_another_service_sets_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUQIAO_TRIAL_DEVELOPMENT", "true")
    monkeypatch.setenv("GUQIAO_TRIAL_DOMAIN", "csrc")
    monkeypatch.setenv("GUQIAO_OTHER_DOMAIN", "shandong")
    assert load_settings(Settings).domain == "csrc"


def test_a_missing_required_setting_is_named() -> None:
    with pytest.raises(SettingsError, match="domain: Field required"):
        load_settings(Settings)


@pytest.mark.parametrize(
    "text", ['colour = "red"', "[database]\ncolour = 1", "[grpc]\nprot = 1", "[nowhere]\na = 1"]
)
def test_a_name_that_nobody_knows_is_refused_in_the_file(config: Path, text: str) -> None:
    config.write_text(f'domain = "shandong"\n{text}\n')
    with pytest.raises(SettingsError, match="Extra inputs are not permitted"):
        load_settings(Settings, config)


@pytest.mark.parametrize("name", ["GUQIAO_TRIAL_DOMIAN", "GUQIAO_TRIAL_DATABSE__URL"])
def test_a_name_that_nobody_knows_is_refused_in_the_environment(
    config: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "x")
    with pytest.raises(SettingsError, match=name):
        load_settings(Settings, config)


def test_an_unknown_field_of_a_group_in_the_environment_is_refused(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUQIAO_TRIAL_DATABASE__COLOUR", "x")
    with pytest.raises(SettingsError, match="database"):
        load_settings(Settings, config)


def test_an_error_does_not_show_the_value_that_was_read(config: Path) -> None:
    config.write_text('domain = "shandong"\n[database]\nconnections_max = "hunter2"\n')
    with pytest.raises(SettingsError) as caught:
        load_settings(Settings, config)
    assert "connections_max" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_secret_is_not_shown(config: Path) -> None:
    assert "postgresql:///a" not in repr(load_settings(Settings, config))


def test_settings_do_not_change(config: Path) -> None:
    settings = load_settings(Settings, config)
    with pytest.raises(ValidationError, match="frozen"):
        settings.domain = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        settings.grpc.port = 1  # type: ignore[misc]


@pytest.mark.parametrize("text", [None, "domain = ", "\x00"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "trial.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=r"trial\.toml"):
        load_settings(Settings, path)


@pytest.mark.parametrize(
    "text",
    [
        'domain = ""',
        'domain = "Shan Dong"',
        'domain = "a"\n[grpc]\nport = 70000',
        'domain = "a"\n[telemetry]\nsample_ratio = 2',
        'domain = "a"\n[telemetry]\notlp_endpoint = "x"',
    ],
)
def test_values_out_of_range_are_refused(config: Path, text: str) -> None:
    config.write_text(text)
    with pytest.raises(SettingsError):
        load_settings(Settings, config)


def test_a_unix_socket_is_an_address(config: Path) -> None:
    config.write_text(
        'domain = "a"\ndevelopment = true\n[grpc]\nhost = "unix:/run/guqiao/registry.sock"\n'
    )
    assert load_settings(Settings, config).grpc.address == "unix:/run/guqiao/registry.sock"


LOOKUP = 'lookup_socket = "/run/guqiao/lookup/socket"\n'
ORGANISATIONS = '[grpc.organisations]\n"guqiao:service:a/systems" = "did:rem:a:1"\n'


@pytest.mark.req("G2-16-1", "G2-17-2")
def test_production_asks_the_tunnel_who_is_calling(config: Path) -> None:
    config.write_text(f'domain = "a"\n[grpc]\n{LOOKUP}{ORGANISATIONS}')
    settings = load_settings(Settings, config)
    assert settings.development is False
    assert settings.grpc.lookup_socket == Path("/run/guqiao/lookup/socket")
    assert settings.grpc.organisations == {"guqiao:service:a/systems": "did:rem:a:1"}


@pytest.mark.req("G2-16-1", "G2-17-2")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "lookup_socket and organisations must be set"),
        ("development = false\n[grpc]\nport = 7000\n", "must be set"),
        (f"[grpc]\n{LOOKUP}", "set together"),
        (ORGANISATIONS, "set together"),
        (f"development = true\n[grpc]\n{LOOKUP}", "set together"),
        (f'[grpc]\nhost = "unix:/run/x.sock"\n{LOOKUP}{ORGANISATIONS}', "needs a port"),
    ],
)
def test_production_does_not_start_where_it_would_not_know_who_is_calling(
    config: Path, text: str, why: str
) -> None:
    config.write_text(f'domain = "a"\n{text}')
    with pytest.raises(SettingsError, match=rf"grpc: .*{why}"):
        load_settings(Settings, config)
