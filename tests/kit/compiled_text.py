"""Reading what the compiler made of a program."""

import re


def while_bodies(text):
    """The computations that loops repeat, by name, with the lines of each."""
    computations, name = {}, None
    for line in text.splitlines():
        head = re.match(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$", line)
        if head and not line.startswith(" "):
            name = head.group(1)
            computations[name] = []
        elif name:
            computations[name].append(line)
    loops = re.findall(r"body=%?([\w.\-]+)", text)
    return {loop: computations[loop] for loop in loops}
