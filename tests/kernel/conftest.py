"""The kernel of a test; a fresh one for each, as they are interrupted and searched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.kernels import Kernel, new_kernel


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    with new_kernel(tmp_path) as kernel:
        yield kernel
