"""What a path is, by what it holds; folders of results; readers of plug-ins."""

from __future__ import annotations

import os
import sys
from importlib.metadata import EntryPoint

import pytest

from robust_lr import GeometricGrid, SweepResult, run_sweep
from robust_lr.exceptions import DataError, OptionError
from robust_lr.readers.read import read_sweeps
from tests.readers.trackers import trackio_database


def _journal(path):
    run_sweep(lambda *, lr, schedule, seed: lr, GeometricGrid(0.1, 0.4, 3), ["cosine"], 1, journal=path, label="a")


def test_a_folder_of_journals_has_a_sweep_for_each(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("a.jsonl", "b/c.jsonl"):
        _journal(tmp_path / name)
    (tmp_path / "b/d.jsonl").write_text('{"record": "header"')
    sweeps = read_sweeps(tmp_path)
    assert list(sweeps) == ["a.jsonl", "b/c.jsonl"] and {sweep.n_trials for sweep in sweeps.values()} == {3}
    assert all(sweep.notes[-1].startswith("left out: ") for sweep in sweeps.values())
    with pytest.raises(DataError, match=r"none of the 2 results in .* can be read: group_by is for tables"):
        (tmp_path / "a.jsonl").unlink()
        read_sweeps(tmp_path, group_by=["x"])


def test_a_copy_of_a_journal_is_no_further_sweep(tmp_path):
    _journal(tmp_path / "a.jsonl")
    (tmp_path / "copy of a.jsonl").write_bytes((tmp_path / "a.jsonl").read_bytes())
    ((name, sweep),) = read_sweeps(tmp_path).items()
    assert name == "" and sweep.n_trials == 3 and sweep.notes[-1] == "left out: copy of a.jsonl is a copy of a.jsonl"
    _journal(tmp_path / "b.jsonl")
    assert list(read_sweeps(tmp_path)) == ["a.jsonl", "b.jsonl"]


def test_a_folder_with_one_result_is_that_result(tmp_path):
    trackio_database(tmp_path)
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    (tmp_path / "damaged.db").write_bytes(b"SQLite format 3\x00" + bytes(200))
    assert list(read_sweeps(tmp_path)) == [""]


def test_tables_count_if_a_folder_holds_nothing_else(tmp_path):
    for seed in (0, 1):
        (tmp_path / f"{seed}.csv").write_text(f"lr,loss\n0.1,1\n0.2,{2 + seed}\n")
    assert list(read_sweeps(tmp_path)) == ["0.csv", "1.csv"]


def test_results_of_several_kinds_are_for_the_user_to_choose_from(tmp_path):
    trackio_database(tmp_path)
    _journal(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match=r"several kinds: journals \(.*a.jsonl\) and Trackio \(.*sweep.db\); give the"):
        read_sweeps(tmp_path)


def test_nothing_to_read_lists_what_was_looked_for(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"\x80\x02")
    with pytest.raises(DataError, match=r"holds no results: looked for a journal .*MLflow.*Optuna.*a table"):
        read_sweeps(tmp_path)


def test_links_pipes_and_hidden_folders_are_passed_over(tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    (inside / ".hidden").mkdir(parents=True)
    trackio_database(outside)
    trackio_database(inside / ".hidden")
    (inside / "link").symlink_to(outside)
    (inside / "link.db").symlink_to(outside / "sweep.db")
    os.mkfifo(inside / "a.csv")
    with pytest.raises(DataError, match="holds no results"):
        read_sweeps(inside)
    with pytest.raises(DataError, match="neither a file nor a folder"):
        read_sweeps(inside / "a.csv")
    assert list(read_sweeps(inside / "link")) == [""]  # the user named it


def test_urls_of_files_are_paths_and_others_have_a_way_out(tmp_path):
    path = trackio_database(tmp_path)
    assert list(read_sweeps(f"sqlite:///{path}")) == list(read_sweeps(path.as_uri())) == [""]
    with pytest.raises(DataError, match=r"^postgresql://u:\*\*\*@host/db is not on this machine; --optuna"):
        read_sweeps("postgresql://u:secret@host/db")


class DiaryReader:
    name = "diaries"
    looks_for = "a diary"

    def recognizes(self, path):
        return path.suffix == ".diary"

    def read(self, paths, root, options):
        options.refuse(("where",), paths[0], "a diary")
        return {"": SweepResult(("cosine",), [0.1, 0.2], (0,), [[[1.0], [float(len(paths))]]])}


def test_a_plugin_adds_a_reader(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "READER", DiaryReader(), raising=False)
    monkeypatch.setitem(sys.modules, "a_plug_in_with_a_reader", sys.modules[__name__])
    entries = [EntryPoint("diary", "a_plug_in_with_a_reader:READER", "robust_lr.readers")]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **of: entries)
    for name in ("a.diary", "b.diary"):
        (tmp_path / name).write_text("")
    assert read_sweeps(tmp_path)[""].loss[0, 1, 0] == 2
    with pytest.raises(OptionError, match=r"where is for tables; .*a.diary is a diary"):
        read_sweeps(tmp_path / "a.diary", where=["a=b"])
