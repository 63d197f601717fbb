"""What a trained network has learned, as plain JSON values: for the report, the live page and a notebook.

`inspect.inspect` looks at everything. Each module looks at one thing (mistakes, calibration, importance of columns,
filters, ...) and gives None where there is nothing of the kind to see. Reads networks and data; draws nothing.
"""
