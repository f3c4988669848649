"""`tsgc report`: a run, or several compared, as one self-contained HTML file."""

from tsgc.report.write import write_report

__all__ = ["write_report"]
