"""What the commands of a station share."""

from __future__ import annotations

from dobmi.cli.context import Context
from dobmi.i18n import N_
from dobmi.provisioning.enrolment import Station, open_station


def station_of(context: Context) -> Station:
    """The station as the settings have it. Raises NotEnrolled, StationFileUnusable, CardError."""
    settings = context.settings.provisioning
    return open_station(
        settings.server,
        context.settings.at(settings.identity),
        context.settings.at(settings.enrolment),
        context.passphrase(context.translate(N_("Passphrase of this station's key"))),
        language=context.language,
    )
