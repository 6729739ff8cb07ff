"""`softtf compare`: runs side by side, or runs on your own data that show which training is worth it."""

from softtf.cli import compare_data
from softtf.cli.groups import show_groups
from softtf.cli.options import Compare
from softtf.cli.options.command import flag
from softtf.errors import UserError
from softtf.evaluation.report import markdown_table
from softtf.report.comparison import HEADERS, groups_of, table, to_csv
from softtf.report.found import read_run, runs_in
from softtf.report.verdict import rankings
from softtf.saying import say
from softtf.screen import Screen

FOR_DATA = ("recipe", "scale", "set", "output", "at_once")


def run(options: Compare) -> int:
    """Print the comparison; with `source`, make the runs first."""
    if options.source is not None:
        if options.runs or options.csv or options.markdown:
            raise UserError("--source makes runs and has its own table; leave out the runs, --csv and --markdown")
        return compare_data.run(options, options.source)
    if not options.runs:
        raise UserError("name the runs to compare: softtf compare RUN [RUN ...]; or your data, with --source")
    if unread := [name for name in options.given() if name in FOR_DATA]:
        raise UserError(f"{flag(unread[0])} goes with --source")
    if options.csv and options.markdown:
        raise UserError("--csv and --markdown are two forms of one table; give one of them")
    groups = groups_of([read_run(path) for path in runs_in(options.runs)])
    if options.csv:
        say(to_csv(groups).removesuffix("\n"))
    elif options.markdown:
        headers, body = table(groups)
        say(markdown_table(headers, body, range(len(HEADERS), len(headers))).removesuffix("\n"))
    else:
        show_groups(groups, Screen())
        for ranking in rankings(groups):
            if len(ranking.groups) > 1:
                say(f"ahead, {ranking}")
    return 0
