from pathlib import Path

import pytest
from pytest_django import Settings

from tests.factories import make_app, make_cluster, make_node, make_team, make_user

from .cloud import FileCloud
from .fleet import Fleet


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> FileCloud:
    monkeypatch.setenv("SGT_CLOUD", str(tmp_path / "cloud"))
    settings.EGRESS_PROVIDER = "tests.integration.control.cloud.from_environment"
    return FileCloud(tmp_path / "cloud")


@pytest.fixture
def fleet(db: None, cloud: FileCloud) -> Fleet:
    user = make_user()
    cluster = make_cluster()
    nodes = [make_node(cluster), make_node(cluster)]
    return Fleet(cluster=cluster, app=make_app(make_team(user), cluster), user=user, cloud=cloud, nodes=nodes)
