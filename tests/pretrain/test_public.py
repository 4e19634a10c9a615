import json
import lzma

from sartor.pretrain import public
from sartor.pretrain.public import TextTask
from sartor.types import Example


def task(name, description):
    return TextTask(name, "g", "textcls", "en", description, ("a", "b"), (Example("x", "a"),), ())


def written(tmp_path, *told):
    folder = tmp_path / "text"
    folder.mkdir()
    with lzma.open(folder / "descriptions.jsonl.xz", "wt", encoding="utf-8") as file:
        file.write("".join(json.dumps(line) + "\n" for line in told))
    return tmp_path


def test_a_task_has_its_own_description_and_other_wordings(tmp_path):
    data = written(
        tmp_path,
        {"our_task": "one", "descriptions": ["Is it so?", "say a or b", "a or b"]},
        {"our_task": None, "descriptions": ["of no task here"]},
        {"our_task": "other", "descriptions": ["of no task asked for"]},
    )
    found = public.descriptions(data, [task("one", "a or b"), task("two", "c or d"), task("mute", "")], most=3)
    assert found == {"one": ["a or b", "Is it so?", "say a or b"], "two": ["c or d"]}
    assert public.descriptions(data, [task("one", "a or b")], most=1) == {"one": ["a or b"]}


def test_without_a_file_of_wordings_there_is_the_own_one(tmp_path):
    assert public.descriptions(tmp_path, [task("one", "a or b")], most=9) == {"one": ["a or b"]}
