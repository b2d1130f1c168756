"""Alembic's entry: it is given a connection, and is part of its transaction."""

from __future__ import annotations

import logging

from alembic import context

logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)  # `migration` says what is done
context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
