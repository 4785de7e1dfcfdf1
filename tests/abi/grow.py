"""The plugin ABI of a minor version to come: the headers of today, in which every struct that may grow has
grown at its end and BERTH_ABI_MINOR is one more. So both directions can be tested before there is a
later version: a later plugin on the host of today, and the plugins of today on a later host."""

import re
import shutil

import headers

GROWTH = """
    uint64_t later_number;
    int32_t(BERTH_CALL *later_function)(void *argument);
"""


def grow(folder, api=headers.API):
    """Writes the grown headers into `folder`; returns their minor version."""
    shutil.copytree(api / "berth", folder / "berth")
    for path in (folder / "berth").glob("*.h"):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"(struct \w+ \{(?:(?!\n\};).)*?struct_size;.*?)\n\};", rf"\1{GROWTH}}};", text,
                      flags=re.DOTALL)
        path.write_text(text, encoding="utf-8")
    path = folder / "berth/abi.h"
    text = path.read_text(encoding="utf-8")
    minor = int(re.search(r"BERTH_ABI_MINOR (\d+)", text)[1]) + 1
    path.write_text(re.sub(r"BERTH_ABI_MINOR \d+", f"BERTH_ABI_MINOR {minor}", text), encoding="utf-8")
    return minor
