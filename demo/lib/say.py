# SPDX-License-Identifier: Apache-2.0
"""What the demo prints: steps, what was checked in each, and tables."""


class Report:
    def __init__(self):
        self.step_count = self.fault_count = 0

    def say(self, text=""):
        print(text, flush=True)

    def step(self, title):
        self.step_count += 1
        self.say(f"\n{self.step_count}. {title}")

    def show(self, text):
        """What somebody else said, indented."""
        for line in text.rstrip("\n").split("\n"):
            self.say("     " + line)

    def check(self, is_so, what, shown=""):
        self.fault_count += not is_so
        self.say(f"   {'ok  ' if is_so else 'FAIL'} {what}")
        if shown:
            self.show(shown)
        return is_so


def table(head, rows):
    lines = [head, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)
