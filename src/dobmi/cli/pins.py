"""A member's PIN at the command line: hidden while it is typed, or a line of standard input."""

from __future__ import annotations

import sys

import click

from dobmi.cli.context import Context


def ask_pin(context: Context, prompt: str) -> str:
    """`prompt` is a marked text. Never an option or a variable, which others could read."""
    if sys.stdin.isatty():
        return str(click.prompt(context.translate(prompt), hide_input=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")


def ask_new_pin(context: Context, prompt: str, again: str) -> str:
    """Typed twice by people; a line of standard input once."""
    if sys.stdin.isatty():
        return str(
            click.prompt(
                context.translate(prompt),
                hide_input=True,
                confirmation_prompt=context.translate(again),
                err=True,
            )
        )
    return sys.stdin.readline().rstrip("\r\n")
