#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Files as C arrays: embed.py OUTPUT.c ROOT FILE... (src/api/core_impl.h: struct asset). A file's
path on the server is its path below ROOT."""
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


def main():
    output, root, *names = sys.argv[1:]
    root = Path(root).resolve()
    text = ["/* Made by tools/embed.py. */\n", '#include "api/core_impl.h"\n\n']
    entries = []
    for index, path in enumerate(map(Path, names)):
        data = path.read_bytes()
        etag = hashlib.sha256(data).hexdigest()[:32]
        text.append(array(index, data))
        entries.append(f'    {{"/{path.resolve().relative_to(root)}", "{MEDIA_TYPES[path.suffix]}", bytes_{index}, '
                       f'{len(data)}, "\\"{etag}\\""}},\n')
    text += ["const struct asset assets[] = {\n", *entries, "};\n",
             f"const size_t n_assets = {len(entries)};\n"]
    Path(output).write_text("".join(text))


if __name__ == "__main__":
    main()
