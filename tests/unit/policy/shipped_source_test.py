#!/usr/bin/env python3
"""shipped_source_test.py ROOT LIST ARCHIVE COMPILER: the source that a submission ships is the tree's, but for comments.

What ship_source.py leaves of every C++ and CUDA file is what the compiler's own preprocessor leaves of it, blanks aside; the
archive holds exactly the files of the list, and packing twice gives the same bytes.
"""

import lzma
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
root, names, archive, compiler = sys.argv[1:]
sys.path.insert(0, str(Path(root) / "tools/cmake"))
import ship_source  # noqa: E402


def dense(text):  # GCC moves or drops `#pragma once` of a main file
    return re.sub(r"\s", "", text).replace("#pragmaonce", "")


def check(condition, message):
    if not condition:
        sys.exit(message)


TRICKY = r'''
const char* a = "// no comment"; /* gone */ const char b = '"'; // gone "
const auto c = R"x(// stays
  /* stays */   
)x"; const int d = 1'000'000; // 'gone
const char e = '\''; const char* f = "\\"; /* "gone" */ const wchar_t g = L'"'; const int h = 0xAB'CD;
'''
left = ship_source.without_comments(TRICKY)
check("gone" not in left and "// no comment" in left, left)
check("R\"x(// stays\n  /* stays */   \n)x\"" in left, left)
check("1'000'000;" in left and "0xAB'CD;" in left and left.count("\n") == 5, left)

files = [name for name in Path(names).read_text().split("\n") if name]
packed = tarfile.open(fileobj=io.BytesIO(lzma.decompress(Path(archive).read_bytes())))
check(packed.getnames() == sorted(files), "the archive does not hold the files of the list")
with tempfile.TemporaryDirectory() as folder:
    again = Path(folder) / "again.tar.xz"
    ship_source.main(root, names, again)
    check(again.read_bytes() == Path(archive).read_bytes(), "packing again gives other bytes")

version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
if "Free Software Foundation" not in version:
    print("skipped: only GCC's preprocessor is asked what a file is without its comments")
    sys.exit(0)
for name in files:
    if not name.endswith((".cpp", ".h", ".cu", ".cuh")):
        continue
    text = (Path(root) / name).read_text()
    done = subprocess.run([compiler, "-fpreprocessed", "-dD", "-E", "-P", "-x", "c++", "-"], input=text, capture_output=True, text=True)
    shipped = packed.extractfile(name).read().decode()
    check(done.returncode == 0 and dense(done.stdout) == dense(shipped), f"{name}: what is shipped is not the file without its comments")
print(f"{len(files)} files are the tree's")
