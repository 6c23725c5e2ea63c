from __future__ import annotations

from wis2_gc_common.runtime.client_id import mqtt_client_id

CENTRE = "xx-test-global-cache"
SECRET = b"0123456789abcdef"


def test_a_client_id_says_who_we_are_and_ends_in_what_only_the_secret_tells() -> None:
    # This very text: another one after an upgrade would leave the session behind.
    client_id = mqtt_client_id(
        b"0123456789abcdef", centre_id="de-dwd-global-cache", broker_name="fr"
    )
    assert client_id == "de-dwd-global-cache-fr-972dc1f32c232df0"
    other = mqtt_client_id(b"0123456789abcdeF", centre_id="de-dwd-global-cache", broker_name="fr")
    assert other[:-16] == client_id[:-16]
    assert other[-16:] != client_id[-16:]


def test_a_client_id_has_at_most_100_characters_and_no_two_brokers_the_same() -> None:
    long = {"centre_id": "x" * 64, "secret": b"0123456789abcdef"}
    ids = {mqtt_client_id(broker_name="y" * 31 + end, **long) for end in "ab"}  # type: ignore[arg-type]
    assert len(ids) == 2
    assert {len(client_id) for client_id in ids} == {100}
