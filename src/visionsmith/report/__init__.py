"""What people look at: tables, plots, contact sheets and one self-contained HTML page.

| module       | makes                                                                  |
|--------------|------------------------------------------------------------------------|
| `tables`     | how a value is written, and tables for Markdown and the terminal       |
| `plots`      | curves and bars as PNG, in one style                                   |
| `sheet`      | contact sheets: many pictures with captions in one picture             |
| `lettering`  | the text on them, in any script                                        |
| `page`       | one HTML file that holds everything it shows                           |
| `run_report` | the report of a training's run folder                                  |
| `console`    | results on standard output, as tables or JSON                          |

Nothing is imported here: `console`, `tables` and `page` stay light, `plots` and `sheet` need matplotlib.
"""
