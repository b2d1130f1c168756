"""The tables of earlier and of later versions."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from sdpserver.records import schema
from sdpserver.records.database import Database
from sdpserver.records.failures import DatabaseFailed
from sdpserver.records.migration import alembic_config

from .caller import Caller, make_record, rows_of
from .conftest import Start


def connect(url: str) -> sa.Connection:
    return sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool).connect()


def make(url: str) -> None:
    """The tables, with one record."""
    database = Database(url, instance="here", run_id="run")
    database.write([make_record(1)])
    database.close()


def test_migrations_lead_to_the_tables_of_the_code(database_url: str) -> None:
    make(database_url)
    with connect(database_url) as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_the_last_revision_is_the_one_of_the_code(database_url: str) -> None:
    with connect(database_url) as connection:
        scripts = ScriptDirectory.from_config(alembic_config(connection))
    assert scripts.get_heads() == [schema.REVISION]


def test_every_migration_can_be_undone_and_done_again(database_url: str) -> None:
    make(database_url)
    for _ in range(2):
        with connect(database_url) as connection:
            revisions = [s.revision for s in ScriptDirectory.from_config(alembic_config(connection)).walk_revisions()]
            for revision in [*revisions[1:], "base"]:
                with connection.begin():
                    command.downgrade(alembic_config(connection), revision)
        make(database_url)
    assert len(rows_of(database_url)) == 1


def test_tables_of_a_later_version_are_left_alone_and_told_of(database_url: str, start: Start) -> None:
    make(database_url)
    with connect(database_url) as connection, connection.begin():
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    database = Database(database_url, instance="here", run_id="run")
    with pytest.raises(DatabaseFailed, match="revision 9999, which is of a later version"):
        database.connect()
    database.close()
    server, _ = start(database_url)
    caller = Caller(server.url)
    caller.hang_up(caller.call())  # calls go on
    assert caller.http.get("/health").json()["records"] in ("starting", "retrying")
    caller.http.close()
    with connect(database_url) as connection, connection.begin():
        connection.execute(sa.text(f"UPDATE alembic_version SET version_num = '{schema.REVISION}'"))


def test_a_migration_that_fails_in_the_middle_leaves_nothing(database_url: str) -> None:
    with connect(database_url) as connection, connection.begin():
        connection.execute(sa.text("CREATE TABLE server_runs (something TEXT)"))  # in the way of the second table
    database = Database(database_url, instance="here", run_id="run")
    with pytest.raises(DatabaseFailed):
        database.connect()
    with connect(database_url) as connection, connection.begin():
        assert sa.inspect(connection).get_table_names() == ["server_runs"]
        connection.execute(sa.text("DROP TABLE server_runs"))
    database.write([make_record(1)])
    database.close()
    assert len(rows_of(database_url)) == 1
