"""`make lock-images`: pins each image of others by the digest that its registry has for the tag.

A tag can be moved to another image, a digest cannot. For a tag with several platforms it is the
digest of the list. If a digest cannot be looked up, the image stays as it is.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
#: The files that name images of others, by tag or digest.
FILES = tuple(
    ROOT / name
    for name in ("images/bases.json", "compose.yaml", "helm/wis2-global-cache/values.yaml")
)
NAMED = re.compile(
    r'("default": "|image: (?:\$\{\w+:-)?)([^\s"@${}]+:[^\s"@${}]+)(?:@(sha256:[0-9a-f]{64}))?'
)
#: EMQX's image, in three parts.
IN_PARTS = re.compile(r'(repository: (\S+)\n +tag: (\S+)\n(?: +#.*\n)* +digest: )"([^"\n]*)"')


def lock(files: Sequence[Path] = FILES) -> list[str]:
    """Write the digests into the files; return what went wrong."""
    problems = []

    def ask(image: str, known: str) -> str:
        asked = ("docker", "buildx", "imagetools", "inspect", image, "--format")
        done = subprocess.run(  # noqa: S603 - docker from the PATH
            [*asked, "{{json .Manifest}}"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            problems.append(f"{image} stays {known or 'without a digest'}: {done.stderr.strip()}")
        return known if done.returncode else str(json.loads(done.stdout)["digest"])

    def pinned(found: re.Match[str]) -> str:
        before, image, known = found.groups()
        digest = ask(image, known or "")
        return f"{before}{image}{'@' if digest else ''}{digest}"

    for file in files:
        text = NAMED.sub(pinned, file.read_text("utf-8"))
        text = IN_PARTS.sub(lambda m: f'{m[1]}"{ask(f"{m[2]}:{m[3]}", m[4])}"', text)
        file.write_text(text, encoding="utf-8")
    return problems


def main(files: Sequence[Path] = FILES) -> str | None:
    """Return the process's exit: the text of what went wrong, or None for exit code 0."""
    return "\n".join(lock(files)) or None


if __name__ == "__main__":
    sys.exit(main())
