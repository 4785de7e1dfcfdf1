"""Reads what the plugin `probe` has logged of its connections.

The probe logs every callback with conn_log(), so that each line names the client:

    … listener=probe plugin=probe 127.0.0.1:40000: opened with first data
"""

import re

from support import clients

_LINE = re.compile(r" plugin=probe (?P<client>\S+:\d+): (?P<event>.+)$")


def _port(client):
    return client if isinstance(client, int) else client.getsockname()[1]


def events(host, client):
    """What the probe was told of a client (its socket, or its port when that is closed), in order:
    "opened", "opened with first data", "received N", "peer closed", "closed by …"."""
    port = _port(client)
    found = []
    for line in host.log().splitlines():
        match = _LINE.search(line)
        if match and match["client"].endswith(f":{port}"):
            found.append(match["event"])
    return found


def wait_for_event(host, client, beginning):
    """Waits for an event of the client that begins so."""
    port = _port(client)
    clients.wait_until(
        lambda: any(event.startswith(beginning) for event in events(host, port)),
        f"{beginning!r} about client {port}",
    )
