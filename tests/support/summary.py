"""Prints the closing line of a test run, from pytest's XML report."""

import sys
import xml.etree.ElementTree


def main(path):
    suites = xml.etree.ElementTree.parse(path).getroot().iter("testsuite")
    total = failed = skipped = 0
    for suite in suites:
        total += int(suite.get("tests"))
        failed += int(suite.get("failures")) + int(suite.get("errors"))
        skipped += int(suite.get("skipped"))
    print(f"{total - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or total == skipped else 0


sys.exit(main(sys.argv[1]))
