#!/usr/bin/env python3
"""Breaks the product in known ways, one after another, and shows that the simulator's scenarios see each.

All mutations are built into one copy of the tree, each behind a switch; without a switch the scenarios must pass. What must fail with
which is in table.py. Usage: run.py [--list] [NAME ...]
"""

import argparse
import concurrent.futures
import json
import os
import re
import subprocess
import sys

from table import MUTATIONS

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".."))
WORK = os.path.join(os.path.abspath(os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target")), "mutations")
TREE = os.path.join(WORK, "tree")
# A scenario ends within a minute; one that a mutation keeps from ending was not seen by it.
PATIENCE_S = 300
SWITCH = """
/// Is this mutation switched on?
pub fn mutant(name: &str) -> bool {
    static ON: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    ON.get_or_init(|| std::env::var("RK_MUTANT").unwrap_or_default()) == name
}
"""


def mutated():
    """The text of each file that is not as in the tree. Says which mutation no longer fits, and ends."""
    texts = {}

    def text(path):
        if path not in texts:
            with open(os.path.join(ROOT, path), encoding="utf-8") as f:
                texts[path] = f.read()
        return texts[path]

    misfits = []
    for name, _, path, old, new, _ in MUTATIONS:
        if text(path).count(old) == 1:
            texts[path] = text(path).replace(old, new.replace("mutant!", f'proto::mutant("{name}")'))
        else:
            misfits.append(f"{name}: its text stands {text(path).count(old)} times in {path}; expected once")
    if misfits:
        sys.exit("\n".join(misfits))
    texts["engine/proto/src/lib.rs"] = text("engine/proto/src/lib.rs") + SWITCH
    return texts


def content(path):
    with open(path, "rb") as f:
        return f.read()


def copy(texts):
    """Writes the tree with these files instead of its own. What is there already keeps its time, so that it is not built again."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    wanted = [path for path in listed.stdout.splitlines() if os.path.isfile(os.path.join(ROOT, path))]
    for path in wanted:
        place, new = os.path.join(TREE, path), texts[path].encode() if path in texts else content(os.path.join(ROOT, path))
        if not os.path.exists(place) or content(place) != new:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "wb") as f:
                f.write(new)
    for folder, _, files in os.walk(TREE):
        for file in files:
            path = os.path.relpath(os.path.join(folder, file), TREE)
            if path not in wanted:
                os.remove(os.path.join(TREE, path))


def build():
    """Builds the scenarios; returns their program."""
    environment = os.environ | {"CARGO_TARGET_DIR": os.path.join(WORK, "target"), "CARGO_PROFILE_TEST_DEBUG": "0", "RUSTFLAGS": ""}
    command = ["cargo", "test", "-q", "--no-run", "-p", "simulator", "--test", "simulator", "--message-format=json"]
    built = subprocess.run(command, cwd=TREE, env=environment, stdout=subprocess.PIPE, text=True)
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    if built.returncode:
        sys.exit("".join(m["message"]["rendered"] for m in messages if m.get("message", {}).get("level") == "error"))
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["kind"] == ["test"])


def scenarios(program, mutant, tests):
    """Runs these tests; returns those that failed, and what was said first of a failure."""
    environment = os.environ | {"RK_MUTANT": mutant, "RUST_BACKTRACE": "0", "SIM_SEEDS": "20", "SIM_FROM": "1"}
    command = [program, "--exact", "--test-threads", "1", *tests]
    try:
        run = subprocess.run(command, cwd=os.path.join(TREE, "tools", "simulator"), env=environment, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        return [], f"no end within {PATIENCE_S} s"
    ran = re.search(r"^running (\d+) test", run.stdout, re.M)
    if not ran or int(ran[1]) != len(tests):
        sys.exit(f"{mutant}: not all of {', '.join(tests)} are there")
    failed = re.findall(r"^test (\S+) \.\.\. FAILED", run.stdout, re.M)
    said = re.search(r'invariant: "(\w+)", what: "((?:[^"\\]|\\.)*)', run.stdout)
    if said:
        return failed, f"{said[1]}: {said[2][:120]}"
    panicked = re.search(r"panicked at (\S+?):\d+:\d+:\n(.*)", run.stdout)
    return failed, f"{panicked[1]}: {panicked[2][:120]}" if panicked else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="only see whether each still fits the code, and say what it is")
    parser.add_argument("names", nargs="*", help="only these mutations")
    args = parser.parse_args()
    chosen = [m for m in MUTATIONS if m[0] in args.names or not args.names]
    unknown = set(args.names) - {m[0] for m in chosen}
    if unknown:
        parser.error(f"no such mutation: {', '.join(sorted(unknown))}")
    texts = mutated()
    if args.list:
        for name, what, path, *_ in chosen:
            print(f"{name}: {what} ({path})")
        return 0
    copy(texts)
    program = build()
    whole = sorted({test for m in chosen for test in m[5]})
    unseen = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for test, (failed, said) in zip(whole, pool.map(lambda test: scenarios(program, "", [test]), whole), strict=True):
            if failed or said:
                sys.exit(f"without a mutation {test} does not pass: {said}")
        seen = pool.map(lambda m: scenarios(program, m[0], m[5]), chosen)
        for (name, what, _, _, _, tests), (failed, said) in zip(chosen, seen, strict=True):
            unseen += set(failed) != set(tests)
            passed = [test for test in tests if test not in failed]
            print(f"{name}: {what}: " + (f"NOT SEEN by {', '.join(passed)} {said}" if passed else f"seen by {len(failed)}; {said}"),
                  flush=True)
    print(f"mutations: {len(chosen) - unseen} passed, {unseen} failed")
    return unseen != 0


if __name__ == "__main__":
    sys.exit(main())
