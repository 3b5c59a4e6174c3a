"""What several tests need."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real test data, which does not ship with the project."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("IMGTOOL_SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real test data at {folder}; set IMGTOOL_SHARED_DATA")
    return folder
