#!/bin/bash
# build.sh: the recipe of the built plugins that lie here: the one of today's ABI, for both systems.
#
# <system>/abi-MAJOR-MINOR.so or .dll is built from abi_MAJOR_MINOR.c, and the file with the ending .abi
# beside it holds the checksum of the snapshot it was built for. Each stands for all plugins that people
# have built for that version: every later host must run it as it is. So it is built anew only
# while that version is a release candidate, and never once it is frozen.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

readonly API=../../../plugin-api

define() {
    sed -n "s/^#define BERTH_ABI_$1 \([0-9]*\).*/\1/p" "$API/berth/abi.h"
}

# build SYSTEM SUFFIX TOOLS OPTION…
build() {
    local system=$1 file="$1/$name$2" tools=$3
    shift 3
    if [ "$candidate" = 0 ] && [ -e "$file" ]; then
        echo "build.sh: $file is of a frozen ABI: it stays as it is" >&2
        return
    fi
    mkdir -p "$system"
    "${tools}gcc" -std=c11 -Wall -Wextra -Werror -Os -s -shared -fvisibility=hidden -I "$API" \
        "$@" "${name//-/_}.c" -o "$file"
    /usr/bin/python3 -B ../snapshot.py checksum "$system" >"$system/$name.abi"
}

name="abi-$(define MAJOR)-$(define MINOR)"
candidate=$(define DRAFT)
build linux-x86_64 .so '' -fPIC -Wl,--build-id=none
build windows-x86_64 .dll x86_64-w64-mingw32- -static -Wl,--no-insert-timestamp
