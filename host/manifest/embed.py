"""Writes a file as a C array of bytes, ended by a zero: embed.py FILE NAME OUTPUT"""

import pathlib
import sys

source, name, output = sys.argv[1:]
data = [*pathlib.Path(source).read_bytes(), 0]
rows = ["    " + " ".join(f"{byte}," for byte in data[at:at + 20]) for at in range(0, len(data), 20)]
text = "\n".join([f"extern const unsigned char {name}[];", f"const unsigned char {name}[] = {{", *rows, "};", ""])
pathlib.Path(output).write_text(text, encoding="ascii")
