"""The web door as people see it: Debian's Chromium on a real server and a real Docker Engine."""
