"""`softtf report`: a page of runs."""

import webbrowser

from softtf.cli.options import Report
from softtf.errors import UserError
from softtf.report.page import write_page
from softtf.saying import say
from softtf.screen import Screen


def run(options: Report) -> int:
    """Write the page and say where it is."""
    if not options.runs:
        raise UserError("name the runs to show: softtf report RUN [RUN ...]")
    page = write_page(options.runs, options.output, options.images)
    Screen().print(f"page: {page}", soft_wrap=True)
    if options.open and not webbrowser.open(page.resolve().as_uri()):
        say("no browser could be opened; open the file yourself", error=True)
    return 0
