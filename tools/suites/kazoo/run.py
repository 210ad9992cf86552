#!/usr/bin/env python3
"""Runs kazoo's own test suite, unchanged, through its own harness against one server, or against an ensemble.

    run.py [--kind ringkeeper|java38|java395] [--cluster 1|3] [--workers N] [pytest arguments]

expected.txt names every test that does not pass on Java either, or that is not run, with the reason. All others
must pass; a line may hold in a cluster of one or of three only. A listed test that passes is reported, not failed, unless its line says that it must fail.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from harness.servers import JVM, KINDS, TARGET, classpath, default_kind, ringkeeper_binary  # noqa: E402

VERSIONS = {"java38": "3.8.0", "java395": "3.9.5", "ringkeeper": "3.9.5"}


def expectations(cluster):
    """test id -> (kind of expectation, reason); lines are `exclude|fails|flaky[:cluster]  <id>  <reason>`."""
    table = {}
    with open(os.path.join(HERE, "expected.txt"), encoding="utf-8") as f:
        for line in f:
            line = line.strip()
            if line and not line.startswith("#"):
                what, test, reason = line.split(None, 2)
                what, _, only = what.partition(":")
                assert what in ("exclude", "fails", "flaky") and only in ("", "1", "3"), line
                if only in ("", str(cluster)):
                    table[test] = (what, reason)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", default=default_kind(), choices=KINDS)
    parser.add_argument("--cluster", type=int, default=1, choices=(1, 3))
    parser.add_argument("--workers", type=int, default=4)
    args, extra = parser.parse_known_args()

    sdist = next(os.path.join(TARGET, d) for d in sorted(os.listdir(TARGET)) if d.startswith("kazoo-") and d[6].isdigit())
    work = os.path.join(TARGET, f"kazoo-run{args.cluster}")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(os.path.join(work, "tmp"))
    xml = os.path.join(work, "junit.xml")

    env = dict(os.environ)
    env.pop("CI", None)
    env["PATH"] = HERE + os.pathsep + env["PATH"]
    env["PYTHONPATH"] = HERE
    env["TMPDIR"] = os.path.join(work, "tmp")
    env["ZOOKEEPER_CLUSTER_SIZE"] = str(args.cluster)
    env["ZOOKEEPER_VERSION"] = VERSIONS[args.kind]
    if args.kind == "ringkeeper":
        env["ZOOKEEPER_CLASSPATH"] = "none"
        env["RK_KAZOO_SERVER"] = ringkeeper_binary()
    else:
        env["ZOOKEEPER_CLASSPATH"] = env["RK_KAZOO_CLASSPATH"] = classpath(args.kind)
        env["RK_KAZOO_JAVA"] = shutil.which("java")
        env["RK_KAZOO_JVM"] = " ".join(JVM)

    table = expectations(args.cluster)
    command = [sys.executable, "-m", "pytest", "-p", "worker_ports", "-p", "no:cacheprovider", "-q", "-o", "addopts=", "-o", "log_cli=false",
               "-n", str(args.workers), "--dist", "loadscope", "--junitxml", xml, "--tb=short", "-rN", "--maxfail=60"]
    for test, (what, _) in table.items():
        if what == "exclude":
            command += ["--deselect", f"kazoo/tests/{test}"]
    started = time.monotonic()
    with open(os.path.join(work, "output.txt"), "wb") as out:
        subprocess.run(command + (extra or ["kazoo/tests"]), cwd=sdist, env=env, stdout=out, stderr=subprocess.STDOUT, check=False)
    if not os.path.exists(xml):
        with open(os.path.join(work, "output.txt"), encoding="utf-8", errors="replace") as f:
            print(f.read()[-8000:])
        print("kazoo: 0 passed, 1 failed")
        return 1

    passed = skipped = known = 0
    bad, recovered, slow = [], [], []
    for case in ET.parse(xml).getroot().iter("testcase"):
        path = case.get("classname").split(".")
        file = next(i for i, p in enumerate(path) if p.startswith("test_"))
        test = "::".join([path[file] + ".py", *path[file + 1:], case.get("name")])
        slow.append((float(case.get("time")), test))
        failure = next((e for e in case if e.tag in ("failure", "error")), None)
        what, reason = table.get(test, (None, None))
        if failure is not None:
            if what in ("fails", "flaky"):
                known += 1
            else:
                bad.append((test, (failure.text or failure.get("message") or "")))
        elif any(e.tag == "skipped" for e in case):
            skipped += 1
        else:
            passed += 1
            if what == "fails":
                recovered.append(test)
    for test, text in bad:
        print(f"--- {test}\n{text[-2500:]}\n")
    for test, _ in bad:
        print(f"FAILED {test}")
    for test in recovered:
        print(f"note: {test} is listed as failing, and passes on {args.kind}")
    if "-v" in sys.argv or os.environ.get("RK_SLOW"):
        for seconds, test in sorted(slow, reverse=True)[:25]:
            print(f"{seconds:7.1f} s {test}")
    print(f"kazoo on {args.kind}, cluster of {args.cluster}: {skipped} skipped by themselves, {known} fail as listed, {time.monotonic() - started:.0f} s")
    print(f"kazoo: {passed} passed, {len(bad)} failed")
    return 1 if bad or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
