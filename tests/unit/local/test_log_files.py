from __future__ import annotations

from typing import TYPE_CHECKING

from local.log_files import LogFiles

if TYPE_CHECKING:
    from pathlib import Path


def test_each_process_has_a_file_and_a_second_run_goes_on_in_it(tmp_path: Path) -> None:
    for number in (1, 2):
        logs = LogFiles(tmp_path / "log")
        assert logs.write("one", f'{{"event": "100 %s", "run": {number}}}') == ""
        assert logs.write("two", "plain ü") == ""
        logs.close()
    assert (tmp_path / "log" / "one.log").read_text() == (
        '{"event": "100 %s", "run": 1}\n{"event": "100 %s", "run": 2}\n'
    )
    assert (tmp_path / "log" / "two.log").read_text(encoding="utf-8") == "plain ü\n" * 2


def test_a_process_has_at_most_five_files_of_bounded_size(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path, file_bytes=100)
    for number in range(200):
        logs.write("one", f"line {number:03}")
    logs.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "one.log", "one.log.1", "one.log.2", "one.log.3", "one.log.4",
    ]  # fmt: skip
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    kept = "".join((tmp_path / f"one.log.{number}").read_text() for number in (4, 3, 2, 1))
    lines = (kept + (tmp_path / "one.log").read_text()).splitlines()
    assert lines == [f"line {number:03}" for number in range(200 - len(lines), 200)]


def test_a_full_disk_is_told_once_and_its_end_brings_lines_again(tmp_path: Path) -> None:
    file = tmp_path / "one.log"
    file.symlink_to("/dev/full")
    logs = LogFiles(tmp_path)
    answers = [logs.write("one", "lost " * 5000) for _ in range(3)]
    assert answers == ["No space left on device", "", ""]
    file.unlink()
    assert logs.write("one", "kept") == ""
    assert file.read_text() == "kept\n"
    file.unlink()
    file.symlink_to("/dev/full")
    logs.close()


def test_a_folder_that_cannot_be_written_is_told_and_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    logs = LogFiles(tmp_path / "log")
    assert logs.write("one", "lost") == "Not a directory"
    logs.close()
