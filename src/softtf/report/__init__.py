"""What people look at: a page of runs, and their comparison.

`softtf report` writes one self-contained HTML file, which needs no network and no script from elsewhere. matplotlib
draws its charts as SVG. Each chart is then part of the page: it prints sharply, follows the page's light or dark
colours, has real text and needs no script. (plotly's script alone adds 4 MB to each page, and Vega's nearly 1 MB.)
"""
