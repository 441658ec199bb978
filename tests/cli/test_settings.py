"""What a settings file may not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from dobmi.settings import PlainHttp, load_settings


def written(folder: Path, section: str, *lines: str) -> Path:
    file = folder / "dobmi.toml"
    file.write_text("\n".join((f"[{section}]", *lines)), encoding="utf-8")
    return file


@pytest.mark.parametrize("section", ["terminal", "provisioning"])
@pytest.mark.parametrize(
    "server",
    [
        "http://pusat.example",
        "http://10.0.0.5:8440",
        "http://[fd00::1]",
        "HTTP://localhost.example",
    ],
)
def test_plain_http_leaves_the_machine_only_where_it_is_allowed(
    tmp_path: Path, section: str, server: str
) -> None:
    """Whoever is on the network could take over an opened card session."""
    with pytest.raises(PlainHttp) as refusal:
        load_settings(written(tmp_path, section, f'server = "{server}"'))
    assert server in str(refusal.value)
    assert f"[{section}] server" in str(refusal.value)
    allowed = written(tmp_path, section, f'server = "{server}"', "allow_plain_http = true")
    assert getattr(load_settings(allowed), section).server == server


@pytest.mark.parametrize(
    "server",
    [
        "https://pusat.example",
        "http://127.0.0.1:8440",
        "http://127.8.0.1",
        "http://[::1]:8440",
        "http://localhost:1",
    ],
)
def test_tls_and_the_own_machine_are_always_allowed(tmp_path: Path, server: str) -> None:
    settings = load_settings(written(tmp_path, "terminal", f'server = "{server}"'))
    assert settings.terminal.server == server
