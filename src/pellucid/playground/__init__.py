"""Networks to play with: data, a network and a training that goes one update at a time, with all its numbers open.

No web here: `pellucid.web` shows it in a browser.
"""
