import pytest

from sartor.errors import DataError, TaskError
from sartor.pretrain import own_tasks
from tiny_tasks import own_folder, write_task


def rows(path, many, start=0):
    path.write_text("input,output\n" + "".join(f"word {at},WORD {at}\n" for at in range(start, start + many)))


def test_rows_without_a_test_file_are_parted_and_all_kept(tmp_path):
    found, left_out = own_tasks.read(own_folder(tmp_path, tasks=2, rows=12))
    assert (left_out, [task.name for task in found]) == ([], ["task0", "task1"])
    assert len({task.group for task in found}) == 2
    for task in found:
        assert (len(task.train), len(task.test)) == (8, 4)
        assert len({row.input for row in (*task.train, *task.test)}) == 12
    assert found[0].descriptions == ("Say it with a 0",)


def test_a_test_file_is_what_is_judged_less_rows_that_are_shown(tmp_path):
    write_task(tmp_path / "a", description="Shout")
    rows(tmp_path / "a" / "train.csv", 8)
    rows(tmp_path / "a" / "test.csv", 8, start=4)
    [task], _ = own_tasks.read(tmp_path)
    assert [row.input for row in task.train] == [f"word {at}" for at in range(8)]
    assert [row.input for row in task.test] == [f"word {at}" for at in range(8, 12)]


def test_what_is_left_out_is_said(tmp_path):
    own_folder(tmp_path, tasks=1)
    write_task(tmp_path / "few", description="Shout")
    rows(tmp_path / "few" / "train.csv", 6)
    write_task(tmp_path / "mute", examples="train.csv")
    rows(tmp_path / "mute" / "train.csv", 12)
    found, left_out = own_tasks.read(tmp_path)
    assert [task.name for task in found] == ["task0"]
    assert "few was left out: it has 4 rows" in left_out[0]
    assert "mute was left out: it has no description" in left_out[1]


def test_a_folder_without_tasks_is_refused(tmp_path):
    (tmp_path / "sub").mkdir()
    with pytest.raises(DataError, match="holds no tasks"):
        own_tasks.read(tmp_path)


def test_a_task_without_rows_and_a_broken_task_file_are_refused(tmp_path):
    write_task(tmp_path / "bare", description="Shout")
    with pytest.raises(DataError, match="'bare' has no rows"):
        own_tasks.read(tmp_path)
    (tmp_path / "bare" / "task.json").write_text("{")
    with pytest.raises(TaskError, match="not valid YAML"):
        own_tasks.read(tmp_path)
