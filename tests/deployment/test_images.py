"""The images, built and run: `make test-images` (without an engine all of this is skipped)."""

# ruff: noqa: T201 - prints what it measured
from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from deploy.environment import SERVICES
from images.lock import ROOT
from local.parts.ports import free_port
from testkit.deployment.building import build
from testkit.deployment.containers import (
    HARDENING,
    Container,
    ContainerWorld,
    give_away,
    require_engine,
)
from testkit.deployment.docker import DockerError, docker
from testkit.messages.wnm import inline, unique_data_id, wnm
from testkit.servers.nodes import Answer, Node
from testkit.worlds.world import World, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(900)

MAX_ADDED_BYTES = 90_000_000
MAX_START_S = 2.0
CANARY = "gc-canary-5b1f93d0e7"


@pytest.fixture(scope="session")
def bases() -> tuple[str, str]:
    return require_engine()


@pytest.fixture(scope="session")
def images(bases: tuple[str, str]) -> dict[str, str]:
    """Image by service, built on a build base that knows a secret."""
    base, build_base = bases
    # As a site's own build base would: a mirror with a password, in the environment and a file.
    secretive = "wis2-gc-test-build-base"
    docker(
        "build", "--tag", secretive, "-",
        data=f"FROM {build_base}\nENV PIP_EXTRA_INDEX_PASSWORD={CANARY}\n"
        f"RUN echo {CANARY} >/etc/mirror-password\n".encode(),
    )  # fmt: skip
    own = {"TAG": "test", "REGISTRY": "", "BASE": base, "BUILD_BASE": secretive}
    return build(SERVICES, {**os.environ, **own})


def inspect(reference: str) -> dict[str, Any]:
    (found,) = json.loads(docker("image", "inspect", reference))
    return dict(found)


@pytest.fixture(scope="session")
def contents(
    images: dict[str, str], bases: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, tarfile.TarInfo]]:
    """What each image holds that its base does not, by path."""
    directory = tmp_path_factory.mktemp("contents")
    inside = {
        name: files_of(reference, directory)
        for name, reference in {**images, "base": bases[0]}.items()
    }
    base = inside.pop("base")
    return {
        service: {path: info for path, info in files.items() if path not in base}
        for service, files in inside.items()
    }


def files_of(reference: str, directory: Path) -> dict[str, tarfile.TarInfo]:
    name = docker("create", "--entrypoint", "/none", reference)
    archive = directory / "export.tar"
    try:
        docker("export", "--output", str(archive), name)
    finally:
        docker("rm", name)
    with tarfile.open(archive) as tar:
        files = {member.name: member for member in tar}
    archive.unlink()
    return files


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def image(service: str, images: dict[str, str]) -> str:
    return images[service]


# What is in them


def test_an_image_adds_little_to_its_base(
    image: str, bases: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    added = inspect(image)["Size"] - inspect(bases[0])["Size"]
    with capsys.disabled():
        print(f"\n  {image} adds {added / 1e6:.1f} MB to {bases[0]}")
    assert 0 < added <= MAX_ADDED_BYTES


def test_an_image_stays_small_and_quick_on_a_base_without_byte_code(
    images: dict[str, str], bases: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    # The official slim base is such a one: what compiling adds to it counts too.
    bare = "wis2-gc-test-bare-base"
    docker(
        "build", "--tag", bare, "-",
        data=f"FROM {bases[0]}\nRUN find / -xdev -name __pycache__ -prune -exec rm -rf {{}} +\n"
        .encode(),
    )  # fmt: skip
    own = {"TAG": "bare", "REGISTRY": "", "BASE": bare, "BUILD_BASE": bases[1]}
    image = build(["manager"], {**os.environ, **own})["manager"]
    added = inspect(image)["Size"] - inspect(bare)["Size"]
    with capsys.disabled():
        print(f"\n  {image} adds {added / 1e6:.1f} MB to a base without byte code")
    assert added <= MAX_ADDED_BYTES
    # All that the command imports of Python's own library has its byte code.
    docker(
        "run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c",
        "import os, sys, wis2_gc_manager.main\n"
        "bare = [m.__file__ for m in list(sys.modules.values()) if getattr(m, '__cached__', None)"
        " and not os.path.exists(m.__cached__)]\n"
        "sys.exit(f'no byte code: {bare}' if bare else 0)",
    )  # fmt: skip


def test_it_runs_as_a_number_that_is_not_root(image: str) -> None:
    assert inspect(image)["Config"]["User"] == "65532:65532"
    printed = docker("run", "--rm", "--network", "none", "--entrypoint", "id", image)
    assert "uid=65532" in printed
    assert "gid=65532" in printed


def test_signals_reach_the_service_itself(service: str, image: str) -> None:
    config = inspect(image)["Config"]
    assert config["Entrypoint"] == [f"/opt/wis2-gc/bin/wis2-gc-{service}"]
    assert not config["Cmd"]


def test_labels_say_what_it_is_and_where_it_is_from(service: str, image: str) -> None:
    labels = inspect(image)["Config"]["Labels"]
    known = {name.removeprefix("org.opencontainers.image."): text for name, text in labels.items()}
    assert known["title"] == f"wis2-gc-{service}"
    assert known["licenses"] == "Apache-2.0"
    project = tomllib.loads((ROOT / f"services/{service}/pyproject.toml").read_text())
    assert known["version"] == project["project"]["version"]
    commit = known["revision"].removesuffix("-changed")
    subprocess.run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, check=True)
    assert known["base.name"] == os.environ["BASE"]
    assert {"description", "created", "source"} <= set(known)


def test_nothing_that_builds_or_installs_is_inside(
    image: str, contents: dict[str, dict[str, tarfile.TarInfo]], service: str
) -> None:
    commands = "pip pip3 uv gcc cc make git hatchling strip wheel activate"
    docker(
        "run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c",
        f"for c in {commands}; do ! command -v $c || exit 1; done;"
        "! python -c 'import pip' 2>&- && ! python -c 'import setuptools' 2>&-",
    )  # fmt: skip
    packages = {
        path.split("/")[5]
        for path in contents[service]
        if path.startswith("opt/wis2-gc/lib/python3.") and path.count("/") > 5
    }
    assert not packages & {"pip", "setuptools", "wheel", "hatchling", "uv", "pytest", "mypy"}
    assert "wis2_gc_common" in packages


def test_only_the_manager_s_image_has_the_operator_s_command(
    contents: dict[str, dict[str, tarfile.TarInfo]], service: str
) -> None:
    operator = [path for path in contents[service] if path == "opt/wis2-gc/bin/wis2-gc"]
    operator += [path for path in contents[service] if path.endswith("/wis2_gc_operator/main.py")]
    assert len(operator) == (2 if service == "manager" else 0)


def test_no_clutter_is_inside(
    contents: dict[str, dict[str, tarfile.TarInfo]], service: str
) -> None:
    added = contents[service]
    outside = [
        path for path in added
        if not path.startswith(("opt/wis2-gc/", "usr/lib/python3.", "usr/local/lib/python3."))
    ]  # fmt: skip
    assert set(outside) <= {"opt", "opt/wis2-gc", "etc/passwd-", "etc/group-"}
    assert not [p for p in added if p.endswith((".pyx", ".pyi", ".c", ".h", ".whl", ".sh"))]
    assert not [p for p in added if p.startswith("opt/") and {"tests", "test"} & set(p.split("/"))]
    assert not [p for p in added if "/include/" in p]


def test_every_module_has_its_byte_code(
    contents: dict[str, dict[str, tarfile.TarInfo]], service: str
) -> None:
    files = contents[service]
    modules = [p for p in files if p.startswith("opt/wis2-gc/lib/") and p.endswith(".py")]
    assert len(modules) > 100
    version = modules[0].split("/")[3].removeprefix("python").replace(".", "")
    missing = []
    for path in modules:
        folder, _, name = path.rpartition("/")
        if f"{folder}/__pycache__/{name[:-3]}.cpython-{version}.pyc" not in files:
            missing.append(path)
    assert not missing


def test_the_service_can_change_nothing_of_its_image(
    contents: dict[str, dict[str, tarfile.TarInfo]], service: str
) -> None:
    for path, info in contents[service].items():
        assert info.uid == 0, path
        if not info.issym():
            assert not info.mode & 0o022, path
            assert not info.mode & 0o6000, path


def test_botocore_knows_the_services_we_call(image: str) -> None:
    docker(
        "run", "--rm", "--network", "none", *HARDENING, "--entrypoint", "python", image, "-c",
        "import boto3, botocore.session\n"
        "for name in ('sqs', 's3', 'sts', 'sso', 'sso-oidc'):\n"
        "    botocore.session.get_session().create_client(name, region_name='eu-west-1')\n",
    )  # fmt: skip


def test_no_secret_of_the_build_is_in_a_layer_or_the_history(
    images: dict[str, str], tmp_path: Path
) -> None:
    for service, image in images.items():
        history = docker("history", "--no-trunc", "--format", "{{json .}}", image)
        assert CANARY not in history + json.dumps(inspect(image)), service
        archive = tmp_path / f"{service}.tar"
        docker("save", "--output", str(archive), image)
        assert not find_in_layers(archive, CANARY.encode())
        archive.unlink()


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    # A link has none, and may lead to another layer's file: extractfile() would look for that.
    file = archive.extractfile(member) if member.isfile() else None
    return file.read() if file else b""


def find_in_layers(archive: Path, needle: bytes) -> list[str]:
    """Return files of layers, deleted ones too, that hold the needle or are our CA."""
    found = []
    with tarfile.open(archive) as tar:
        for member in tar:
            if not member.isfile():
                continue
            data = _content(tar, member)
            try:
                layer = tarfile.open(fileobj=io.BytesIO(data))  # noqa: SIM115 - closed below
            except tarfile.TarError:
                found += [member.name] if needle in data else []
                continue
            with layer:
                for file in layer:
                    body = _content(layer, file)
                    if "machine-ca" in file.name or needle in body:
                        found.append(f"{member.name}: {file.name}")
    return found


def test_a_secret_that_lies_around_is_not_sent_to_the_engine(
    bases: tuple[str, str], tmp_path: Path
) -> None:
    context = tmp_path / "context"
    for name in ("services", "requirements", "images"):
        shutil.copytree(ROOT / name, context / name)
    shutil.copyfile(ROOT / ".dockerignore", context / ".dockerignore")
    for name in (".env", ".git/config", ".state/password", "services/.env", "images/token",
                 "deploy/secret", "requirements/private.txt"):  # fmt: skip
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(CANARY)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /context/\n")
    docker("build", "--tag", "wis2-gc-test-context", str(context))
    files = files_of("wis2-gc-test-context", tmp_path)
    assert "context/services/manager/pyproject.toml" in files
    sent = {path for path in files if path.startswith("context/") and files[path].isfile()}
    assert not [p for p in sent if p.endswith((".env", "config", "password", "token", "secret"))]
    assert "context/requirements/private.txt" not in sent
    assert not [p for p in sent if "__pycache__" in p or p.endswith("Dockerfile")]


# How they run


def run_and_fail(image: str, **environment: str) -> tuple[int, str]:
    command = ["docker", "run", "--rm", "--network", "none", *HARDENING]
    for name, value in environment.items():
        command += ["--env", f"{name}={value}"]
    done = subprocess.run(
        [*command, image], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_a_missing_setting_is_one_line(service: str, image: str) -> None:
    code, said = run_and_fail(image)
    assert code == 2
    assert said.startswith(f"wis2-gc-{service}: GC_CENTRE_ID: is not set")
    assert said.count("\n") == 1


def test_a_wrong_setting_is_one_line_without_its_password(service: str, image: str) -> None:
    code, said = run_and_fail(
        image, GC_CENTRE_ID="xx-test-global-cache", GC_REDIS_URL=f"http://u:{CANARY}@h"
    )
    assert code == 2
    assert "GC_REDIS_URL" in said
    assert CANARY not in said
    assert said.count("\n") == 1


@pytest.fixture(scope="module")
def world(
    images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ContainerWorld]:
    directory = tmp_path_factory.mktemp("image-world")
    world = ContainerWorld(directory, images, GC_RETRY_DELAYS="1,1")
    try:
        yield world
    finally:
        world.close()


TOPIC = "origin/a/wis2/tt-images/data/core/weather/surface-based-observations/synop"


def test_the_cache_in_containers_downloads_stores_and_announces(world: ContainerWorld) -> None:
    cache_two_items(world)


def test_the_cache_in_containers_works_on_sqs_and_s3(
    images: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUE", "sqs")
    monkeypatch.setenv("STORE", "s3")
    world = ContainerWorld(tmp_path, images)
    try:
        assert world.environment["GC_STORE_URL"].startswith("s3://")
        assert world.environment["GC_QUEUE_URL"].startswith("http://127.0.0.1:")
        cache_two_items(world)
    finally:
        world.close()


def cache_two_items(world: ContainerWorld) -> None:
    node = Node()
    try:
        linked, inlined = unique_data_id("linked"), unique_data_id("inline")
        body = os.urandom(200_000)
        world.publish(TOPIC, wnm(data_id=linked, href=node.serve("/a.bufr", body)), brokers="ab")
        world.publish(TOPIC, wnm(data_id=inlined, content=inline(b"BUFR 7777")), brokers="ba")
        assert world.get(world.announced(linked).link()["href"])[2] == body
        assert world.get(world.announced(inlined).link()["href"])[2] == b"BUFR 7777"
        world.settle()
        assert world.counters("tt-images") == {"downloaded_total": 2}
        assert len(world.announcements(linked)) == len(world.announcements(inlined)) == 1
    finally:
        node.close()


def test_the_operator_s_command_runs_in_the_manager_s_image(world: ContainerWorld) -> None:
    manager = world.containers["manager-1"]
    assert "Usage" in manager.execute("wis2-gc", "--help").title()
    assert json.loads(manager.execute("wis2-gc", "status", "--json"))


def test_nothing_is_written_but_to_the_store(world: ContainerWorld) -> None:
    for container in world.containers.values():
        changed = docker("diff", container.name).splitlines()
        # Where the volume is mounted; on a read-only root there can be nothing else.
        assert not [
            line for line in changed
            if not str(world.store).startswith(line.split(" ", 1)[1]) and "/tmp" not in line
        ]  # fmt: skip


def parts_alone(world: World, service: str) -> dict[str, str]:
    """Return the settings of one more service beside the running world."""
    extra = {
        "GC_HTTP_PORT": str(free_port()),
        "GC_GLOBAL_BROKER_URL": f"mqtt://everyone:everyone@127.0.0.1:{world.brokers['a'].port}",
        "GC_GLOBAL_BROKER_NAME": "extra",
        "GC_INSTANCE": "extra",
    }
    return {**world.environment, **extra}


def test_it_is_ready_soon_after_its_start(
    world: ContainerWorld, service: str, image: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    took: list[float] = []
    # The best of three: what else this machine does is not the image's fault.
    while len(took) < 3 and (not took or min(took) > MAX_START_S):
        settings = parts_alone(world, service)
        container = Container(
            image, settings, tmp_path / "log", "--volume", f"{world.store}:{world.store}"
        )
        try:
            url = f"http://127.0.0.1:{settings['GC_HTTP_PORT']}/readyz"
            wait_until(partial(is_ready, world, url), f"{service} is ready", timeout=30)
            took.append(time.time() - container.started_at)
        finally:
            code = container.stop()
        assert code == 0, container.log
    with capsys.disabled():
        print(f"\n  {image} is ready {min(took):.2f} s after its start")
    assert min(took) <= MAX_START_S


def is_ready(world: World, url: str) -> bool:
    try:
        return world.get(url)[0] == 200
    except OSError:
        return False


def test_the_health_check_tells_well_from_unwell(
    world: ContainerWorld, service: str, image: str, tmp_path: Path
) -> None:
    settings = parts_alone(world, service)
    container = Container(
        image, settings, tmp_path / "log",
        "--volume", f"{world.store}:{world.store}",
        "--health-interval", "1s", "--health-retries", "1", "--health-start-period", "0s",
    )  # fmt: skip
    try:
        wait_until(lambda: health_of(container) == "healthy", "it is healthy", timeout=30)
        with pytest.raises(DockerError):
            container.execute(
                "env",
                f"GC_HTTP_PORT={free_port()}",
                "python",
                "-IS",
                "/opt/wis2-gc/bin/healthcheck",
            )
        # A process that hangs answers no more.
        docker("kill", "--signal", "STOP", container.name)
        wait_until(lambda: health_of(container) == "unhealthy", "it is unhealthy", timeout=30)
        docker("kill", "--signal", "CONT", container.name)
    finally:
        assert container.stop() == 0


def test_another_user_and_no_writable_file_at_all_will_do(
    world: ContainerWorld, service: str, image: str, tmp_path: Path
) -> None:
    store = tmp_path / "objects"
    store.mkdir()
    give_away(store, image, owner="1234:4321")
    settings = {**parts_alone(world, service), "GC_STORE_URL": store.as_uri()}
    container = Container(
        image, settings, tmp_path / "log", "--volume", f"{store}:{store}", "--user", "1234:4321",
        hardening=("--read-only", "--cap-drop", "ALL"),
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{settings['GC_HTTP_PORT']}/readyz"
        wait_until(lambda: is_ready(world, url), f"{service} is ready", timeout=30)
        assert container.execute("id", "-u") == "1234"
    finally:
        code = container.stop()
    assert code == 0, container.log


def health_of(container: Container) -> str:
    return str(container.inspect()["State"]["Health"]["Status"])


def test_what_is_begun_is_finished_before_the_exit_code_0(
    images: dict[str, str], tmp_path: Path
) -> None:
    world = ContainerWorld(tmp_path, images)
    node = Node()
    gate = threading.Event()
    try:
        data_id = unique_data_id("slow")
        href = node.serve("/slow", Answer(b"slow but sure", gate=gate))
        world.publish(TOPIC, wnm(data_id=data_id, href=href))
        wait_until(lambda: node.requests["/slow"], "the download has begun")
        managers = [world.containers[name] for name in ("manager-1", "manager-2")]
        with ThreadPoolExecutor() as pool:
            stops = [pool.submit(manager.stop) for manager in managers]
            wait_until(lambda: "draining" in "".join(m.log for m in managers), "SIGTERM is felt")
            gate.set()
            # Announced by a manager that is stopping: there is no other.
            assert world.get(world.announced(data_id).link()["href"])[2] == b"slow but sure"
            assert [stop.result() for stop in stops] == [0, 0]
        for name in ("listener-a", "listener-b", "metrics"):
            began = time.monotonic()
            assert world.containers[name].stop() == 0, name
            assert time.monotonic() - began < 10, name
    finally:
        gate.set()
        node.close()
        world.close()
