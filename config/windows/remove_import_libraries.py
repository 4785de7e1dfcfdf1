#!/usr/bin/env python3
"""Run by meson install: takes away what the linker makes beside a plugin, for nothing links with one."""

import os
import pathlib

folder = pathlib.Path(os.environ["MESON_INSTALL_DESTDIR_PREFIX"]) / "plugins"
for library in folder.glob("*.dll.a"):
    library.unlink()
