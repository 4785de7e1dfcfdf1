"""What the bench makes of its samples, and that its report is whole. No figure is judged here."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree

import pytest
from support import clients

BENCH = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(BENCH))

import bench  # noqa: E402  (the path must be set first)
import packages  # noqa: E402
import page  # noqa: E402
import results  # noqa: E402
import sampling  # noqa: E402
import servers  # noqa: E402
import suites  # noqa: E402
from servers import Program  # noqa: E402
import windows  # noqa: E402


def taken(*latencies, cpu_us=5.0):
    return [{"latency_ns": ns, "cpu_us": cpu_us} for ns in latencies]


def test_bench_samples_of_one_latency_are_all_compared():
    kept, left_out = sampling.comparable({"a": taken(41, 44, 43), "b": taken(42, 45, 47)})
    assert left_out == 0
    assert [len(samples) for samples in kept.values()] == [3, 3]


def test_bench_samples_of_another_latency_are_left_out():
    kept, left_out = sampling.comparable({"a": taken(41, 160, 43), "b": taken(158, 45, 42)})
    assert left_out == 2
    assert all(s["latency_ns"] < 50 for samples in kept.values() for s in samples)


def test_bench_class_that_every_server_has_wins():
    kept, _ = sampling.comparable({"a": taken(41, 42, 43, 44), "b": taken(160), "c": taken(161, 40)})
    assert {name: len(samples) for name, samples in kept.items()} == {"a": 4, "b": 0, "c": 1}
    kept, _ = sampling.comparable({"a": taken(41, 42, 43, 160), "b": taken(165), "c": taken(161, 40)})
    assert {name: len(samples) for name, samples in kept.items()} == {"a": 1, "b": 1, "c": 1}


def test_bench_class_is_no_chain_of_neighbours():
    samples = {"a": taken(42, 60, 42, 60, 42), "b": taken(160, 120, 85, 160, 160)}
    kept, left_out = sampling.comparable(samples)
    latencies = [s["latency_ns"] for one in kept.values() for s in one]
    assert max(latencies) / min(latencies) < sampling.LIKE
    assert left_out == 10 - len(latencies) > 0
    assert all(kept.values())


def test_bench_class_has_a_sample_of_everybody_if_there_is_one():
    samples = {"a": taken(42, 50, 58, 66, 74), "b": taken(82, 90, 98, 106, 114)}
    kept, _ = sampling.comparable(samples)
    assert all(kept.values())


def test_bench_sample_during_which_the_machine_was_moved_is_left_out():
    samples = taken(42, 43) + [{"cpu_us": 1.0, **sampling.latencies(42.0, 160.0)}]
    kept, left_out = sampling.comparable({"a": samples})
    assert (len(kept["a"]), left_out) == (2, 1)
    assert sampling.latencies(42.0, 44.0) == {"latency_ns": 43.0, "moved": False}


def test_bench_nothing_taken_is_nothing_compared():
    assert sampling.comparable({"a": [], "b": []}) == ({"a": [], "b": []}, 0)


def test_bench_row_has_the_medians():
    row = sampling.medians(taken(40, cpu_us=9.0) + taken(41, cpu_us=5.0) + taken(45, cpu_us=4.0))
    assert (row["cpu_us"], row["latency_ns"], row["samples"]) == (5.0, 41, 3)


def test_bench_ratio_is_to_the_best_model_that_served_all():
    rows = [{"kind": kind, "cpu_us": cpu_us, "errors": errors} for kind, cpu_us, errors in (
        ("berth", 6.0, 0), ("model", 5.0, 0), ("model", 2.0, 7), ("peer", 1.0, 0))]
    bench.add_ratios(rows)
    assert [row.get("ratio") for row in rows] == [1.2, 1.0, None, 0.2]


def test_bench_every_chart_shows_a_column_of_its_table():
    for suite in bench.SUITES.values():
        assert suite["chart"] in dict(suite["columns"])
        assert suite["cases"](1.0)


def test_bench_server_of_one_worker_has_a_core_of_its_own():
    server = Program("s", "s", "peer")
    assert sampling.placement(sampling.Cores(0, 1), server) == ({0}, {1})
    assert sampling.placement(sampling.Cores(0, 1, 2), server) == ({0}, {1})


def test_bench_server_of_two_workers_leaves_the_client_a_third_core_if_there_is_one():
    server = Program("s", "s", "peer")
    server.shares_cores = True
    assert sampling.placement(sampling.Cores(0, 1), server) == ({0, 1}, {0, 1})
    assert sampling.placement(sampling.Cores(0, 1, 2), server) == ({0, 1}, {2})


def test_bench_figures_of_those_who_arrive_are_beside_those_of_the_others():
    arriving = {"operations": 9, "errors": 1, "first_errors": ["late"], "service_us": {"p99": 3.0},
                "latency_us": {"p50": 1.0, "p99": 4.0, "max": 5.0}}
    found = {"errors": 2, "first_errors": [], "arriving": arriving}
    figures = sampling.arriving_figures(found)
    assert (figures["arrived"], figures["arriving_p99_us"], figures["reply_p99_us"]) == (9, 4.0, 3.0)
    assert (figures["errors"], figures["first_error"]) == (3, "late")
    assert sampling.arriving_figures({**found, "arriving": None}) == {}


def test_bench_rate_is_of_messages_however_long_a_server_wants_them():
    server = Program("s", "s", "peer")
    server.client_options = lambda case: {"--question": "a\\r\\n", "--answer": "b"}
    options = sampling.client_options({"client": {"-r": 6400, "-s": 64}}, server)
    assert options["-r"] == 300
    assert "-r" not in sampling.client_options({"client": {"-s": 64}}, server)


def test_bench_case_may_have_servers_of_its_own(tmp_path):
    named = [server.name for case in suites.SUITES["workers"]["cases"](1.0) if "servers" in case
             for server in case["servers"](sampling.Places(*[tmp_path] * 4))]
    assert {"berth http 2, on both", "nginx 2, on both", "HAProxy return 2, on both"} <= set(named)


def test_bench_report_is_well_formed_and_escapes_names():
    row = {"name": "a <b>", "kind": "peer", "samples": 3, "wanted": 5, "cpu_us": 5.0,
           "first_error": "x < y", "failed": ["once"], "command": ["load"],
           "server": {"command": ["serve", "<it>"], "files": {"a.conf": "listen <here>"}}}
    case = {"name": "c", "rows": [row, {"name": "d", "kind": "peer", "skipped": "not installed"}],
            "left_out": 1, "latency_ns": 42.0, "command": "run <it>", "samples": {}}
    columns = [("cpu_us", "server µs/op"), ("said", "said")]
    suite = {"name": "s", "title": "T", "text": "t", "columns": columns, "chart": "cpu_us",
             "repeat": "./dev bench s", "cases": [case]}
    text = page.page({"date": "today", "machine": {"kernel": "6"}, "versions": {"berth": "0"},
                      "notes": ["n"], "suites": [suite]})
    assert "a &lt;b&gt;" in text
    assert "skipped: not installed" in text
    assert "3 of 5 wanted" in text
    assert "a &lt;b&gt;: a turn failed: once" in text
    assert "serve &lt;it&gt;" in text and "a.conf:\nlisten &lt;here&gt;" in text
    assert "./dev bench s" in text
    svg = text[text.index("<svg"):text.index("</svg>") + len("</svg>")]
    assert xml.etree.ElementTree.fromstring(svg).findall("rect")
    assert "http" not in text


def one_suite(name, cpu_us, skipped="not installed", **more):
    row = {"name": "a|b", "kind": "berth", "samples": 5, "cpu_us": cpu_us, "failed": [], **more}
    missing = {"name": "d", "kind": "peer", "skipped": skipped, "failed": []}
    case = {"name": "c", "rows": [row, missing], "left_out": 0, "latency_ns": 42.0,
            "command": "/there/berth-load --json /there/x -c 5 --server-pid 7 127.0.0.1:80",
            "samples": {}}
    suite = {"name": name, "repeat": f"./dev bench {name}", "title": name.upper(), "text": "t", "chart": "cpu_us", "cases": [case],
             "columns": [("cpu_us", "server µs/op")]}
    return {"date": "today", "machine": {"kernel": "6"}, "versions": {"berth": "0"}, "notes": ["n"],
            "suites": [suite]}


def test_bench_results_of_a_suite_take_the_place_of_its_older_ones():
    order = ["first", "second"]
    text = results.merged("", one_suite("second", 1.0), order)
    text = results.merged(text, one_suite("first", 2.0), order)
    text = results.merged(text, one_suite("second", 3.0), order)
    assert list(results.parts(text)) == order
    assert "| **a\\|b** | 2.00 | 5 |" in results.parts(text)["first"]
    assert "| **a\\|b** | 3.00 | 5 |" in results.parts(text)["second"]
    assert "1.00" not in text
    assert "Again: `./dev bench first`." in text
    assert "Client: `berth-load -c 5 ADDRESS`" in text
    assert "| d | skipped: not installed |" in text


def test_bench_results_keep_suites_whose_names_have_dashes():
    text = results.merged("", one_suite("windows-echo", 1.0), ["windows-echo"])
    assert list(results.parts(text)) == ["windows-echo"]


def test_bench_requests_are_counted_without_their_answers(tmp_path):
    (tmp_path / "trace").write_text(
        "0110: recv_socket( oob=0, async={handle=0068} )\n"
        "sock_reselect(0x55ad81865e60): new mask 3\n"
        "0110: recv_socket() = PENDING { wait=0000 }\n"
        "0110: *fd* 0068 -> 69\n"
        "0110: select( flags=2 )\n0110: recv_socket( oob=0 )\n", encoding="utf-8")
    server = windows.WindowsProgram("model", "model.exe", "model", template=tmp_path)
    server.prefix = tmp_path
    assert server.requests_made() == {"recv_socket": 2, "select": 1}


@pytest.mark.parametrize("words, message", [
    (["nonsense"], 'unknown suite "nonsense"'),
    (["--samples", "0"], "--samples 0: there must be one"),
    (["--seconds", "nan"], "--seconds nan: not between 0.1 and 600"),
    (["--seconds", "-1"], "--seconds -1.0: not between 0.1 and 600"),
    (["--only", "("], "--only (: "),
])
def test_bench_bad_words_are_told(tmp_path, words, message):
    folders = [f"--{name}={tmp_path}" for name in ("dist", "bench", "fixtures", "out")]
    done = subprocess.run([sys.executable, str(BENCH / "bench.py"), *folders, *words],
                          capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr


def test_bench_without_a_name_is_all_of_both_systems_but_a_million():
    assert set(bench.SUITES) - set(bench.UNNAMED_SUITES) == {"million"}
    assert "windows-models-7000" in bench.UNNAMED_SUITES


class Kept:
    only, samples = "", 5


def test_bench_figures_are_kept_when_all_took_part():
    assert bench.why_not_kept(one_suite("a", 1.0)["suites"][0], Kept) is None


@pytest.mark.parametrize("more, chosen, why", [
    ({"skipped": "failed: no"}, {}, "failed: d"),
    ({}, {"only": "a"}, "not all servers took part (--only)"),
    ({}, {"samples": 4}, "4 samples are fewer than 5"),
])
def test_bench_figures_of_a_run_in_part_are_not_kept(more, chosen, why):
    suite = one_suite("a", 1.0, **more)["suites"][0]
    assert bench.why_not_kept(suite, type("Chosen", (Kept,), chosen)) == why


def test_bench_text_stays_when_nothing_is_for_keeping(tmp_path, capsys):
    report = one_suite("a", 1.0, skipped="failed: no")
    text = tmp_path / "RESULTS.md"
    text.write_text("as it was", encoding="utf-8")
    bench.keep(report, type("Chosen", (Kept,), {"results": text}))
    assert text.read_text(encoding="utf-8") == "as it was"
    assert "a is not taken over" in capsys.readouterr().err


def sampled(monkeypatch, plan):
    """Samples that come as planned: a latency, or what goes wrong."""
    def sample(places, cores, case, server):
        one = plan[server.name].pop(0) if len(plan[server.name]) > 1 else plan[server.name][0]
        if isinstance(one, Exception):
            raise one
        return {"latency_ns": one, "cpu_us": 5.0, "errors": 0}

    monkeypatch.setattr(sampling, "sample", sample)


def rows_of(tmp_path, names, count):
    path = tmp_path / "there"
    path.touch()
    case = {"name": "c", "client": {}}
    found = bench.run_case(sampling.Places(*[tmp_path] * 4), sampling.Cores(0, 1), case,
                           [Program(name, path, "model") for name in names], count)
    return {row["name"]: row for row in found["rows"]}


def test_bench_samples_of_another_latency_are_taken_again(tmp_path, monkeypatch):
    sampled(monkeypatch, {"a": [42], "b": [160, 160, 160, 43]})
    rows = rows_of(tmp_path, "ab", 5)
    assert [row["samples"] for row in rows.values()] == [5, 5]
    assert all(row["latency_ns"] < 50 for row in rows.values())


def test_bench_row_with_fewer_samples_than_wanted_says_so(tmp_path, monkeypatch):
    sampled(monkeypatch, {"a": [42], "b": [43, 43, 160]})
    rows = rows_of(tmp_path, "ab", 5)
    assert page.samples_text(rows["a"]) == "5"
    assert page.samples_text(rows["b"]) == "2 of 5 wanted"


def test_bench_turn_that_fails_costs_no_other_sample(tmp_path, monkeypatch):
    sampled(monkeypatch, {"a": [42, 42, RuntimeError("once"), 42], "b": [RuntimeError("always")]})
    rows = rows_of(tmp_path, "ab", 5)
    assert (rows["a"]["samples"], rows["a"]["failed"]) == (5, ["once"])
    assert rows["b"]["skipped"] == "failed: always"
    assert rows["b"]["failed"] == ["always"] * bench.FAILURES_MAX


def test_bench_memory_of_sockets_is_that_of_their_caches_and_buffers():
    slab = ("# name <active_objs> <num_objs> <objsize>\nTCP 10 12 2368 13 8\ntw_sock_TCP 9 9 256 1 1\n"
            "sock_inode_cache 20 20 832 19 4\n")
    assert sampling.slab_bytes(slab) == 10 * 2368 + 20 * 832
    stat = "sockets: used 19\nTCP: inuse 7 orphan 0 tw 50 alloc 8 mem 3\nUDP: inuse 0 mem 9\n"
    assert sampling.buffers_bytes(stat) == 3 * os.sysconf("SC_PAGE_SIZE")
    assert sampling.difference(5, 2) == 3
    assert sampling.difference(None, None) is None


def test_bench_servers_of_http_are_asked_for_as_much_as_others_echo():
    server = packages.NginxReturn("n")
    asked = {"--http": "/64B", "--body": "www/64B"}
    assert server.client_options({"client": {"-s": 64}}) == asked
    assert server.client_options({"client": {"-m": "short"}, "server_closes": True}) == asked
    with pytest.raises(servers.NotHere, match="64 bytes, whatever is sent"):
        server.client_options({"client": {"-s": 16384}})
    with pytest.raises(servers.NotHere, match="ends a connection itself"):
        server.client_options({"client": {"-m": "short"}})


def test_bench_rate_of_questions_by_http_is_of_as_many_as_messages():
    options = sampling.client_options({"client": {"-r": 6400, "-s": 64}}, packages.NginxReturn("n"))
    question = len("GET /64B HTTP/1.1\r\nHost: bench\r\n\r\n")
    assert options["-r"] == 100 * question


def test_bench_what_is_not_installed_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "PACKAGES", ("berth-has-no-such-package",))
    found = bench.versions(sampling.Places(tmp_path, tmp_path, tmp_path, tmp_path))
    assert found["berth-has-no-such-package"] == found["berth"] == "not installed"


def run_program(folder, program, *arguments):
    """A program that uses the bench's modules."""
    return subprocess.run([sys.executable, "-c", program, *arguments], cwd=folder, capture_output=True, text=True,
                          timeout=clients.START_S, check=False, env=os.environ | {"PYTHONPATH": str(BENCH)})


def test_bench_that_is_asked_to_end_takes_its_servers_along(tmp_path):
    """Asked while a server starts that never says that it is ready."""
    server = tmp_path / "dist" / "berth"
    server.parent.mkdir()
    server.write_text(f"#!/bin/sh\n[ $1 = run ] || exit 0\necho $$ >{tmp_path}/pid\nexec sleep 600\n",
                      encoding="utf-8")
    server.chmod(0o755)
    latency = tmp_path / "bench-latency"
    latency.write_text("#!/bin/sh\necho 42\n", encoding="utf-8")
    latency.chmod(0o755)
    command = [sys.executable, str(BENCH / "bench.py"), "--dist", str(server.parent), "--only",
               "berth, data", "--bench", str(tmp_path), "--fixtures", str(tmp_path),
               "--out", str(tmp_path / "out"), "start"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    pid = clients.wait_until(lambda: (tmp_path / "pid").is_file()
                             and (tmp_path / "pid").read_text(encoding="utf-8").strip(), "a server")
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert "it was asked to end" in errors
    clients.wait_until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "its server to end")


def test_bench_that_is_asked_to_end_amid_a_start_ends_that_process_too(tmp_path):
    """Asked by the very process, before the bench can know it."""
    program = (
        "import os, signal\n"
        "import processes\n"
        "processes.end_when_asked()\n"
        "def ask():\n"
        "    open('pid', 'w').write(str(os.getpid()))\n"
        "    os.kill(os.getppid(), signal.SIGTERM)\n"
        "processes.start(['sleep', '600'], os.sched_getaffinity(0), ask)\n"
        "print('went on')\n")
    done = run_program(tmp_path, program)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "bench: it was asked to end\n")
    pid = (tmp_path / "pid").read_text(encoding="utf-8")
    assert not pathlib.Path(f"/proc/{pid}").exists()


ASKED_AT_EACH_INSTRUCTION = """
import os, pathlib, shutil, signal, sys
import processes, servers

class Silent(servers.Server):
    def command(self, folder, case):
        return [shutil.which("sleep"), "600"]

    def find_address(self, folder):
        return None

def ask_at(instruction, function):
    began = False
    def trace(frame, event, _):
        nonlocal began, instruction
        frame.f_trace_opcodes = True
        began = began or frame.f_code is function.__code__
        if began and event == "opcode":
            instruction -= 1
            if instruction == 0:
                signal.raise_signal(signal.SIGTERM)
        return trace
    return trace

def start_asked_at(instruction, function):
    server = Silent("silent")
    del processes._asked[:]
    sys.settrace(ask_at(instruction, function))
    try:
        server.start(pathlib.Path("."), os.sched_getaffinity(0), {})
    except SystemExit:
        pass
    finally:
        sys.settrace(None)
        server.stop()
    return len(processes._asked)

os.environ.clear()
processes.end_when_asked()
servers.time.sleep = lambda _: None
for function, instructions in ((processes.start, range(1, 1000, 11)), (Silent.find_address, range(1, 120))):
    for instruction in instructions:
        assert start_asked_at(instruction, function) == 1
        assert not pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text()
print("ended each time")
"""


def test_bench_that_is_asked_to_end_at_any_instruction_ends(tmp_path):
    """While a server is started, and while it is waited for: an exception out of the handler of a signal
    would leave a lock of subprocess.Popen taken at one of them."""
    done = run_program(tmp_path, ASKED_AT_EACH_INSTRUCTION)
    assert (done.stdout, done.stderr) == ("ended each time\n", "")


def test_bench_row_of_what_is_missing_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "core_latency_ns", lambda places, cores: 42.0)
    missing = Program("model none", tmp_path / "model-none", "model")
    case = {"name": "c", "client": {}, "start_only": True}
    places = sampling.Places(tmp_path, tmp_path, tmp_path, tmp_path)
    found = bench.run_case(places, sampling.Cores(0, 1), case, [missing], 1)
    assert found["rows"][0]["skipped"] == "model-none was not built"
    json.dumps(found)


def test_bench_client_that_wants_too_long_is_ended_and_the_row_says_so(tmp_path):
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(sampling.Skipped, match="stopped with [0-9,]+ connections: 0.1 s had passed"):
        sampling.run_to_end(sleeper, tmp_path, os.sched_getaffinity(0), 0.1)


def test_bench_server_may_be_given_less_time_than_its_case(tmp_path, monkeypatch):
    allowed = []
    monkeypatch.setattr(sampling, "run_to_end", lambda *arguments: allowed.append(arguments[-1]))
    server = Program("s", tmp_path, "peer")
    monkeypatch.setattr(server, "pids", lambda: [])
    for server.run_s in (None, 0.5):
        with contextlib.suppress(TypeError):  # nothing was measured
            sampling.run_client(sampling.Places(*[tmp_path] * 4), sampling.Cores(0, 1),
                                {"client": {}, "run_s": 900}, server, "127.0.0.1:9")
    assert allowed == [900, 0.5]


def test_bench_client_that_leaves_no_memory_is_ended_and_the_row_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "memory_facts", lambda: {"MemAvailable": 1})
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(sampling.Skipped, match="less than 1024 MiB of memory were left"):
        sampling.run_to_end(sleeper, tmp_path, os.sched_getaffinity(0), 60)


def test_bench_client_that_ends_hands_over_its_errors(tmp_path):
    speaker = [sys.executable, "-c", "import sys; sys.exit('wrong')"]
    assert sampling.run_to_end(speaker, tmp_path, os.sched_getaffinity(0), 60) == "wrong\n"


def test_bench_tables_have_room_for_all():
    for count in (46000, 100000, 1000000):
        workers, length = servers.tables_for(count)
        assert workers * length * 0.9 >= count


def test_bench_server_that_cannot_hold_a_case_says_why(tmp_path):
    case = {"name": "c", "client": {}, "kind": "berth", "reason": "too many"}
    path = tmp_path / "model-all"
    path.touch()
    places = sampling.Places(tmp_path, tmp_path, tmp_path, tmp_path)
    found = bench.run_case(places, sampling.Cores(0, 1), case, [Program("m", path, "model")], 1)
    assert found["rows"][0]["skipped"] == "too many"


def test_bench_upstream_has_a_command_though_no_client_of_the_case_is_its(tmp_path):
    echo = servers.Program("upstream", tmp_path / "echo", "model", idle_buffer_bytes=1024)
    assert "--buffer" not in echo.command(tmp_path, {})
    assert "--buffer" in echo.command(tmp_path, {"client": {"-m": "idle"}})


def test_bench_million_is_kept_after_one_sample():
    suite = {**one_suite("a", 1.0)["suites"][0], "name": "million"}
    assert bench.why_not_kept(suite, type("Chosen", (Kept,), {"samples": 1})) is None
