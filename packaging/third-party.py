#!/usr/bin/python3
"""Prints the licences of the crates and scripts that are built into a program, for the packages.

    packaging/third-party.py PROGRAM

Most of them ask that their text goes with binaries. Texts that are the same word for word are printed once. Fails if a
crate has no text and is not under a licence whose text is with this project already.
"""

import json
import pathlib
import subprocess
import sys

TARGET = "x86_64-unknown-linux-gnu"
PATTERNS = ("LICEN[CS]E*", "COPYING*", "COPYRIGHT*", "NOTICE*", "UNLICENSE*", "license*")
# Their texts are in this package anyway.
KNOWN = {"MIT OR Apache-2.0", "Apache-2.0 OR MIT", "MIT/Apache-2.0", "Apache-2.0"}


def cargo(*arguments):
    command = ["cargo", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main(program):
    tree = ("tree", "--locked", "-p", program, "-e", "normal", "--target", TARGET, "--prefix", "none")
    wanted = {tuple(line.split()[:2]) for line in cargo(*tree).splitlines() if line}
    metadata = ("metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET)
    packages = [
        package
        for package in json.loads(cargo(*metadata))["packages"]
        if (package["name"], "v" + package["version"]) in wanted and package["source"]
    ]
    texts, missing = {}, []
    for package in sorted(packages, key=lambda p: p["name"]):
        name = f"{package['name']} {package['version']}: {package['license']}"
        root = pathlib.Path(package["manifest_path"]).parent
        files = {f for pattern in PATTERNS for f in root.rglob(pattern) if f.is_file()}
        files = {f for f in files if f.suffix in ("", ".md", ".txt") or "-" in f.name}
        if not files and package["license"] not in KNOWN:
            missing.append(name)
        print(name)
        for file in files:
            text = file.read_text(errors="replace").strip()
            texts.setdefault(text, []).append(f"{package['name']} {file.relative_to(root)}")
    # What is no crate: scripts of the page.
    for file in sorted(pathlib.Path("crates", program).glob("*/vendor/*.LICENSE")):
        print(f"{file.stem}: see {file.name}")
        texts.setdefault(file.read_text().strip(), []).append(file.name)
    if missing or not packages:
        sys.exit("no licence text: " + ", ".join(missing))
    print("The Rust standard library: MIT OR Apache-2.0, the Rust Project Developers")
    for text, names in sorted(texts.items(), key=lambda item: sorted(item[1])):
        print("\n" + "=" * 78 + "\n" + "\n".join(sorted(names)) + "\n" + "-" * 78 + "\n" + text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
