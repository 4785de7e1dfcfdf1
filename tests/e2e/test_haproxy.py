"""HAProxy in front of plugins: they see, and log, the real client."""

import pytest
from support import clients, haproxy, pop3, web

pytestmark = pytest.mark.any_engine

TRUSTED = {"from": ["127.0.0.1/32"], "timeout_ms": 10000}


def test_haproxy_names_the_client_to_http(run_host, system, tmp_path):
    root = tmp_path / "www"
    root.mkdir()
    (root / "index.html").write_bytes(b"page")
    host = run_host(web.manifest(system, root, {"access_log": True}, proxy_protocol=TRUSTED))
    with haproxy.in_front_of(host.address("http")[1], tmp_path) as address:
        for number in (5, 6):
            client = web.Client(address, clients.connect_from(f"127.0.0.{number}", address))
            for _ in range(3):
                assert client.ask("/").body == b"page"
            _, port = client.sock.getsockname()
            client.close()
            host.wait_for_log(f"127.0.0.{number}:{port}: GET / 200 4")
    assert "127.0.0.1:" not in host.log().replace("listening on 127.0.0.1:", "")


def test_haproxy_names_the_client_to_pop3(run_pop3, mail, tmp_path):
    mail.deliver("ann")
    host = run_pop3(proxy_protocol=TRUSTED)
    with haproxy.in_front_of(host.address("pop3")[1], tmp_path) as address:
        session = pop3.Session(address, ip="127.0.0.7")
        _, port = session.sock.getsockname()
        session.ok("USER ann")
        assert "[AUTH]" in session.refused("PASS wrong")
        session.close()
        again = pop3.Session(address, ip="127.0.0.8")
        again.log_in()
        again.ok("QUIT")
        again.close()
        for text in (f"127.0.0.7:{port}", "127.0.0.8:"):
            host.wait_for_log(text)
    lines = [line for line in host.log().splitlines() if "log" in line and "127.0.0." in line]
    assert any(f"127.0.0.7:{port}" in line and "log-in failed" in line for line in lines), lines
    assert any("127.0.0.8:" in line and "logged in" in line for line in lines), lines
