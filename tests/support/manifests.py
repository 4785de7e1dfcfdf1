"""Manifests, as the tests write them: short to say, complete when written."""

LOOPBACK = "127.0.0.1:0"


def listener(plugin="echo", when="data", address=LOOPBACK, config=None, limits=None, **more):
    """One listener. `when` and `accept` (pool, timeouts, …) end up in the same object."""
    accept = {"when": when, **more.pop("accept", {})}
    built = {"address": address, "plugin": plugin, "accept": accept, **more}
    if config is not None:
        built["config"] = config
    if limits is not None:
        built["limits"] = limits
    return built


def manifest(listeners, **host):
    """A manifest of the given listeners; `host` are members of its "host" object."""
    return {"manifest": 1, "host": host, "listeners": listeners}


def one(plugin="echo", when="data", host=None, **more):
    """A manifest with one listener, which has its plugin's name."""
    return manifest({plugin: listener(plugin, when, **more)}, **(host or {}))


def two_echoes():
    return manifest({"one": listener("echo", "connect"), "two": listener("echo", "data")})


def with_name(manifest_, name):
    """The manifest with that "host.name", unless it has a word of its own on names; a text is left alone."""
    host = manifest_.get("host", {}) if isinstance(manifest_, dict) else None
    if host is None or "name" in host or "control" in host:
        return manifest_
    return {**manifest_, "host": {**host, "name": name}}
