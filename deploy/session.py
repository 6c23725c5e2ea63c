"""What all steps have in hand."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.commands import Commands
    from deploy.environment import Environment


@dataclass(frozen=True, slots=True)
class Session:
    """One run of `make deploy` or of one of its steps."""

    environment: Environment
    commands: Commands
    say: Callable[[str], None]
    """Shows one line."""
    ask: Callable[[str], str] | None
    """Shows a question and returns what is typed; None: nobody is there to answer."""
    ask_secret: Callable[[str], str] | None = None
    """The same, without showing what is typed."""
    confirmation: str = ""
    """What `CONFIRM=` said: stands for the answer where nobody is there."""
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = field(default=time.time)

    @property
    def helm(self) -> tuple[str, ...]:
        """Return helm, for this cluster."""
        return "helm", "--kube-context", self.environment.cluster_name

    def kubectl(self, namespace: str = "") -> tuple[str, ...]:
        """Return kubectl, for this cluster."""
        where = ("-n", namespace) if namespace else ()
        return "kubectl", "--context", self.environment.cluster_name, *where

    def confirm(self, what: str, *, word: str, is_typed: bool = False) -> None:
        """Have `word` typed before something serious begins.

        `is_typed`: CONFIRM does not stand for it.
        Raises Refused: another word, or nobody to ask and no CONFIRM=`word`.
        """
        if self.confirmation and not is_typed:
            answer = self.confirmation
        elif self.ask is None:
            raise Refused(f"{what}: nobody is here to confirm; CONFIRM={word} says yes")
        else:
            answer = self.ask(f'{what}. Type "{word}" to go on: ').strip()
        if answer != word:
            raise Refused(f"{what}: not confirmed")
