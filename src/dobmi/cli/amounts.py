"""Amounts as they are typed at a station's command line."""

from __future__ import annotations

from typing import Any

import click

from dobmi.money import Rupiah
from dobmi.provisioning.amounts import parse_amount


class AmountType(click.ParamType[Rupiah]):
    """`12500`, `12.500` or `Rp 12.500`, above nought."""

    name = "amount"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002 - click's signature
        ctx: click.Context | None,  # noqa: ARG002 - likewise
    ) -> Rupiah:
        if isinstance(value, Rupiah):
            return value
        return parse_amount(str(value))
