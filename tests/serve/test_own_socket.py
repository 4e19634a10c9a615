"""Who connects is sent small answers at once."""

import asyncio
import socket
import threading

import pytest

from sartor.serve import run


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_no_answer_waits_for_another(host):
    """Nagle's algorithm is off in what the event loop accepts, which goes by the protocol of the listening socket."""
    try:
        listening = run._listen(host, 0)
    except Exception:
        if host == "::1" and not socket.has_ipv6:
            pytest.skip("there is no IPv6 here")
        raise
    found = []

    async def serve():
        done = asyncio.Event()

        async def accepted(reader, writer):
            connection = writer.get_extra_info("socket")
            found.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()
            done.set()

        async with await asyncio.start_server(accepted, sock=listening):
            address = listening.getsockname()[:2]
            asked = threading.Thread(target=lambda: socket.create_connection(address, timeout=5).close())
            asked.start()
            await asyncio.wait_for(done.wait(), 10)
            asked.join()

    asyncio.run(serve())
    assert found == [1]
