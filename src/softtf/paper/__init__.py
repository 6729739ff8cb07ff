"""The paper's tables: the runs of each row (`tables`), and the paper's results (`figures`)."""

from softtf.paper.figures import Figure, figure, figures
from softtf.paper.rows import Table, TableRow
from softtf.paper.tables import TABLES, table_named

__all__ = ["TABLES", "Figure", "Table", "TableRow", "figure", "figures", "table_named"]
