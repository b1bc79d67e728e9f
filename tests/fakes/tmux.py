"""A stand-in for an environment's tmux: its sessions are the lines of the file `tmux`, as `-F` has them.

Its panes are the lines of the file `tmux-panes`, its clients those of `tmux-clients`; what one is shown goes
to the file `tmux-shown`. While there is a file `tmux-hold` it waits.
"""

import sys
import time
from pathlib import Path


def main() -> None:
    while Path("tmux-hold").exists():
        time.sleep(0.01)
    sessions = Path("tmux")
    lines = sessions.read_text().splitlines(keepends=True) if sessions.exists() else []
    if "list-sessions" in sys.argv:
        sys.stdout.writelines(lines)
    if "list-panes" in sys.argv and Path("tmux-panes").exists():
        sys.stdout.write(Path("tmux-panes").read_text())
    if "list-clients" in sys.argv and Path("tmux-clients").exists():
        sys.stdout.write(Path("tmux-clients").read_text())
    if "display-message" in sys.argv:
        with Path("tmux-shown").open("a") as shown:
            shown.write(f"{sys.argv[sys.argv.index('-c') + 1]} {sys.argv[-1]}\n")
    if "kill-session" in sys.argv:
        sessions.write_text("".join(line for line in lines if line.split("\t")[0] != sys.argv[-1]))


if __name__ == "__main__":
    main()
