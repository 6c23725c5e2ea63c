"""What the recorded calls of `make deploy` would have done, and to what.

Tests assert these and not command lines, so the same effect may be had with other words. This
module alone knows what the programs' words mean: which cluster a context leads to, which state a
data directory belongs to, which plan is applied. A call that would fail or lead elsewhere (an
image pushed without a login, a context of no known cluster), and one that nobody has told the
meaning of, is an error.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from testkit.deployment.chart import merged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.deployment.stand_ins import Call

#: Options that take no value after a space.
_FLAGS = {
    "--all", "--atomic", "--cleanup-on-fail", "--client", "--create-namespace", "--force-conflicts",
    "--ignore-not-found", "--include-planned-deletion", "--install", "--overwrite",
    "--password-stdin", "--push", "--rollback-on-failure", "--server-side", "--wait", "-i",
}  # fmt: skip
#: Verbs that change nothing, neither in AWS nor in the cluster nor in the checkout.
_ASKS = re.compile(
    r"terraform (version|show|output|state list)|helm (version|history|show)"
    r"|kubectl (version|get|rollout status|wait|events|logs|exec)"
    r"|docker (version|info|buildx inspect|buildx version)"
    r"|aws( --version| [a-z0-9-]+ (get|list|describe|head)-[a-z-]+)"
    r"|git (--version|rev-parse|status|log|remote|write-tree)"
)
#: What of it may be done before anything is made: without the state, and without a cluster.
_LOOKS_AROUND = re.compile(r"(terraform|helm|kubectl) version|docker .*|aws .*|git .*")


@dataclass(frozen=True)
class Infrastructure:
    """Terraform has applied a plan of `folder` for an environment, or a plan to destroy it."""

    folder: str
    state: str
    variables: str
    is_destroyed: bool = False


@dataclass(frozen=True)
class Forgotten:
    """Resources that stay, but are no longer in Terraform's state."""

    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Secret:
    """A secret has a new value."""

    name: str
    value: Any


@dataclass(frozen=True)
class Images:
    """Services' images have been built and pushed."""

    registry: str
    tag: str
    platform: str
    services: frozenset[str]


@dataclass(frozen=True)
class Objects:
    """Objects have been applied to a cluster."""

    cluster: str
    items: list[dict[str, Any]]


@dataclass(frozen=True)
class Release:
    """A chart has been installed or upgraded."""

    cluster: str
    namespace: str
    name: str
    chart: str
    version: str
    values: dict[str, Any]
    is_taken_back: bool
    """If it fails."""
    helm: int
    """The Helm whose way of waiting and of applying it was."""


@dataclass(frozen=True)
class RolledBack:
    """A release runs an earlier revision again."""

    cluster: str
    namespace: str
    name: str
    revision: str
    helm: int


@dataclass(frozen=True)
class Uninstalled:
    """A release has been removed."""

    cluster: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Deleted:
    """Objects of a kind have been deleted."""

    cluster: str
    kind: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Refetched:
    """External Secrets has been told to fetch."""

    cluster: str
    namespace: str


Effect = (
    Infrastructure | Forgotten | Secret | Images | Objects | Release | RolledBack | Uninstalled
    | Deleted | Refetched
)  # fmt: skip


@dataclass(frozen=True)
class _Words:
    """A command line, taken apart."""

    verbs: list[str]
    options: dict[str, list[str]]

    @classmethod
    def of(cls, argv: list[str]) -> _Words:
        verbs: list[str] = [argv[0]]
        options: dict[str, list[str]] = {}
        rest = argv[1 : argv.index("--")] if "--" in argv else argv[1:]
        while rest:
            name, equals, value = rest.pop(0).partition("=")
            if not name.startswith("-"):
                verbs.append(name + equals + value)
                continue
            if name.startswith("-f-"):
                name, value = "--filename", "-"
            elif not (equals or name in _FLAGS or argv[0] == "terraform") and rest:
                value = "" if rest[0].startswith("-") else rest.pop(0)
            options.setdefault(name, []).append(value)
        return cls(verbs, options)

    def one(self, *names: str) -> str:
        """Return the option's value under any of its names; empty: it is not there."""
        found = [value for name in names for value in self.options.get(name, ())]
        assert len(found) <= 1, found
        return found[0] if found else ""


@dataclass
class _World:
    """What earlier calls have made, which later ones refer to."""

    contexts: dict[tuple[str, str], str] = field(default_factory=dict)
    states: dict[tuple[str, str], str] = field(default_factory=dict)
    plans: dict[str, Infrastructure] = field(default_factory=dict)
    logins: dict[str, str] = field(default_factory=dict)

    def effect(self, call: Call) -> Effect | None:
        words = _Words.of(call.argv)
        match words.verbs:
            case ["terraform", verb, *rest]:
                return self._terraform(call, words, verb, rest)
            case ["docker", "login", host]:
                self.logins[host] = call.stdin
            case ["docker", "buildx", "bake", *services] if "--push" in words.options:
                registry = call.variables["REGISTRY"].removesuffix("/")
                assert self.logins[registry.partition("/")[0]]
                return Images(registry, call.variables["TAG"], call.variables["PLATFORM"],
                              frozenset(services))  # fmt: skip
            case ["aws", "eks", "update-kubeconfig"]:
                where = (words.one("--kubeconfig"), words.one("--alias"))
                self.contexts[where] = words.one("--name")
            case ["aws", "secretsmanager", "put-secret-value"]:
                assert words.one("--secret-string") == "file:///dev/stdin"
                return Secret(words.one("--secret-id"), json.loads(call.stdin))
            case ["git", "add"]:
                # Otherwise it would be the operator's own index.
                assert call.variables["GIT_INDEX_FILE"]
            case ["helm", verb, *rest] if not asks(call):
                return self._helm(call, words, verb, rest)
            case ["kubectl", verb, *rest] if not asks(call):
                return self._kubectl(call, words, verb, rest)
            case _:
                assert asks(call), call.argv
                if words.one("--context", "--kube-context"):
                    self._cluster(call, words)
        return None

    def _cluster(self, call: Call, words: _Words) -> str:
        context = words.one("--context", "--kube-context")
        return self.contexts[call.variables["KUBECONFIG"], context]

    def _terraform(
        self, call: Call, words: _Words, verb: str, rest: list[str]
    ) -> Infrastructure | Forgotten | None:
        folder = words.one("-chdir")
        where = (folder, call.variables["TF_DATA_DIR"])
        if verb == "init":
            backend = dict(text.split("=", 1) for text in words.options.get("-backend-config", ()))
            self.states[where] = "/".join(backend[k] for k in ("bucket", "key") if backend)
        elif verb == "plan":
            self.plans[words.one("-out")] = Infrastructure(
                folder, self.states[where], Path(words.one("-var-file")).name,
                is_destroyed="-destroy" in words.options,
            )  # fmt: skip
        elif verb == "apply" and rest:
            return self.plans.pop(rest[0])
        elif verb == "apply":
            local = self.states[where] or Path(words.one("-state")).name
            variables = " ".join(sorted(words.options.get("-var", ())))
            return Infrastructure(folder, local, variables)
        elif [verb, *rest[:1]] == ["state", "rm"]:
            assert self.states[where]
            return Forgotten(tuple(rest[1:]))
        else:
            assert asks(call), call.argv
        return None

    def _helm(self, call: Call, words: _Words, verb: str, rest: list[str]) -> Effect:
        where = (self._cluster(call, words), words.one("--namespace", "-n"))
        # Helm 4 waits and applies as 3 does if it is told to.
        helm = {("", ""): 3, ("legacy", "false"): 4}[
            words.one("--wait"), words.one("--server-side")
        ]
        assert "--wait" in words.options
        match verb, rest:
            case "upgrade", [name, chart]:
                assert "--install" in words.options
                values = merged(*(each for each in yaml.safe_load_all(call.values) if each))
                back = {3: "--atomic", 4: "--rollback-on-failure"}[helm]
                return Release(*where, name, chart, words.one("--version"), values,
                               is_taken_back=back in words.options, helm=helm)  # fmt: skip
            case "rollback", [name, revision]:
                return RolledBack(*where, name, revision, helm)
            case "uninstall", [name]:
                return Uninstalled(*where, name)
        raise AssertionError(call.argv)

    def _kubectl(self, call: Call, words: _Words, verb: str, rest: list[str]) -> Effect:
        cluster = self._cluster(call, words)
        match verb, rest:
            case "apply", []:
                assert words.one("--filename", "-f") == "-"
                items = []
                for document in yaml.safe_load_all(call.stdin):
                    items += document.get("items", [document])
                return Objects(cluster, items)
            case "delete", [kind, *names]:
                return Deleted(cluster, kind, tuple(names))
            case "annotate", ["externalsecret", mark] if mark.startswith("force-sync="):
                return Refetched(cluster, words.one("--namespace", "-n"))
        raise AssertionError(call.argv)


def asks(call: Call) -> bool:
    """Whether a call changes nothing."""
    return bool(_ASKS.match(_told(call)))


def looks_around(call: Call) -> bool:
    """Whether a call changes nothing and requires nothing that a deployment makes."""
    return asks(call) and bool(_LOOKS_AROUND.fullmatch(_told(call)))


def _told(call: Call) -> str:
    """Return the program and its verbs, options apart."""
    verbs = _Words.of(call.argv).verbs
    return " ".join(verbs if len(verbs) > 1 else call.argv)


def effects(calls: Iterable[Call]) -> list[Effect]:
    """Return what the calls would have done, in order."""
    world = _World()
    return [effect for call in calls if (effect := world.effect(call))]
