from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local.parts.nginx import Nginx

if TYPE_CHECKING:
    from pathlib import Path


def test_everything_nginx_writes_is_in_its_directory(tmp_path: Path) -> None:
    text = Nginx(tmp_path / "a b", root=tmp_path / "files").configuration()
    directory = tmp_path / "a b"
    for line in text.splitlines():
        words = line.split(maxsplit=1)
        if words and (words[0] in ("pid", "lock_file") or words[0].endswith("_temp_path")):
            assert words[1].startswith(f'"{directory}/')
    assert f'error_log "{directory}/nginx.log"' in text


def test_objects_have_a_path_of_their_own(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path, root=tmp_path, port=28080, path="/objects/")
    assert nginx.base_url == "http://127.0.0.1:28080/objects"
    with pytest.raises(ValueError, match="path of their own"):
        Nginx(tmp_path, root=tmp_path, path="")


def test_clients_here_reach_a_server_that_listens_everywhere(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path, root=tmp_path, port=28080, host="0.0.0.0")
    assert nginx.base_url == "http://127.0.0.1:28080/data"
    assert "listen 0.0.0.0:28080 " in nginx.configuration()


def test_a_client_address_is_limited_where_a_limit_is_given(tmp_path: Path) -> None:
    assert "limit_conn " not in Nginx(tmp_path, root=tmp_path).configuration()
    text = Nginx(tmp_path, root=tmp_path, connections_per_address=7).configuration()
    assert "limit_conn addresses 7;" in text
