"""Servers from packages, each with a configuration as small as it can be, logging nothing; and the
host beside them as they are: with its HTTP plugin, as a proxy, restarted."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import threading
import time

import processes
from servers import SHORT_BYTES, Berth, NotHere, Program, Server, is_idle

HAPROXY_BODY_MAX = 8192
"""What HAProxy returns of itself must fit into one of its buffers, with the head."""

HAPROXY_CONNECTIONS = 9900
"""It wants two descriptors for each, of the 20,000 that a process here may have."""

NGINX_STREAM = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")
APACHE_MODULES = pathlib.Path("/usr/lib/apache2/modules")


def free_port():
    """Nobody else asks for ports where the bench runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Package(Server):
    """One that is told its port, and is ready when that takes connections."""

    program = ""

    def __init__(self, name):
        super().__init__(name)
        self.port = None

    def check(self):
        if not shutil.which(self.program):
            raise NotHere(f"{self.program} is not installed")

    def configuration(self, folder, case):
        """Writes what it needs; returns its command line."""
        raise NotImplementedError

    def command(self, folder, case):
        self.port = free_port()
        return self.configuration(folder, case)

    def find_address(self, folder):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return f"127.0.0.1:{self.port}"
        return None


def write_file(path, size):
    """The same bytes every time, of which no part looks like another."""
    if not path.is_file() or path.stat().st_size != size:
        path.parent.mkdir(exist_ok=True)
        path.parent.chmod(0o755)
        path.parent.parent.chmod(0o755)  # for a server that gives up being root
        text = json.dumps(list(range(size // 4))).encode()
        path.write_bytes((text * (size // len(text) + 1))[:size])


def small_file(folder):
    """What a server of HTTP answers where others echo: as many bytes as the short messages have."""
    write_file(folder.parent / "www" / "64B", SHORT_BYTES)
    return folder.parent / "www" / "64B"


class AnswersInHttp:
    """Of a server: it is asked by HTTP for so many bytes as the others echo, 64."""

    def client_options(self, case):
        if "--http" in case["client"]:
            return {}
        size = case["client"].get("-s", SHORT_BYTES)
        if size != SHORT_BYTES:
            raise NotHere("its answer has 64 bytes, whatever is sent")
        if case["client"].get("-m") == "short" and not case.get("server_closes"):
            raise NotHere("it ends a connection itself, as HTTP has it")
        return {"--http": "/64B", "--body": "www/64B"}


def nginx_files(folder, text):
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    return ["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]


PADDING = "X-Bench"
NGINX_PADDING = 10
"""Bytes in a field that makes the heads of nginx and of the host equally long. What differs otherwise:
nginx says `Connection: keep-alive` where that is the rule anyway, and nobody can forbid it; and its ETag
is three bytes shorter."""
NGINX_KEEP_ALIVE = len("Connection: keep-alive\r\n")
BERTH_PADDING = NGINX_PADDING - 3

NGINX_ALONE = "master_process off;"
NGINX = """
daemon off;
{processes}
pid nginx.pid;
error_log stderr crit;
worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
"""


class Nginx(Package):
    """Static files, its cache of open files on, as the plugin's is. Of one process; or of so many
    and their master, each with a listening socket of its own."""

    program = "nginx"
    configurations = ("nginx.conf",)

    def __init__(self, name, processes=0):
        super().__init__(name)
        self.processes = processes

    def configuration(self, folder, case):
        temporary = "".join(f"{kind}_temp_path {kind};" for kind in
                            ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        processes = f"worker_processes {self.processes};" if self.processes else NGINX_ALONE
        shared = "reuseport" if self.processes else ""
        return nginx_files(folder, NGINX.format(processes=processes) + f"""
http {{
    access_log off; server_tokens off; etag on; sendfile on; tcp_nopush on;
    keepalive_requests 1000000000; open_file_cache max=100 inactive=60s;
    default_type application/octet-stream; {temporary}
    server {{ listen 127.0.0.1:{self.port} backlog=4096 {shared}; {self.serve(folder)} }}
}}
""")

    def serve(self, folder):
        return f"root {folder.parent}/www; add_header {PADDING} {'0' * NGINX_PADDING};"


class NginxReturn(AnswersInHttp, Nginx):
    """An answer that its configuration has."""

    def serve(self, folder):
        return f'return 200 "{small_file(folder).read_text(encoding="ascii")}";'


class NginxStream(Package):
    program = "nginx"
    configurations = ("nginx.conf",)

    def check(self):
        super().check()
        if not NGINX_STREAM.is_file():
            raise NotHere("its module for streams is not installed")

    def configuration(self, folder, case):
        return nginx_files(folder, f"load_module {NGINX_STREAM};"
                           + NGINX.format(processes=NGINX_ALONE) + f"""
stream {{
    server {{ listen 127.0.0.1:{self.port} backlog=4096; proxy_pass {case["upstream"]};
             tcp_nodelay on; proxy_timeout 60s; }}
}}
""")


class Haproxy(Package):
    """`mode` is "http", with one answer, or "tcp"."""

    program = "haproxy"
    configurations = ("haproxy.cfg",)

    def __init__(self, name, mode, threads=1):
        super().__init__(name)
        self.mode, self.threads = mode, threads

    def configuration(self, folder, case):
        if self.mode == "http":
            path = self.file(folder, case)
            if path.stat().st_size > HAPROXY_BODY_MAX:
                raise NotHere("what it returns of itself must fit into one of its buffers")
            serve = (f"http-request return status 200 content-type application/octet-stream "
                     f"file {path}")
        else:
            serve = f"default_backend echo\nbackend echo\n server echo {case['upstream']}"
        (folder / "haproxy.cfg").write_text(f"""
global
 nbthread {self.threads}
 maxconn {HAPROXY_CONNECTIONS}
 ulimit-n 19900
defaults
 mode {self.mode}
 timeout connect 10s
 timeout client 60s
 timeout server 60s
frontend bench
 bind 127.0.0.1:{self.port} backlog 4096
 {serve}
""", encoding="utf-8")
        return ["haproxy", "-db", "-q", "-f", "haproxy.cfg"]


    def file(self, folder, case):
        return folder.parent / case["file"]


class HaproxyReturn(AnswersInHttp, Haproxy):
    def __init__(self, name):
        super().__init__(name, "http")

    def client_options(self, case):
        options = super().client_options(case)
        if is_idle(case) and case["client"]["-c"] > HAPROXY_CONNECTIONS:
            options["-c"] = HAPROXY_CONNECTIONS
        return options

    def file(self, folder, case):
        return small_file(folder)


class Httpd(Package):
    """Apache with the event MPM, in one process of its threads: static files, or mod_echo."""

    program = "apache2"
    configurations = ("httpd.conf",)

    def __init__(self, name, echo=False):
        super().__init__(name)
        self.echo = echo

    def client_options(self, case):
        """mod_echo echoes lines, and takes a thread for each connection: where others have more of
        them idle, it has as many as that."""
        if not self.echo:
            return {}
        line = "x" * (case["client"].get("-s", SHORT_BYTES) - 1) + "\\n"
        fewer = {"-c": 1000} if case["client"].get("-m") == "idle" else {}
        return {"--question": line, "--answer": line, **fewer}

    def configuration(self, folder, case):
        many = case["client"].get("-c", 1) > 1000 and not is_idle(case)
        if self.echo and (case.get("server_closes") or many):
            raise NotHere("it has neither an end of its own nor so many threads")
        small_file(folder)
        names = ["mpm_event", "authz_core"] + (["echo"] if self.echo else [])
        modules = "".join(f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so\n"
                          for name in names)
        serve = "ProtocolEcho On" if self.echo else f"DocumentRoot {folder.parent}/www"
        (folder / "httpd.conf").write_text(f"""
{modules}
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/httpd.pid
ServerName bench
ErrorLog {folder}/error.log
LogLevel crit
User www-data
Group www-data
Listen 127.0.0.1:{self.port}
ListenBacklog 4096
StartServers 1
ServerLimit 1
ThreadLimit 1024
ThreadsPerChild 1024
MaxRequestWorkers 1024
MinSpareThreads 1
MaxSpareThreads 1024
AsyncRequestWorkerFactor 20
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
ServerTokens Prod
EnableSendfile On
<Directory />
 Require all granted
</Directory>
{serve}
""", encoding="utf-8")
        return ["apache2", "-D", "FOREGROUND", "-f", str(folder / "httpd.conf")]

    def find_address(self, folder):
        """Its parent takes connections before a child is there to serve them."""
        return super().find_address(folder) if len(self.pids()) > 1 else None

    def stop(self):
        """Its child is no child of ours: the parent takes it along."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=5)
        super().stop()


class HttpdStatic(AnswersInHttp, Httpd):
    """A small file, where others echo."""


class Redis(Package):
    """ECHO, or QUIT where the server is to end the connection."""

    program = "redis-server"

    def client_options(self, case):
        if case.get("server_closes"):
            return {"--question": "QUIT\\r\\n", "--answer": "+OK\\r\\n"}
        size = case["client"].get("-s", 64)
        bulk = f"${size}\\r\\n" + "x" * size + "\\r\\n"
        return {"--question": "*2\\r\\n$4\\r\\nECHO\\r\\n" + bulk, "--answer": bulk}

    def configuration(self, folder, case):
        return ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port),
                "--protected-mode", "no", "--save", "",
                "--appendonly", "no", "--maxclients", "15000", "--tcp-backlog", "4096",
                "--loglevel", "warning", "--dir", str(folder)]


# -- the host beside them --------------------------------------------------------------------------


class BerthHttp(Berth):
    def __init__(self, dist, when="data", workers=1):
        super().__init__(dist, None, when, workers=workers)
        self.name = f"berth http, {when}"

    def plugin(self, case, folder):
        short = case["client"].get("-m") == "short"
        padding = BERTH_PADDING + (0 if short else NGINX_KEEP_ALIVE)
        return "http", {"root": str(folder.parent / "www"), "keep_alive_timeout_ms": 60000,
                        "headers": {PADDING: "0" * padding}}


class BerthHttpSmall(AnswersInHttp, BerthHttp):
    """A small file, where others echo."""

    def plugin(self, case, folder):
        small_file(folder)
        return super().plugin(case, folder)


class BerthProxy(Berth):
    def __init__(self, dist):
        super().__init__(dist, None, "connect")
        self.name = "berth proxy"

    def plugin(self, case, folder):
        return "proxy", {"upstreams": [case["upstream"]]}


class BerthRestarted(Berth):
    """Its plugin is restarted again and again while it serves; or not, to compare."""

    TIMES = 10

    def __init__(self, dist, times):
        super().__init__(dist, None, "connect")
        self.times = times
        self.name = f"berth, {times} restarts of echo" if times else "berth, undisturbed"
        self.folder = None

    def environment(self, folder):
        self.folder = folder
        return {"BERTH_RUNTIME_DIR": str(folder)}

    @contextlib.contextmanager
    def while_serving(self, case):
        """Restarts the plugin at even distances, for as long as the client measures."""
        pause = case["client"]["-d"] / (self.times + 1)
        failures, ends = [], threading.Event()

        def restart():
            for _ in range(self.times):
                if ends.wait(pause):
                    return
                done = subprocess.run(
                    [str(self.dist / "berth"), "restart", "echo"], check=False,
                    capture_output=True, text=True, timeout=60,
                    env=os.environ | self.environment(self.folder))
                if done.returncode != 0:
                    failures.append(done.stderr or done.stdout)

        thread = threading.Thread(target=restart)
        thread.start()
        try:
            yield
        finally:
            ends.set()
            thread.join()
        if failures:
            raise RuntimeError(f"berth restart: {failures[0][-300:]}")


class Upstream:
    """The raw echo server that proxies pass on to, on the client's core."""

    def __init__(self, places, cpu):
        self.server = Program("upstream", places.bench / "model-uring", "model")
        self.address = self.server.start(places.work / "upstream", {cpu}, {})

    def stop(self):
        self.server.stop()


class Thief:
    """Takes a share of a core for itself, in slices."""

    SLICE_S = 0.01

    def __init__(self, share, cpu):
        self._child = processes.start(
            ["python3", "-c",
             "import sys, time\n"
             "share, slice_s = map(float, sys.argv[1:])\n"
             "while True:\n"
             "    end = time.monotonic() + share * slice_s\n"
             "    while time.monotonic() < end: pass\n"
             "    time.sleep((1 - share) * slice_s)\n", str(share), str(self.SLICE_S)],
            {cpu})
        time.sleep(0.1)

    def stop(self):
        processes.end(self._child)


def http_servers(places):
    return [BerthHttp(places.dist, "data"), BerthHttp(places.dist, "connect"), Nginx("nginx"),
            Httpd("httpd event"), Haproxy("HAProxy return", "http")]


def in_workers(make, what):
    """make(count) three times: with one worker and a core of its own, the same where it shares two
    with the client, and with two workers there. What the last costs more than the second is what
    workers cost each other."""
    servers = []
    for count, where in ((1, "on one core"), (1, "on both"), (2, "on both")):
        server = make(count)
        server.name = f"{what} {count}, {where}"
        server.shares_cores = where == "on both"
        servers.append(server)
    return servers


def echoes_in_workers(places):
    return [server for when in ("connect", "data") for server in in_workers(
        lambda count, when=when: Berth(places.dist, places.fixtures, when, workers=count),
        f"berth, {when},")]


def http_in_workers(places):
    return [*in_workers(lambda count: BerthHttp(places.dist, "data", workers=count), "berth http"),
            *in_workers(lambda count: Nginx("", processes=count), "nginx"),
            *in_workers(lambda count: Haproxy("", "http", threads=count), "HAProxy return")]


def proxies(places):
    return [BerthProxy(places.dist), NginxStream("nginx stream"), Haproxy("HAProxy tcp", "tcp")]


def restarted(places):
    return [BerthRestarted(places.dist, times) for times in (0, BerthRestarted.TIMES)]


def others(places):
    return [Redis("Redis"), Httpd("httpd mod_echo", echo=True), NginxReturn("nginx return"),
            HaproxyReturn("HAProxy return")]


def web_servers(places):
    """With their files and keep-alive, where memory and starts are measured."""
    return [BerthHttpSmall(places.dist), HttpdStatic("httpd event")]


__all__ = ["Thief", "Upstream", "echoes_in_workers", "http_in_workers",
           "http_servers", "others", "proxies", "restarted", "web_servers", "write_file"]
