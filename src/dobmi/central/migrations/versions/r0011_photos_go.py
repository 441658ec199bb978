"""A member's photo can be taken away: it belongs to the member."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for action in ("update", "delete"):
            op.execute(f"DROP TRIGGER photos_no_{action}")
    else:
        op.execute("DROP TRIGGER photos_append_only ON photos")
