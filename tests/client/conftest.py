"""What the tests of clients are given."""

from __future__ import annotations

import pytest

from tests.client.helping import Transport, secure
from tests.servers.certificates import Certificates


@pytest.fixture(params=["plain", "TLS"])
def transport(request: pytest.FixtureRequest, certificates: Certificates) -> Transport:
    if request.param == "plain":
        return Transport(None, False)
    return Transport(certificates.good().server_context(), secure(certificates))
