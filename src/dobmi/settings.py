"""One TOML file and environment variables for every role.

The file is the one named by `--config` or DOBMI_CONFIG, else the first there is of `./dobmi.toml`,
`~/.config/dobmi/dobmi.toml`, `/etc/dobmi/dobmi.toml`. A variable goes over the file:
DOBMI_TERMINAL__READER=nfc:usb sets `reader` in `[terminal]`. Relative paths are relative to the
file's folder, or to the working folder without a file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from dobmi.errors import DoBMIError
from dobmi.i18n import N_
from dobmi.sync.http import leaves_in_the_clear

_PLAIN = r"^[^\x00-\x1f\x7f-\x9f]*$"
_PLACES = (Path("dobmi.toml"), Path("~/.config/dobmi/dobmi.toml"), Path("/etc/dobmi/dobmi.toml"))


Origin = Annotated[str, Field(pattern=r"^https?://[a-z0-9.\-]+(:\d{1,5})?$")]


class BadSettings(DoBMIError):
    code = "SETTINGS"
    message = N_("The settings cannot be used: {detail}")
    next_step = N_("Correct dobmi.toml or the DOBMI_ variable that it names.")


class FileUnusable(DoBMIError):
    """A file that the settings or the command name; `detail` is the system's word."""

    code = "FILE"
    message = N_("{path} cannot be read or written: {detail}")
    next_step = N_("Put its owner and permissions right, or name another file or folder.")


class PlainHttp(BadSettings):
    code = "SETTINGS-PLAIN-HTTP"
    message = N_("{entry} is {url}: without TLS anybody on the network can listen and take part.")
    next_step = N_("Use https, or set allow_plain_http = true there if the network is yours alone.")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Client(_Section):
    """Who asks the central server."""

    server: str = "http://127.0.0.1:8440"
    allow_plain_http: bool = False
    """Also to another machine: what is sent is signed, but neither secret nor tied to its sender."""


class TerminalSettings(_Client):
    """A till."""

    reader: str = "pcsc:"
    database: Path = Path("terminal.db")
    identity: Path = Path("terminal-identity.keys")
    card_keys: Path = Path("till.keys")
    """A key file; or `remote:`: the central server is asked for each card's key, and none is here."""
    cashier: str = Field(default="kasir", min_length=1, max_length=80, pattern=_PLAIN)
    card_wait_seconds: float = Field(default=60, gt=0)
    printer: str = "none"
    """`usb:VVVV:PPPP`, `serial:/dev/…`, `network:HOST:PORT`, `file:PATH` or `none`."""
    printer_columns: int = Field(default=32, ge=24, le=64)
    """Characters to a row: 32 on paper of 58 mm, 48 on 80 mm."""
    page_host: str = "127.0.0.1"
    """Where the cashier's page listens: on this machine alone."""
    page_port: int = Field(default=8441, gt=0, le=65535)
    sync_interval_seconds: int = Field(default=300, ge=0)
    """How often the page's till syncs by itself. 0: only when it is told to."""
    drawer: bool = False
    """A cash drawer hangs on the printer."""


class ProvisioningSettings(_Client):
    """An issuing station."""

    reader: str = "pcsc:"
    identity: Path = Path("station-identity.keys")
    enrolment: Path = Path("station.json")
    printer: str = "none"
    """Of receipts, as at a till: docs/printer.md."""
    printer_columns: int = Field(default=48, ge=24, le=64)
    card_wait_seconds: float = Field(default=60, gt=0)
    page_host: str = "127.0.0.1"
    """Where the staff's page listens: on this machine alone."""
    page_port: int = Field(default=8442, gt=0, le=65535)


class CentralSettings(_Section):
    """The central server."""

    database: str = "sqlite:///central.db"
    reports_database_url: str = ""
    """A replica of it, for reports, lists and export. Empty: the database itself."""
    keys: str = "central.keys"
    """A key file; or `pkcs11:token=NAME;module=/usr/lib/softhsm/libsofthsm2.so`."""
    distribution_keys: Path = Path("distribution.keys")
    """With a token: the file beside it, of the masters that tills are given."""
    card_keys_per_minute: int = Field(default=30, ge=1, le=6000)
    """How many cards' keys a till without masters may ask for."""
    host: str = "127.0.0.1"
    port: int = Field(default=8440, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=64)
    """Processes of `serve` that share its port; on PostgreSQL, one for each core or two."""
    office_origins: tuple[Origin, ...] = ()
    """Addresses under which browsers open the office's page, such as `https://kantor.example`. None:
    only on this machine, `http://127.0.0.1:PORT/office/`."""
    issuer: str = Field(default="Koperasi BMI", min_length=1, max_length=80, pattern=_PLAIN)
    balance_max_rupiah: int = Field(default=2_000_000, gt=0, le=20_000_000)
    credit_max_rupiah: int = Field(default=2_000_000, gt=0, le=20_000_000)
    """The largest credit that is ordered at once; by two people also for a class of members."""
    credit_day_max_rupiah: int = Field(default=0, ge=0, le=20_000_000)
    """What stations may order for a member within a day. 0: no limit."""
    approve_credit_above_rupiah: int = Field(default=1_000_000, ge=0, le=20_000_000)
    """A larger credit waits until a second person accepts it, where staff log in."""
    approve_payout_above_rupiah: int = Field(default=500_000, ge=0, le=20_000_000)
    """More in cash to a member who gives their card back needs a second person."""
    card_valid_years: int = Field(default=5, ge=1, le=20)
    member_url: str = Field(default="", max_length=100, pattern=r"^(https?://[!-~]+/|)$")
    """Of the page that a phone opens at a tap, as it is written on cards: …/k/. Empty: nothing is."""
    sale_max_rupiah: int = Field(default=2_000_000, gt=0, le=20_000_000)
    pin_above_rupiah: int = Field(default=0, ge=0, le=20_000_000)
    """A sale of more needs the member's PIN. 0: none does."""
    pin_digits: int = Field(default=6, ge=4, le=8)
    """Of a PIN that a member chooses from now on."""
    unsent_vouchers_max: int = Field(default=5_000, gt=0)
    unsent_total_max_rupiah: int = Field(default=50_000_000, gt=0)
    sync_age_hours_max: int = Field(default=336, gt=0)
    restore_after_days: int = Field(default=30, ge=1, le=3650)
    settle_after_days: int = Field(default=30, ge=1, le=3650)
    periodic_minutes: int = Field(default=60, ge=0, le=24 * 60)
    """How often `serve` does the periodic work by itself. 0: never; `dobmi central periodic` does."""
    drain_seconds: float = Field(default=3, ge=0, le=600)
    """After SIGTERM the port stays open for so long, saying that the server is not ready."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """A port of its own for Prometheus. 0: `/metrics` on the server's, for this machine alone."""
    log: Literal["json", "text"] = "json"
    disk_free_megabytes_min: int = Field(default=200, ge=0)
    """With less left for a SQLite database the server says that it is not ready."""
    keep_rejected_days: int = Field(default=730, ge=30)
    """The content of refused batches; that they came, and why they were refused, is kept longer."""
    payer_bank_code: str = Field(default="", pattern=r"^([A-Z]{6}[A-Z0-9]{2,5}|\d{3,7}|)$")
    """Of the bank account from which sellers are paid: a BIC, or the bank's clearing number."""
    payer_account: str = Field(default="", pattern=r"^([A-Z0-9]{4,34}|)$")
    payer_holder: str = Field(default="", max_length=70)
    postgresql_programs: Path | None = None
    """The folder of pg_dump and pg_restore; without it, those on PATH."""
    originality_keys: dict[str, str] = Field(default_factory=dict)
    """Further trusted originality keys (name: uncompressed secp224r1 point in hex)."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="DOBMI_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    language: Literal["id", "en"] = "id"
    passphrase: SecretStr | None = None
    """Opens the role's key files. In DOBMI_PASSPHRASE, or a file named by `passphrase_file`."""
    passphrase_file: Path | None = None
    hsm_pin: SecretStr | None = None
    """Of the token that has the central keys. In DOBMI_HSM_PIN, or a file named by `hsm_pin_file`."""
    hsm_pin_file: Path | None = None
    terminal: TerminalSettings = TerminalSettings()
    provisioning: ProvisioningSettings = ProvisioningSettings()
    central: CentralSettings = CentralSettings()

    folder: Path = Field(default=Path(), exclude=True)
    file: Path | None = Field(default=None, exclude=True)
    """The settings file that was read, if there was one."""

    def at(self, path: Path) -> Path:
        """`path` as the settings mean it: relative to the settings file's folder."""
        return self.folder / path.expanduser()


def load_settings(config: Path | None = None) -> Settings:
    """Raises BadSettings, naming each wrong entry; PlainHttp for a server far away without TLS."""
    if config is None and "DOBMI_CONFIG" in os.environ:
        config = Path(os.environ["DOBMI_CONFIG"])
    if config is not None and not config.is_file():
        raise BadSettings(detail=f"there is no file {config}")
    file = config or next(
        (place for place in map(Path.expanduser, _PLACES) if place.is_file()), None
    )

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class's signature
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            sources: Sequence[PydanticBaseSettingsSource] = (init_settings, env_settings)
            if file is not None:
                return (*sources, TomlConfigSettingsSource(settings_cls, file))
            return tuple(sources)

    try:
        settings = FromFile(folder=file.parent if file is not None else Path(), file=file)
    except ValidationError as error:
        detail = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise BadSettings(detail=detail) from None
    except ValueError as error:  # TOML that is no TOML
        raise BadSettings(detail=f"{file}: {error}") from error
    for name, client in (
        ("[terminal] server", settings.terminal),
        ("[provisioning] server", settings.provisioning),
    ):
        if leaves_in_the_clear(client.server) and not client.allow_plain_http:
            raise PlainHttp(entry=name, url=client.server)
    return settings
