"""Tables of benchmarks/nw_ucla/README.md from the results of benchmarks/search_nw_ucla.py.

    python benchmarks/search_tables.py stage1.jsonl stage2.jsonl      # prints
    python benchmarks/search_tables.py --write benchmarks/nw_ucla/README.md benchmarks/nw_ucla/results/*.jsonl

With --write the parts of the page between `<!-- NAME -->` and `<!-- end -->` are replaced, NAME being
a file's name without its ending.
"""

import argparse
import re
import sys
from pathlib import Path

from nw_ucla.search import read_results
from nw_ucla.tables import final_table, look_table, trial_table


def rendered(path: Path) -> str:
    """The tables of one results file: of trials, or of final runs and looks at the test split."""
    lines = read_results(path)
    finals = [line for line in lines if line["fold"] == "all"]
    trials = [line for line in lines if line["fold"] != "all"]
    parts = [trial_table(trials)] if trials else []
    if finals:
        parts += [final_table(finals), final_table(finals, "last"), look_table(finals)]
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--write", type=Path, help="a page to put the tables into")
    options = parser.parse_args()
    tables = {path.stem: rendered(path) for path in options.results}
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
