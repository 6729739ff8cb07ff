"""What people look at: a page of runs, and their comparison.

`softtf report` writes one HTML file that needs nothing else: no network and no script from elsewhere. Its charts are
drawn by matplotlib as SVG. A chart is then part of the page: it prints sharply, follows the page's light or dark
colours, has real text and needs no script. plotly's script alone takes 4 MB, and Vega's nearly 1 MB, of each page.
"""
