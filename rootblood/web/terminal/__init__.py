"""Terminals in browsers: `websocket` is one, `sockets` are all that are open, `endings` how each ends."""
