"""Stand-ins for the programs that `make deploy` runs: they record, answer by rule, do nothing.

`StandIns` puts terraform, helm, kubectl, docker, aws and git into a folder that is all of PATH.
Each call is kept: program, arguments, standard input, values files. What the calls come to is in
`effects`. A rule names words that the call must have in this order; the newest rule that fits
answers, and what no rule knows answers with nothing and exit code 0. They are shell scripts: a
deployment makes sixty calls, and Python takes its time.
"""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = ("terraform", "helm", "kubectl", "docker", "aws", "git")
#: What the stand-ins themselves are made of; PATH holds nothing else.
ORDINARY = ("sh", "cat", "env", "dirname", "grep", "sed")
#: Variables of a call that are kept with it.
RECORDED = ("TF_DATA_DIR", "KUBECONFIG", "GIT_INDEX_FILE", "REGISTRY", "TAG", "PLATFORM")
VERSIONS = {
    ("git", "--version"): "git version 2.39.5",
    ("aws", "--version"): "aws-cli/2.31.8 Python/3.13.7 Linux/6.1 exe/x86_64",
    ("terraform", "version"): '{"terraform_version": "1.11.4", "platform": "linux_amd64"}',
    ("docker", "version"): "27.5.1",
    ("docker", "buildx", "inspect"): "Name: builder\nDriver: docker-container\n",
    ("kubectl", "version"): '{"clientVersion": {"gitVersion": "v1.35.2"}}',
    ("helm", "version"): "v3.18.4",
}

_END = "\x1e"
# Every word has blanks of its own on both sides, so that a pattern can ask for two neighbours.
_HEAD = """\
#!/bin/sh
here={here}
name=${{0##*/}}
values() {{
    while [ $# -gt 0 ]; do
        case $1 in
            --values=*) cat "${{1#*=}}"; echo; echo --- ;;
            --values) cat "$2"; echo; echo --- ;;
        esac
        shift
    done
}}
line=" $name "
for word; do line="$line $word "; done
stdin=
[ /dev/stdin -ef /dev/null ] || stdin=$(cat)
before=$(cat "$here/lines" 2>/dev/null)
printf '%s\\n' "$line" >>"$here/lines"
printf '%s\\0' {recorded} "$stdin" "$(values "$@")" "$name" "$@" >>"$here/calls"
printf '\\036\\0' >>"$here/calls"
write() {{
    option=$1 text=$2
    shift 2
    while [ $# -gt 0 ]; do
        case $1 in
            "$option="*) cat "$text" >"${{1#*=}}" ;;
            "$option") cat "$text" >"$2" ;;
        esac
        shift
    done
}}
run() {{
    while [ "$1" != -- ]; do shift; done
    shift
    printf '%s' "$stdin" | env $variables "$@"
}}
case $line in
"""


@dataclass(frozen=True)
class Call:
    """One recorded call."""

    argv: list[str]
    stdin: str
    values: str
    """The files of Helm's `--values` as they were then: a YAML document each."""
    variables: dict[str, str]

    def option(self, name: str) -> list[str]:
        """Return all values of an option, in order."""
        pairs = zip(self.argv, self.argv[1:], strict=False)
        spaced = [value for word, value in pairs if word == name]
        return spaced + [w.partition("=")[2] for w in self.argv if w.startswith(f"{name}=")]

    def has(self, *words: str) -> bool:
        """Whether these words are there, in this order."""
        rest = iter(self.argv)
        return all(word in rest for word in words)


class StandIns:
    """The folder of programs, their rules and their log."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bin = directory / "bin"
        self.bin.mkdir(parents=True)
        self._script = directory / "stand-in"
        self._texts = 0
        self._arms: list[str] = []
        for program in ORDINARY:
            found = shutil.which(program)
            assert found is not None
            (self.bin / program).symlink_to(found)
        for program in PROGRAMS:
            (self.bin / program).symlink_to(self._script)
        for words, out in VERSIONS.items():
            self.answer(*words, out=out)

    def answer(
        self,
        *words: str,
        out: str = "",
        err: str = "",
        code: int = 0,
        write: tuple[str, str] | None = None,
        after: str = "",
        run: dict[str, str] | None = None,
    ) -> None:
        """Add a rule.

        `write`: an option, and the text for the file it names. `after`: only once a call had
        this in it. `run`: run what follows `--`, with these variables.
        """
        does = []
        if write is not None:
            does.append(f'write {shlex.quote(write[0])} {self._keep(write[1])} "$@"')
        if run is not None:
            given = " ".join(f"{name}={value}" for name, value in run.items())
            does.append(f'variables={shlex.quote(given)}; run "$@"; exit $?')
        if out:
            does.append(f"cat {self._keep(out)}")
        if err:
            does.append(f"cat {self._keep(err)} >&2")
        does.append(f"exit {code}")
        pattern = "*" + "*".join(shlex.quote(f" {word} ") for word in words) + "*"
        if after:
            # An arm that does not apply must let the older ones have their say: so a round of
            # its own for each.
            arm = (
                f"    {pattern}) case $before in *{shlex.quote(after)}*) {'; '.join(does)};; esac;;"
            )
        else:
            arm = f"    {pattern}) {'; '.join(does)};;"
        self._arms.insert(0, arm)
        rounds = "\nesac\ncase $line in\n".join(self._arms)
        recorded = " ".join(f'"${{{name}-}}"' for name in RECORDED)
        head = _HEAD.format(here=shlex.quote(str(self.directory)), recorded=recorded)
        self._script.write_text(f"{head}{rounds}\nesac\nexit 0\n")
        self._script.chmod(0o755)

    def _keep(self, text: str) -> str:
        self._texts += 1
        path = self.directory / f"text-{self._texts}"
        path.write_text(text)
        return shlex.quote(str(path))

    def remove(self, program: str) -> None:
        (self.bin / program).unlink()

    @property
    def calls(self) -> list[Call]:
        log = self.directory / "calls"
        if not log.exists():
            return []
        found = []
        for record in log.read_bytes().decode().split(f"{_END}\0")[:-1]:
            words = record.split("\0")[:-1]
            variables = dict(zip(RECORDED, words, strict=False))
            stdin, values, *argv = words[len(RECORDED) :]
            found.append(Call(argv, stdin, values, variables))
        return found

    def forget(self) -> None:
        (self.directory / "calls").unlink(missing_ok=True)

    def where(self, *words: str) -> list[Call]:
        """Return the calls that have these words, in this order."""
        return [call for call in self.calls if call.has(*words)]
