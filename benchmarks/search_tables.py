"""Tables of benchmarks/nw_ucla/README.md from the results of benchmarks/search_nw_ucla.py.

    python benchmarks/search_tables.py stage1.jsonl stage2.jsonl      # prints
    python benchmarks/search_tables.py --write benchmarks/nw_ucla/README.md benchmarks/nw_ucla/results/*.jsonl

    python benchmarks/search_tables.py --against v1 v2.jsonl          # the verdict on each other trial

With --write the parts of the page between `<!-- NAME -->` and `<!-- end -->` are replaced, NAME being
a file's name without its ending, or `against v1`.
"""

import argparse
import re
import sys
from pathlib import Path

from nw_ucla.decision import decision
from nw_ucla.folds import FOLDS, WITNESSES
from nw_ucla.search import read_results
from nw_ucla.tables import trial_table

from pipelines.errors import TsgcError


def rendered(path: Path) -> str:
    """The tables of one results file, one for each witness."""
    trials = read_results(path)
    parts = []
    for witness in WITNESSES:
        if own := [line for line in trials if FOLDS[line["fold"]].witness == witness]:
            parts += [] if witness == "views" else [f"Judged by {witness}:\n"]
            parts.append(trial_table(own))
    return "\n".join(parts)


def made_tables(options: argparse.Namespace) -> dict[str, str]:
    """Tables by the name of their place in a page."""
    if not options.against:
        return {path.stem: rendered(path) for path in options.results}
    lines = [line for path in options.results for line in read_results(path)]
    return {f"against {options.against}": decision(lines, options.against)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--write", type=Path, help="a page to put the tables into")
    parser.add_argument("--against", help="the trial that all others are compared with, pair by pair")
    options = parser.parse_args()
    for path in options.results:
        if not path.is_file():
            sys.exit(f"error: {path}: no such file; expected what search_nw_ucla.py wrote by --out")
    try:
        tables = made_tables(options)
    except TsgcError as error:
        sys.exit(f"error: {error}")
    if not options.write:
        for name, text in tables.items():
            print(f"### {name}\n\n{text}")
        return
    page = options.write.read_text()
    for name, text in tables.items():
        pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not pattern.search(page):
            sys.exit(f"error: {options.write}: no place for {name}: <!-- {name} --> and <!-- end -->")
        page = pattern.sub(lambda match, text=text: f"{match[1]}\n{text}\n{match[2]}", page)
    options.write.write_text(page)


if __name__ == "__main__":
    main()
