"""One end of a stream, as a process of its own: sends random bytes and reads what the other end
sends, both at the same time, and tells what they were.

    stream_peer.py listen SIZE SEED SLOW          prints "port N", then serves one connection
    stream_peer.py PORT SIZE SEED SLOW            connects to 127.0.0.1

Both send SIZE bytes and finish. The first SLOW reads wait a little each. At the end it prints "sent
DIGEST" and "received COUNT DIGEST", and "reset" when the connection did not end well. "began" is
printed when the first bytes have come.
"""

import hashlib
import random
import socket
import sys
import threading
import time

BLOCK = 1024 * 1024
WAIT_S = 300.0
PAUSE_S = 0.002


saying = threading.Lock()


def say(*words):
    with saying:
        print(*words, flush=True)


def send(sock, size, seed):
    """A block of random bytes over and over, each time from another place: cheap, and no two parts
    of the stream are alike."""
    block = random.Random(seed).randbytes(BLOCK) * 2
    view = memoryview(block)
    digest = hashlib.sha256()
    sent = 0
    turn = 0
    while sent < size:
        begin = turn * 7919 % BLOCK
        part = view[begin : begin + min(BLOCK, size - sent)]
        sock.sendall(part)
        digest.update(part)
        sent += len(part)
        turn += 1
    sock.shutdown(socket.SHUT_WR)
    say("sent", digest.hexdigest())


def receive(sock, slow):
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(BLOCK))
    count = 0
    while size := sock.recv_into(buffer, 65536 if slow > 0 else BLOCK):
        if count == 0:
            say("began")
        digest.update(buffer[:size])
        count += size
        if slow > 0:
            slow -= 1
            time.sleep(PAUSE_S)
    say("received", count, digest.hexdigest())


def run(sock, size, seed, slow):
    def guarded(function, *arguments):
        try:
            function(sock, *arguments)
        except OSError:
            say("reset")

    sock.settimeout(WAIT_S)
    sending = threading.Thread(target=guarded, args=(send, size, seed))
    sending.start()
    guarded(receive, slow)
    sending.join()


def main(where, size, seed, slow):
    if where == "listen":
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            say("port", listening.getsockname()[1])
            sock, _ = listening.accept()
    else:
        sock = socket.create_connection(("127.0.0.1", int(where)))
    with sock:
        run(sock, int(size), int(seed), int(slow))


main(*sys.argv[1:])
