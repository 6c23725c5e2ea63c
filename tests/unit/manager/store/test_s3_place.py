from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wis2_gc_common.errors import SettingsError
from wis2_gc_common.settings.values import StoreUrl
from wis2_gc_manager.store.s3.credentials import new_session
from wis2_gc_manager.store.s3.place import BucketPlace, find_place

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    return config


def place(bucket: str = "bucket", prefix: str = "", **environment: str) -> BucketPlace:
    return find_place(StoreUrl("s3", bucket, prefix), new_session(), environment)


def test_a_bucket_of_aws_is_in_the_host_name() -> None:
    found = place(prefix="a/b", AWS_REGION="eu-west-1")
    assert found.origin == "https://bucket.s3.eu-west-1.amazonaws.com"
    assert (found.root, found.prefix, found.is_aws, found.is_tls) == ("", "a/b/", True, True)
    assert found.path("x") == "/a/b/x"


def test_a_bucket_with_a_dot_is_in_the_path_for_no_certificate_covers_it() -> None:
    found = place("data.example.org", AWS_REGION="eu-west-1")
    assert found.origin == "https://s3.eu-west-1.amazonaws.com"
    assert found.path("x") == "/data.example.org/x"


def test_a_prefix_leaves_room_for_the_longest_key_of_an_item() -> None:
    parts = "/".join(["p" * 50] * 7)
    assert place(prefix=parts[:352], AWS_REGION="eu-west-1").prefix.startswith("p")
    with pytest.raises(SettingsError, match="GC_STORE_URL: has a prefix of more than 353 bytes"):
        place(prefix=f"{parts[:350]}/ppp", AWS_REGION="eu-west-1")


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("cn-north-1", "s3.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "s3.us-gov-west-1.amazonaws.com"),
        ("us-east-1", "s3.us-east-1.amazonaws.com"),
    ],
)
def test_each_partition_has_its_own_hosts(region: str, host: str) -> None:
    assert place(AWS_REGION=region).authority == f"bucket.{host}"


def test_the_region_may_come_from_the_profile(
    no_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_settings.write_text("[profile p]\nregion = eu-north-1\n")
    monkeypatch.setenv("AWS_PROFILE", "p")
    assert place().region == "eu-north-1"
    assert place(AWS_REGION="eu-west-3").region == "eu-west-3"


@pytest.mark.parametrize(
    ("environment", "variable", "origin"),
    [
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"},
            "AWS_ENDPOINT_URL",
            "http://127.0.0.1:9000",
        ),
        ({"AWS_ENDPOINT_URL": "https://minio:443/"}, "AWS_ENDPOINT_URL", "https://minio"),
        ({"AWS_ENDPOINT_URL": "http://[::1]:9"}, "AWS_ENDPOINT_URL", "http://[::1]:9"),
        (
            {"AWS_ENDPOINT_URL": "http://other", "AWS_ENDPOINT_URL_S3": "http://s3:80"},
            "AWS_ENDPOINT_URL_S3",
            "http://s3",
        ),
    ],
)
def test_another_server_has_the_bucket_in_the_path(
    environment: dict[str, str], variable: str, origin: str
) -> None:
    found = place(**environment)
    assert (found.origin, found.root, found.endpoint_variable) == (origin, "/bucket", variable)
    assert found.region == "us-east-1"
    assert not found.is_aws


def test_other_servers_can_be_ignored_as_with_the_sdk() -> None:
    found = place(
        AWS_ENDPOINT_URL="http://x",
        AWS_IGNORE_CONFIGURED_ENDPOINT_URLS="true",
        AWS_REGION="eu-west-1",
    )
    assert found.is_aws


@pytest.mark.parametrize(
    "url",
    ["ftp://x", "http://", "http://u:hidden@x", "http://x/path", "http://x?q=1", "http://x:y"],
)
def test_an_address_that_is_none_names_its_variable_and_shows_no_password(url: str) -> None:
    with pytest.raises(SettingsError, match="AWS_ENDPOINT_URL") as caught:
        place(AWS_ENDPOINT_URL=url)
    assert "hidden" not in str(caught.value)


def test_fips_and_dual_stack_are_the_sdks_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "true")
    found = place(AWS_REGION="us-east-1")
    assert found.authority == "bucket.s3-fips.dualstack.us-east-1.amazonaws.com"


def test_a_missing_or_wrong_region_is_told() -> None:
    with pytest.raises(SettingsError, match="AWS_REGION: is not set"):
        place()
    for region in ("nowhere", "eu west", "eu-west-1/.."):
        with pytest.raises(
            SettingsError, match=r"AWS_REGION: .* is not a region|AWS_REGION: is not"
        ):
            place(AWS_REGION=region)


def test_a_profile_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "none")
    with pytest.raises(SettingsError, match="AWS_PROFILE: the AWS SDK's own settings are wrong"):
        place(AWS_REGION="eu-west-1")


@pytest.mark.parametrize("prefix", ["a//b", "../a", ".incoming", "a/b.~x"])
def test_a_prefix_that_no_key_can_begin_with_is_refused(prefix: str) -> None:
    with pytest.raises(SettingsError, match="GC_STORE_URL: has a prefix"):
        place(prefix=prefix, AWS_REGION="eu-west-1")


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a b", "/a%20b"),
        ("a+b=c&d;e,f", "/a%2Bb%3Dc%26d%3Be%2Cf"),
        ("a%2Fb", "/a%252Fb"),
        ("~a-b_c.d", "/~a-b_c.d"),
        ("ü/*'()", "/%C3%BC/%2A%27%28%29"),
        ("a?b#c:d@e", "/a%3Fb%23c%3Ad%40e"),
    ],
)
def test_a_path_has_nothing_unencoded_but_what_signatures_leave(key: str, path: str) -> None:
    assert place(AWS_REGION="eu-west-1").path(key) == path
