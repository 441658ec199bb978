"""The office's commands on a world in process, whose clock stands still until it is moved."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace

import pytest
from click.testing import CliRunner, Result

from dobmi.central.ingest import take_batch
from dobmi.central.server import Central
from dobmi.cli.context import Context
from dobmi.cli.reconciliation import reconcile_group, work
from dobmi.money import Rupiah
from dobmi.settings import CentralSettings, Settings
from support.traffic import START, ModelCard, ModelTill, World


@dataclass
class Desk:
    world: World
    now: int = START

    @classmethod
    def at(cls, world: World, monkeypatch: pytest.MonkeyPatch) -> Desk:
        desk = cls(world)
        world.central = replace(world.central, unix_seconds=lambda: desk.now)
        for name in ("looking", "open_central"):
            monkeypatch.setattr(
                f"dobmi.cli.reconciliation.{name}", lambda _context: nullcontext(desk.central)
            )
        world.clerks("Ani", "Budi")
        return desk

    @property
    def central(self) -> Central:
        return self.world.central

    def run(self, *arguments: str) -> Result:
        commands = {"work": work, "reconcile": reconcile_group}
        context = Context(Settings(central=CentralSettings(), language="en"), "en", str)
        return CliRunner(env={"COLUMNS": "250"}).invoke(
            commands[arguments[0]], arguments[1:], obj=context
        )

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    def refused(self, code: str, *arguments: str) -> None:
        done = self.run(*arguments)
        assert done.exit_code == 1, done.output
        assert f"[{code}]" in done.output

    def send(self, till: ModelTill) -> None:
        take_batch(self.central, till.batch())

    def card(self, number: int = 4711, amount: int = 100_000) -> ModelCard:
        card = self.world.card(number)
        self.world.top_up(self.world.station(), card, Rupiah(amount))
        return card


def lost_sale(desk: Desk) -> tuple[ModelTill, ModelCard]:
    """A till whose sale number 1 the card shows, and that sent something else under it."""
    till, card = desk.world.till(), desk.card()
    staged = card.stage_sale(till.next_reader_id, Rupiah(7_000))
    card.commit(staged)
    till.void(card, Rupiah(7_000))
    till.sell(card, Rupiah(5_000))
    desk.send(till)
    return till, card
