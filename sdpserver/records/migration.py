"""Brings the tables to the form that this version works with, whoever else is doing the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection

from .failures import DatabaseFailed
from .schema import REVISION

if TYPE_CHECKING:
    from alembic.config import Config

log = structlog.get_logger(__name__)

SCRIPTS = Path(__file__).with_name("migrations")
LOCK_KEY = 0x5D95E70EC04D
"""Of PostgreSQL's advisory lock that one server holds while it migrates."""


def migrate(connection: Connection) -> None:
    """In one transaction, which all others wait for: of two servers that start at once one finds it done.

    :raises DatabaseFailed: the tables are of a later version of the server.
    """
    with connection.begin():
        if _revision(connection) == REVISION:
            return
    from alembic import command  # takes half a second, which most starts can do without
    from alembic.util import CommandError

    with connection.begin():  # on SQLite it locks the file at once
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK_KEY)))
        try:
            command.upgrade(alembic_config(connection), REVISION)
        except CommandError as exc:
            found = _revision(connection)
            raise DatabaseFailed(
                f"its tables are of revision {found}, which is of a later version of the server; "
                f"this one works with {REVISION}"
            ) from exc
    log.info("the tables of call records are brought up to date", revision=REVISION)


def _revision(connection: Connection) -> str | None:
    """The tables' revision; None: there are none."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


def alembic_config(connection: Connection) -> Config:
    """For Alembic's commands on this connection, as part of its transaction."""
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    return config
