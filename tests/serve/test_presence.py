import os

import pytest

from sartor.errors import StorageError
from sartor.serve import presence
from sartor.serve.presence import Server


def test_one_server_serves_a_store_and_is_seen_as_long_as_it_lives(tmp_path):
    assert presence.look(tmp_path) is None
    server = Server("http://127.0.0.1:1", os.getpid(), 12.5)
    with presence.announced(tmp_path, server):
        assert presence.look(tmp_path) == server
        with pytest.raises(StorageError, match="served already"), presence.announced(tmp_path, server):
            pass
        assert presence.look(tmp_path) == server
    assert presence.look(tmp_path) is None
    with presence.announced(tmp_path, server):
        assert presence.look(tmp_path) == server


def test_a_server_that_was_killed_is_not_seen(tmp_path):
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        with presence.announced(tmp_path, Server("http://127.0.0.1:1", os.getpid(), 0.0)):
            os.write(told, b"x")
            os.kill(os.getpid(), 9)
    os.read(ready, 1)
    os.waitpid(child, 0)
    assert presence.look(tmp_path) is None
