"""The web door as people see it: Debian's Chromium on a real server, a real Docker Engine and its real pages."""
