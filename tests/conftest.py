"""What tests share: the builds of the kernels, and where the larger data sets may be found."""

import os
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import settings

from imgtool import _ext, filters

# No deadlines: machines are shared. CI tries the same examples every time, so that red always means that the change is
# at fault; at home new ones are looked for, and `just fuzz` looks for many.
settings.register_profile(
    "imgtool",
    deadline=None,
    derandomize="CI" in os.environ,
    max_examples=int(os.environ.get("IMGTOOL_EXAMPLES", "100")),
)
settings.load_profile("imgtool")


@pytest.fixture(params=_ext.SUPPORTED)
def isa(request, monkeypatch):
    """Run a test once with each build of the kernels that this processor runs."""
    for module, names in _ext.KERNELS.items():
        build = import_module(f"imgtool._ext.{module}_{request.param}")
        for name in names:
            monkeypatch.setattr(_ext, name, getattr(build, name))
    # Plans hold objects of the build that made them.
    filters.forget()
    yield request.param
    filters.forget()


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real images with known truth that lies beside a development checkout."""
    folder = Path(os.environ.get("IMGTOOL_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the shared data set is not on this machine; set IMGTOOL_SHARED_DATA to its folder")
    return folder
