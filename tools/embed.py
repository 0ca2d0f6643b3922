#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Files as C arrays: embed.py OUTPUT.c FILE... (src/api/core_impl.h: struct asset).

Links to "/playground/NAME" in HTML become "/playground/VERSION/NAME", so that browsers may keep what they have."""
import hashlib
import sys
from pathlib import Path

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}


def array(index, data):
    rows = [", ".join(map(str, data[at:at + 24])) for at in range(0, len(data), 24)]
    return f"static const unsigned char bytes_{index}[] = {{\n" + ",\n".join(rows) + "\n};\n"


def digest(data):
    return hashlib.sha256(data).hexdigest()[:32]


def main():
    output, *names = sys.argv[1:]
    files = {Path(name).name: Path(name).read_bytes() for name in names}
    version = digest(b"".join(name.encode() + data for name, data in sorted(files.items())))[:12]
    text = ["/* Made by tools/embed.py. */\n", '#include "api/core_impl.h"\n\n']
    entries = []
    for index, (name, data) in enumerate(files.items()):
        kind = Path(name).suffix
        if kind == ".html":
            data = data.replace(b'"/playground/', f'"/playground/{version}/'.encode())
        text.append(array(index, data))
        entries.append(f'    {{"{name}", "{MEDIA_TYPES[kind]}", bytes_{index}, {len(data)}, "\\"{digest(data)}\\""}},\n')
    text += ["const struct asset assets[] = {\n", *entries, "};\n",
             f"const size_t n_assets = {len(entries)};\n",
             f'const char assets_version[] = "{version}";\n']
    Path(output).write_text("".join(text))


if __name__ == "__main__":
    main()
