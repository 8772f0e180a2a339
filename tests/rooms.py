#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that the rooms keep to themselves. Usage: rooms.py SOURCE_ROOT

- includes between rooms and of libraries follow the table below;
- generated Protobuf types stop at the rooms that translate them; nobody includes proxy/admin;
- calls that have a better counterpart here aren't made;
- main() files stay short, no file grows past 800 lines, every file has its SPDX line;
- every header compiles alone.

A line with a comment `rooms: allow, <reason>` is let through the check of calls.
"""
import concurrent.futures
import os
import re
import subprocess
import sys

# room: (rooms it may use, libraries it may touch). Longest path wins, so that http/codec is a room.
ROOMS = {
    "base": ([], []),
    "io": (["base"], ["openssl", "c-ares"]),
    "pki": (["base"], ["openssl", "jansson"]),
    "proto": (["base"], ["protobuf-c", "jansson", "libfyaml"]),
    "http/codec": (["base"], []),
    "http": (["base", "io", "http/codec"], []),
    "xds": (["base", "io", "http", "http/codec", "proto"], []),
    "model": (["base", "proto"], ["pcre2"]),
    "proxy": (["base", "io", "pki", "proto", "http", "http/codec", "xds"],
              ["pcre2", "xxhash", "zlib", "brotli", "zstd"]),
    "control": (["base", "io", "pki", "proto", "http", "http/codec", "xds", "model"], ["jansson"]),
    "capture": (["base", "io"], ["libnftables"]),
    "cli": (["base", "io", "pki", "proto", "http", "http/codec", "model", "capture"], ["jansson"]),
    "cmd": (None, []),  # wires rooms together: may use all, nobody may use it
}

LIBRARIES = [
    (r"openssl/", "openssl"), (r"ares(_\w+)?\.h$", "c-ares"), (r"nghttp2/", "nghttp2"),
    (r"protobuf-c/", "protobuf-c"), (r"jansson\.h$", "jansson"), (r"libfyaml\.h$", "libfyaml"),
    (r"pcre2\.h$", "pcre2"), (r"xxhash\.h$", "xxhash"), (r"zlib\.h$", "zlib"),
    (r"brotli/", "brotli"), (r"(zstd|zdict)\w*\.h$", "zstd"), (r"nftables/", "libnftables"),
]

# Where generated Protobuf structs may be read or written.
PROTO_READERS = ("proto/", "proxy/config/", "proxy/service/", "model/", "control/translate/")

BANNED = {
    r"strcpy|strcat|sprintf|vsprintf|gets|strncpy|strncat": "unbounded or unterminated; use str, strbuf, snprintf",
    r"strtok|atoi|atol|atof": "hidden state or no errors; use str_split, str_to_*",
    r"gettimeofday": "use loop_now_us or base/clock.h",
    r"rand|srand|random|drand48": "use base/rng.h",
    r"localtime|gmtime|ctime|asctime|strerror_l": "not thread-safe; use the _r form",
    r"assert": "use CHECK or DCHECK",
    r"malloc|calloc|realloc|reallocarray|strdup|strndup|asprintf|vasprintf": "use base/mem.h",
    r"alloca|system|popen": "not in a daemon",
}
BANNED_RE = [(re.compile(rf"(?<![\w.>])({names})\s*\("), why) for names, why in BANNED.items()]

CMD_LINES_MAX = 100
FILE_LINES_MAX = 800
COMPILE = ["cc", "-std=gnu17", "-D_GNU_SOURCE=", "-fsyntax-only", "-Wall", "-Wextra", "-Wshadow",
           "-Wstrict-prototypes", "-Wundef", "-Werror"]


class Report:
    def __init__(self):
        self.faults = []

    def add(self, path, line, text):
        self.faults.append(f"src/{path}:{line}: {text}")


def room_of(path):
    """The room of a path under src/, or None."""
    fitting = [room for room in ROOMS if path.startswith(room + "/")]
    return max(fitting, key=len) if fitting else None


def strip_comments_and_strings(text):
    """Blanks them out, keeping line breaks, so that line numbers stay true."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text,
                  flags=re.S)


def check_room_include(path, line, target, src, report):
    room, other = room_of(path), room_of(target)
    if target.endswith(".pb-c.h") or target == "proto_all.h":
        if not path.startswith(PROTO_READERS):
            report.add(path, line, f"generated types ({target}) stop at {', '.join(PROTO_READERS)}")
        return
    if other is None or not os.path.exists(os.path.join(src, target)):
        report.add(path, line, f'"{target}" is not a header of a room ("room/x.h")')
        return
    if target.startswith("proxy/admin/") and not path.startswith(("proxy/admin/", "cmd/")):
        report.add(path, line, "nobody includes proxy/admin")
    allowed = ROOMS[room][0]
    if other == "cmd" or (other != room and allowed is not None and other not in allowed):
        report.add(path, line, f"room {room} may not use room {other} ({target})")


def check_library_include(path, line, target, report):
    room = room_of(path)
    for pattern, library in LIBRARIES:
        if re.match(pattern, target) and library not in ROOMS[room][1]:
            report.add(path, line, f"room {room} may not touch {library} (<{target}>)")


def check_includes(path, text, src, report):
    for number, line in enumerate(text.split("\n"), 1):
        match = re.match(r'\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', line)
        if match and match.group(1):
            check_room_include(path, number, match.group(1), src, report)
        elif match:
            check_library_include(path, number, match.group(2), report)


def check_calls(path, text, report):
    if path == "base/mem.c":
        return
    raw = text.split("\n")
    for number, line in enumerate(strip_comments_and_strings(text).split("\n"), 1):
        for pattern, why in BANNED_RE:
            match = pattern.search(line)
            if match and "rooms: allow" not in raw[number - 1]:
                report.add(path, number, f"{match.group(1)}() is not used here: {why}")


def check_file(path, src, report):
    with open(os.path.join(src, path), encoding="utf-8") as file:
        text = file.read()
    lines = text.count("\n")
    if "SPDX-License-Identifier: Apache-2.0" not in text.split("\n", 1)[0]:
        report.add(path, 1, "the first line names the licence (SPDX)")
    if lines > FILE_LINES_MAX:
        report.add(path, lines, f"{lines} lines; past {FILE_LINES_MAX} a file wants splitting")
    if path.startswith("cmd/") and lines > CMD_LINES_MAX:
        report.add(path, lines, f"{lines} lines; a program's main() has at most {CMD_LINES_MAX}")
    if room_of(path) is None:
        report.add(path, 1, "stands in no room of the table")
        return
    check_includes(path, text, src, report)
    check_calls(path, text, report)


def compile_alone(path, src):
    root = os.path.dirname(src)
    command = COMPILE + [f"-I{src}", "-isystem", f"{root}/build/gen/include", "-x", "c", "-"]
    # Included rather than compiled, so that `#pragma once`-like warnings about main files don't count.
    run = subprocess.run(command, input=f'#include "{path}"\n', capture_output=True, text=True)
    return None if run.returncode == 0 else run.stderr.strip().split("\n")[0]


def check_headers(headers, src, report):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, fault in zip(headers, pool.map(lambda h: compile_alone(h, src), headers)):
            if fault:
                report.add(path, 1, f"does not compile alone: {fault}")


def main(root):
    src = os.path.join(os.path.abspath(root), "src")
    report = Report()
    files = sorted(os.path.relpath(os.path.join(folder, name), src)
                   for folder, _, names in os.walk(src) for name in names
                   if name.endswith((".c", ".h")))
    for path in files:
        check_file(path, src, report)
    check_headers([path for path in files if path.endswith(".h")], src, report)
    print("\n".join(report.faults))
    print(f"{len(files)} files, {len(report.faults)} faults")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "."))
