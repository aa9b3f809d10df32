"""SQLite files are opened to read only."""

from __future__ import annotations

import sqlite3

import pytest

from robust_lr.exceptions import DataError
from robust_lr.readers import sqlite


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "a #?%.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE runs (name TEXT)")
        connection.execute("INSERT INTO runs VALUES (CAST(x'ff41' AS TEXT))")
        connection.execute("CREATE VIEW params AS SELECT name FROM runs")
    connection.close()
    return path


def test_tables_count_and_views_do_not(database, tmp_path):
    assert sqlite.tables_of(database) == {"runs"}
    assert sqlite.tables_of(tmp_path) == set() == sqlite.tables_of(tmp_path / "none")


def test_nothing_can_be_written_and_damaged_text_is_read(database):
    with sqlite.open_sqlite(database) as connection:
        assert [*sqlite.rows_of(connection, "runs", {"runs"})] == [{"name": "\ufffdA"}]
        assert [*sqlite.rows_of(connection, "params", {"runs"})] == []
    with pytest.raises(DataError, match="attempt to write"), sqlite.open_sqlite(database) as connection:
        connection.execute("DELETE FROM runs")


def test_a_locked_or_damaged_file_is_one_line(database, monkeypatch, tmp_path):
    monkeypatch.setattr(sqlite, "_TIMEOUT", 0.01)
    writer = sqlite3.connect(database)
    writer.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DataError, match="database is locked; another program is writing it"):
        sqlite.tables_of(database)
    writer.close()
    (tmp_path / "cut.db").write_bytes(database.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"cannot read .*cut.db: "):
        sqlite.tables_of(tmp_path / "cut.db")
