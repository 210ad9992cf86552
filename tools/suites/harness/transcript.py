"""Comparing what a client program prints with what it printed against Java.

A transcript is the lines of a session, made comparable: times and session ids are blotted out, and watch events,
which a client prints whenever they arrive, are kept apart from the answers, each in its own order.
"""

import argparse
import difflib
import os

from harness.servers import KINDS, default_kind


def arguments(page):
    """The command line of a suite that compares one session: the kind of server, and whether the golden file is to be written."""
    parser = argparse.ArgumentParser(description=page, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", default=default_kind(), choices=KINDS)
    parser.add_argument("--capture", action="store_true")
    return parser.parse_args()


def compare(name, got, golden_path, capture):
    """Compare with the golden file, or write it. Prints the difference; returns the exit status."""
    text = "\n".join(got) + "\n"
    if capture:
        with open(golden_path, "w", encoding="utf-8") as f:
            f.write(text)
        print(f"{name}: wrote {os.path.basename(golden_path)}, {len(got)} lines")
        return 0
    with open(golden_path, encoding="utf-8") as f:
        expected = f.read().splitlines()
    difference = list(difflib.unified_diff(expected, got, "java", "here", lineterm="", n=2))
    for line in difference:
        print(line)
    same = len(expected) if not difference else sum(1 for x in difflib.ndiff(expected, got) if x.startswith("  "))
    wrong = sum(1 for x in difference if x[:1] in "+-" and x[:3] not in ("+++", "---"))
    print(f"{name}: {same} passed, {wrong} failed")
    return 1 if wrong else 0
