#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Which lines of the sources were run, by what gcov says: a table of directories and files.

    coverage.py BUILD [--missing DIRECTORY]...     BUILD was configured with --enable-coverage, and its tests were run

A source can be compiled several times: a line counts as run if any of its objects ran it. With --missing the lines that
were not run are listed for the files below a directory.
"""
import argparse
import json
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
PARTS = ("daemon", "client")


def read_objects(build):
    """{source: {line: times run}}, sources relative to the top."""
    lines = {}
    # Of what was compiled but never run there is no .gcda: gcov says so of its .gcno.
    notes = sorted(str(path.relative_to(build)) for path in build.rglob("*.gcno"))
    for first in range(0, len(notes), 50):
        output = subprocess.run(["gcov", "--json-format", "--stdout", *notes[first:first + 50]], cwd=build, check=True,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        for text in output.splitlines():
            take_report(json.loads(text), build, lines)
    return lines


def take_report(report, build, lines):
    for file in report["files"]:
        path = (build / file["file"]).resolve()
        if not path.is_relative_to(TOP) or path.suffix != ".c":
            continue
        source = path.relative_to(TOP)
        if source.parts[0] not in PARTS:
            continue
        counts = lines.setdefault(source, {})
        for line in file["lines"]:
            number = line["line_number"]
            counts[number] = counts.get(number, 0) + line["count"]


def share(counts):
    run = sum(1 for count in counts if count > 0)
    return f"{100 * run / len(counts) if counts else 100:6.1f} %  {run:5} of {len(counts):5}"


def ranges(numbers):
    """"3, 7-9"."""
    found = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in found)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--missing", action="append", default=[], metavar="DIRECTORY")
    arguments = parser.parse_args()
    lines = read_objects(arguments.build.resolve())
    if not lines:
        sys.exit(f"coverage: nothing was run in {arguments.build}")
    for directory in sorted({source.parent for source in lines}):
        files = {source: counts for source, counts in sorted(lines.items()) if source.parent == directory}
        print(f"{str(directory):32} {share([count for counts in files.values() for count in counts.values()])}")
        for source, counts in files.items():
            print(f"  {source.name:30} {share(list(counts.values()))}")
            missing = [number for number, count in counts.items() if count == 0]
            if missing and any(source.is_relative_to(part) for part in arguments.missing):
                print(f"    not run: {ranges(missing)}")
    print(f"{'all':32} {share([count for counts in lines.values() for count in counts.values()])}")


if __name__ == "__main__":
    main()
