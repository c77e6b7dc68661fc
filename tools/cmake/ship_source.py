#!/usr/bin/env python3
"""The compressed source that a submission ships: ship_source.py ROOT LIST ARCHIVE.

Its bytes count against the artifact's budget, so C++ and CUDA files go without comments and blank lines; strings and everything
else stay as they are. The same files give the same archive, byte for byte. `tests/unit/policy` holds what is left against what
the compiler's own preprocessor leaves.
"""

import io
import lzma
import re
import sys
import tarfile
from pathlib import Path

# What a comment may stand beside: raw strings, strings, characters (not the separators of digits), comments.
TOKEN = re.compile(r'''
    (?P<kept> R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"
      | "(?:\\.|[^"\\\n])*"
      | (?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])+'
      | (?<![0-9A-Za-z_])(?:u8|u|U|L)'(?:\\.|[^'\\\n])+' )
  | (?P<line> //(?:\\\n|[^\n])* )
  | (?P<block> /\*.*?\*/ )
''', re.VERBOSE | re.DOTALL)


def without_comments(text):
    pieces, raw, at = [], [], 0
    for match in TOKEN.finditer(text):
        pieces.append(text[at:match.start()])
        if match["kept"] is None:
            pieces.append(" ")
        elif "\n" in match["kept"]:  # its lines are not to be touched
            pieces.append(f"\0{len(raw)}\0")
            raw.append(match["kept"])
        else:
            pieces.append(match["kept"])
        at = match.end()
    lines = "".join([*pieces, text[at:]]).split("\n")
    short = "\n".join(line.rstrip() for line in lines if line.strip()) + "\n"
    return re.sub("\0([0-9]+)\0", lambda place: raw[int(place[1])], short)


def main(root, names, archive):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted(Path(names).read_text().split("\n")):
            if not name:
                continue
            path = Path(root) / name
            data = path.read_bytes()
            if path.suffix in (".cpp", ".h", ".cu", ".cuh"):
                data = without_comments(data.decode()).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            tar.addfile(entry, io.BytesIO(data))
    Path(archive).write_bytes(lzma.compress(packed.getvalue(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--show":
        sys.stdout.write(without_comments(Path(sys.argv[2]).read_text()))
    elif len(sys.argv) == 4:
        main(*sys.argv[1:])
    else:
        sys.exit(__doc__)
