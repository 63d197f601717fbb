"""Pages in a browser: a small web server for this machine, and what the live page and the playground share.

guard.py     who may ask (the token in the address, Host and Origin), what a page may do, how long a body may be
channel.py   one source of events, many listeners: server-sent events
serve.py     from an application to an address that can be opened
static/      style, drawing and fetching in plain ES modules; nothing is fetched from elsewhere
"""
