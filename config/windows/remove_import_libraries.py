#!/usr/bin/env python3
"""Run by meson install: takes away what the linker makes beside a plugin, for nothing links with one."""

import os
import pathlib

prefix = pathlib.Path(os.environ["MESON_INSTALL_DESTDIR_PREFIX"])
for library in [*prefix.glob("plugins/*.dll.a"), *prefix.glob("examples/*.dll.a")]:
    library.unlink()
