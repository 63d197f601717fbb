"""What a trained network has learned, as plain JSON values: for the report, the live page and a notebook.

Each module looks at one thing (mistakes, calibration, importance of features, filters, ...) and gives None where there
is nothing of the kind to see. Reads networks and data; draws nothing.
"""
