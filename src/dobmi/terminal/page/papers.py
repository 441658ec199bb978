"""The papers of what the till has done: put in the printer's queue by itself, and shown on screen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from dobmi.errors import DoBMIError
from dobmi.i18n import translation
from dobmi.terminal import print_queue
from dobmi.terminal.counter_state import CardShown, CounterState, CreditPhase, Phase
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.paper import Paper, PaperKind, Translate
from dobmi.terminal.papers import outlet_of, paper_of_refund, paper_of_sale
from dobmi.terminal.print_queue import PrintWorker
from dobmi.terminal.receipt import BalanceFacts, balance_paper
from dobmi.web.rendering import Voice

_SEEN_MAX: Final = 50
_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Papers:
    """Prints by itself what a member takes home. `worker` None, or without a printer: on screen only.

    Papers are in the outlet's language, whatever language the page is in.
    """

    ledger: Callable[[], Ledger]
    worker: PrintWorker | None
    server: str
    language: str
    on_change: Callable[[], None] = lambda: None
    _writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "papers"))
    _seen: list[tuple[PaperKind, int]] = field(default_factory=list)
    _held: tuple[PaperKind, int] | None = None

    @property
    def prints(self) -> bool:
        return self.worker is not None and self.worker.prints

    @property
    def translate(self) -> Translate:
        return translation(self.language).gettext

    def on_counter(self, state: CounterState) -> None:
        """Called in the counter's thread with every state; the paper is made in a thread of its own,
        so that nothing waits for it. A receipt waits, a few seconds at most, for money that is being
        put on its card.
        """
        made: tuple[PaperKind, int] | None = None
        if state.phase is Phase.PAID and state.sale is not None:
            made = (PaperKind.SALE, state.sale.sequence)
            if state.credit is not None and state.credit.phase is CreditPhase.COMING:
                self._held = made
                return
        if self._held is not None and self._held != made:
            self._submit(self._held)
        self._held = None
        if state.phase is Phase.REFUNDED and state.refund is not None:
            made = (PaperKind.REFUND, state.refund.sequence)
        if made is not None:
            self._submit(made)

    def _submit(self, made: tuple[PaperKind, int]) -> None:
        if not self.prints or made in self._seen:
            return
        self._seen = [*self._seen, made][-_SEEN_MAX:]
        self._writer.submit(self._print_first, *made)

    def _print_first(self, kind: PaperKind, sequence: int) -> None:
        try:
            if print_queue.find(self.ledger(), kind, sequence) is None:
                self.print(self.of_sequence(kind, sequence))
        except DoBMIError as error:  # the sale stands, and its receipt can be had under Sales
            _log.warning("no paper for %s %d: %s", kind.value, sequence, error)
        except Exception:  # nobody asks this thread's future: said here, or never
            _log.exception("no paper for %s %d", kind.value, sequence)
            raise

    def of_sequence(self, kind: PaperKind, sequence: int) -> Paper:
        """The receipt of a sale or the slip of a refund. Raises NoSuchSale, SaleNotPaid."""
        make = paper_of_refund if kind is PaperKind.REFUND else paper_of_sale
        return make(self.ledger(), self.server, sequence, self.translate)

    def of_card(self, card: CardShown, cashier: str, now: int) -> Paper:
        facts = BalanceFacts(
            outlet=outlet_of(self.ledger(), cashier),
            unix_seconds=now,
            holder=card.holder,
            member_number=card.member_number,
            balance=card.balance,
            expires=card.expires,
            is_blocked=card.is_blocked,
            is_expired=card.is_expired,
            credit_waiting=card.credit_waiting,
            movements=card.movements,
        )
        return balance_paper(facts, self.translate)

    def print(self, paper: Paper) -> None:
        """Put it in the queue, which says itself whether it is a copy."""
        print_queue.add(self.ledger(), paper, paper.unix_seconds)
        if self.worker is not None:
            self.worker.wake()
        self.on_change()

    def open_drawer(self) -> None:
        """Where this till has one."""
        if self.worker is not None:
            self.worker.open_drawer()

    def trouble(self, voice: Voice) -> str:
        """Why papers wait, and how many; nothing while they do not. What to do is on the status page."""
        if self.worker is None or not self.prints:
            return ""
        shown = self.worker.shown
        error: DoBMIError | None = shown.error or shown.printer.error
        if error is None:
            return ""
        text = voice.explain(error)
        if shown.waiting_count:
            text += " " + voice.plural(
                "{number} paper waits.", "{number} papers wait.", shown.waiting_count
            )
        return text

    def close(self) -> None:
        self._writer.shutdown(wait=True)
