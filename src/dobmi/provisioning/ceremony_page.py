"""The minutes of a ceremony as a plain page: to read, to print, and to sign by hand."""

from __future__ import annotations

from collections.abc import Callable

from dobmi.i18n import N_
from dobmi.provisioning.ceremony_minutes import CeremonyKind, Minutes, SignedMinutes
from dobmi.wib import local_time

WIDTH = 78
_KINDS = {
    CeremonyKind.FIRST: N_("The first keys were made."),
    CeremonyKind.RENEW: N_("A new generation of the card keys was made."),
    CeremonyKind.RECOVER: N_("Keys were restored from the custodians' shares."),
}
_FORMS = {"paper": N_("on paper"), "file": N_("in a file")}
_REHEARSAL = "*** REHEARSAL / LATIHAN ***"


def minutes_page(signed: SignedMinutes, translate: Callable[[str], str] = str) -> str:
    """Lines of at most 78 characters, but for long names, and a page's worth of them."""
    minutes = signed.minutes

    def say(message: str, **facts: object) -> str:
        return translate(message).format(**facts)

    lines = [_REHEARSAL.center(WIDTH).rstrip()] if minutes.rehearsal else []
    lines += [
        say(N_("Do BMI: minutes of key ceremony {number}"), number=minutes.number),
        "=" * WIDTH,
        translate(_KINDS[minutes.kind]),
        "",
        say(N_("Time:      {time}"), time=minutes.time),
        say(N_("Place:     {place}"), place=minutes.place),
        say(N_("Machine:   {machine}"), machine=minutes.machine),
        say(N_("Software:  Do BMI {version}"), version=minutes.software),
        say(N_("Ceremony:  {ceremony}"), ceremony=minutes.ceremony.upper()),
    ]
    if minutes.restores:
        lines.append(say(N_("Restored:  {ceremony}"), ceremony=minutes.restores.upper()))
    lines += [
        say(N_("Kept in:   {place}"), place=minutes.destination),
        "",
        say(N_("Generation {generation}, check values:"), generation=minutes.generation),
    ]
    lines += [f"  {name:<18} {value}" for name, value in sorted(minutes.keys.items())]
    if minutes.public_keys:
        lines += ["", say(N_("Public keys:"))]
        for name, value in sorted(minutes.public_keys.items()):
            lines += [f"  {name}", f"    {value}"]
    if minutes.older_until_unix_seconds:
        until = local_time(minutes.older_until_unix_seconds)
        lines += ["", say(N_("Cards with older keys are taken until {time}."), time=until)]
    lines += [
        "",
        say(
            N_("{threshold} of {shares} shares restore these keys."),
            threshold=minutes.threshold,
            shares=minutes.shares,
        ),
        "",
    ]
    lines += _people(minutes, translate)
    lines += ["", "-" * WIDTH]
    if minutes.previous:
        lines += [say(N_("Follows the minutes with the hash")), f"  {minutes.previous}"]
    lines += [
        say(N_("Hash of these minutes")),
        f"  {signed.hash}",
        say(N_("Signed by the server's key {key}"), key=signed.public_key.hex()[:16]),
    ]
    if minutes.rehearsal:
        lines.append(_REHEARSAL.center(WIDTH).rstrip())
    return "\n".join(lines) + "\n"


def _people(minutes: Minutes, translate: Callable[[str], str]) -> list[str]:
    """Custodians and witnesses, each with a line to sign on."""
    to_sign = ["", f"  {translate(N_('Signature:'))} {'_' * 40}"]
    if minutes.staff_checked:
        lines = [translate(N_("The custodians are registered as such in the central database."))]
    else:
        lines = [translate(N_("The custodians were not looked up in a central database."))]
    for one in minutes.custodians:
        described = translate(N_("{name}: share {share} ({form}), fingerprint {fingerprint}"))
        facts = {"name": one.name, "share": one.share, "fingerprint": one.fingerprint}
        lines += ["", described.format(**facts, form=translate(_FORMS.get(one.form, one.form)))]
        if one.component:
            check = translate(N_("  check value of the component: {check}"))
            lines.append(check.format(check=one.component))
        lines += to_sign
    for name in minutes.witnesses:
        lines += ["", translate(N_("Witness: {name}")).format(name=name), *to_sign]
    return lines
