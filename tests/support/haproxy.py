"""Debian's HAProxy in front of a host: TCP forwarded with a PROXY header of version 2."""

import contextlib
import shutil
import socket
import subprocess

from support import clients

CONFIG = """
global
    maxconn 200
defaults
    mode tcp
    timeout connect 30s
    timeout client 60s
    timeout server 60s
frontend front
    bind fd@{fd}
    default_backend back
backend back
    server berth 127.0.0.1:{port} send-proxy-v2
"""


@contextlib.contextmanager
def in_front_of(port, folder):
    """Runs it; gives its address."""
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.set_inheritable(True)
        address = listening.getsockname()
        config = folder / "haproxy.cfg"
        config.write_text(CONFIG.format(fd=listening.fileno(), port=port), encoding="ascii")
        with open(folder / "haproxy.log", "wb") as log:
            process = subprocess.Popen(
                [program, "-db", "-f", config], pass_fds=[listening.fileno()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield address
    finally:
        process.terminate()
        process.wait(clients.WAIT_S)
