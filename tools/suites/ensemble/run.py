#!/usr/bin/env python3
"""Ensembles of real processes, ours and Java's in every mix, through everything that happens to ensembles.

    run.py [--java java38|java395] [--long] [--only TEXT]... [--layout LETTERS]... [--list] [--keep]
    RK_SEED, RK_ENSEMBLE_SECONDS (2), RK_ENSEMBLE_ROUNDS (4), RK_TICK_MS (400)

scenarios.py has the scenarios and the layouts in which each runs, few by default, all with --long; --layout runs the
chosen scenarios in these instead. members.py says what a layout is. A failure keeps its directory and prints the seed.
"""

import argparse
import os
import random
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), HERE, os.path.join(os.path.dirname(HERE), "swap")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--java", choices=["java38", "java395"], default=os.environ.get("RK_JAVA", "java38"))
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", action="append", default=[], help="scenarios with these names")
    parser.add_argument("--layout", action="append", default=[])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--keep", action="store_true", help="keep the directories of what passed, too")
    args = parser.parse_args()
    os.environ["RK_JAVA"] = args.java
    from restore import JavaReader
    from scenarios import SCENARIOS, Stage, checker

    unknown = set(args.only) - set(SCENARIOS)
    if unknown:
        raise SystemExit(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    cases = [(name, layout) for name, (_, short, long) in SCENARIOS.items() if not args.only or name in args.only
             for layout in args.layout or (long if args.long else short)]
    if args.list:
        for name, layout in cases:
            print(f"{name} {layout}: {SCENARIOS[name][0].__doc__}")
        return 0
    checker()
    seed = int(os.environ.get("RK_SEED") or random.SystemRandom().randrange(2**32))
    seconds, rounds = float(os.environ.get("RK_ENSEMBLE_SECONDS", "2")), int(os.environ.get("RK_ENSEMBLE_ROUNDS", "4"))
    print(f"ensembles with {args.java}: {len(cases)} cases, RK_SEED={seed}", flush=True)
    passed, failed = 0, []
    with JavaReader(args.java) as java:
        for name, layout in cases:
            stage = Stage(java, seed, seconds, rounds)
            began, trouble = time.monotonic(), None
            try:
                SCENARIOS[name][0](stage, layout)
            except (Exception, KeyboardInterrupt, SystemExit) as e:
                trouble = e
            took = f"{time.monotonic() - began:.0f} s"
            if trouble is None:
                passed += 1
                print(f"{name} {layout}: ok, {took}" + "".join(f"; {n}" for n in stage.notes), flush=True)
            else:
                failed.append(f"{name} {layout}")
                print("".join(traceback.format_exception(trouble))[-6000:])
                for e in stage.made:
                    for sid, m in e.members.items():
                        print(f"--- member {sid} ({m.kind}), {m.log_path}\n{m.log_tail(12)}")
                print(f"{name} {layout}: FAILED after {took}, RK_SEED={seed}", flush=True)
            for e in stage.made:
                e.end(keep=trouble is not None or args.keep)
            if isinstance(trouble, (KeyboardInterrupt, SystemExit)):
                raise trouble
    for case in failed:
        print(f"FAILED {case}")
    print(f"ensemble: {passed} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
