"""The address of a PostgreSQL store in the documents, with a real server of Debian's package."""

from __future__ import annotations

import re
from pathlib import Path

from mlflow import MlflowClient

from support.postgresql import needs_postgresql, server

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tracking.md"

pytestmark = needs_postgresql


def test_the_address_in_the_documents_opens_a_store() -> None:
    (uri,) = re.findall(r"--backend-store-uri (postgresql[^`]+)`", DOCUMENT.read_text(encoding="utf-8"))
    assert uri == "postgresql+psycopg://user@dbhost/mlflow"
    with server() as port:
        client = MlflowClient(uri.replace("dbhost/mlflow", f"127.0.0.1:{port}/postgres"))
        run = client.create_run(client.create_experiment("digits"))
        client.log_metric(run.info.run_id, "loss", 0.5)
        assert client.get_run(run.info.run_id).data.metrics == {"loss": 0.5}
