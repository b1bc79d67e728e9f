"""Measure everything once and print a table of ratios against their targets."""

import sys

from bench import browser, measure, tarball
from bench.peers import peers

CIPHERS = ("aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com")
WAYS = ("exec down", "exec up", "sftp down", "sftp up")

_FAILED = 1


class Report:
    """Rows as they are measured; at the end, whether every target was met."""

    def __init__(self) -> None:
        self.missed = 0
        self._print("what", "ratio", "target", "")

    def at_most(self, what: str, ratio: float, target: float, figures: str) -> None:
        """A ratio that should be small."""
        self._row(what, ratio, f"<= {target:g}", figures, met=ratio <= target)

    def at_least(self, what: str, ratio: float, target: float, figures: str) -> None:
        """A ratio that should be large."""
        self._row(what, ratio, f">= {target:g}", figures, met=ratio >= target)

    def _row(self, what: str, ratio: float, target: str, figures: str, *, met: bool) -> None:
        self.missed += not met
        self._print(what, f"{ratio:.2f}", target, f"{'met   ' if met else 'MISSED'}  {figures}")

    def _print(self, what: str, ratio: str, target: str, rest: str) -> None:
        sys.stdout.write(f"{what:<52}{ratio:>7}  {target:<8}  {rest}".rstrip() + "\n")
        sys.stdout.flush()


def milliseconds(*figures: float, digits: int = 0) -> str:
    """Figures beside a ratio."""
    return " / ".join(f"{figure * 1000:.{digits}f}" for figure in figures) + " ms"


def main() -> int:
    """Run the comparison; 1 when a target was missed."""
    report = Report()
    with peers() as all_peers:
        ours, forced, bare = measure.login(all_peers)
        report.at_most("ssh host true / sshd + docker exec", ours / forced, 0.45, milliseconds(ours, forced))
        report.at_most("ssh host true / bare sshd", ours / bare, 0.75, milliseconds(ours, bare))
        channel, exec_true = measure.next_channel(all_peers)
        report.at_most(
            "next channel / docker exec true", channel / exec_true, 0.25, milliseconds(channel, exec_true)
        )
        first, by_hand = measure.first_login(all_peers)
        report.at_most(
            "first login / docker run, docker exec", first / by_hand, 1.3, milliseconds(first, by_hand)
        )
        for cipher in CIPHERS:
            for way in WAYS:
                ours, forced, bare = measure.bulk(all_peers, cipher, way)
                short = cipher.partition("@")[0]
                figures = f"{ours:.1f} / {forced:.1f} / {bare:.1f} s (bare sshd: {bare / ours:.2f})"
                report.at_least(
                    f"1 GB {way}, {short}: speed / sshd + docker exec", forced / ours, 1.0, figures
                )
        for kind, spent in tarball.tarballs(all_peers):
            figures = f"{spent.pipe:.1f} / {spent.drive:.1f} / {spent.peer:.1f} s"
            for door, ours in (("pipe", spent.pipe), ("drive", spent.drive)):
                report.at_least(f"{kind}, {door}: speed / docker exec tar", spent.peer / ours, 0.9, figures)
            for door, first in (("pipe", spent.pipe_first_byte), ("HTTP", spent.http_first_byte)):
                report.at_most(f"{kind}, {door}: first byte / 300 ms", first / 0.3, 1.0, milliseconds(first))
        key, key_direct = browser.key_echo(all_peers)
        above = key.p99 - key_direct.p99
        median = milliseconds(key.median, key_direct.median, digits=2)
        figures = f"{milliseconds(key.p99, key_direct.p99, digits=1)} (median: {median})"
        report.at_most("browser key echo, p99: above ttyd direct / 2 ms", above / 0.002, 1.0, figures)
        shown, shown_direct = browser.output(all_peers)
        figures = f"{shown:.1f} / {shown_direct:.1f} s"
        report.at_least("browser output, 50 MB: speed / ttyd direct", shown_direct / shown, 0.8, figures)
        listed, loaded = measure.command(all_peers)
        report.at_most(
            "rootblood user list / import sqlalchemy", listed / loaded, 3.0, milliseconds(listed, loaded)
        )
        idle = measure.idle_session_kib(all_peers)
        report.at_most("memory of an idle session / 150 KB", idle / 146.5, 1.0, f"{idle:.0f} KiB")
    return _FAILED if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
