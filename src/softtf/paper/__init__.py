"""The paper's image tables: what to run for each row (tables), and what the paper printed there (figures)."""

from softtf.paper.figures import Figure, figure, figures
from softtf.paper.rows import Table, TableRow
from softtf.paper.tables import TABLES, table_named

__all__ = ["TABLES", "Figure", "Table", "TableRow", "figure", "figures", "table_named"]
