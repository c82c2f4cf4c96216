from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lightmeter.exporters import EXPORTERS
from lightmeter.nouns.bundle import GRAPH, Bundle
from lightmeter.runners import RUNNERS, open_runner
from tests.bundles import Net


@pytest.mark.parametrize("name", sorted(EXPORTERS))
def test_an_exporter_writes_what_the_runners_read(name: str, bundle: Bundle, tmp_path: Path) -> None:
    module = Net().train()
    EXPORTERS[name](module, tmp_path / GRAPH, size=24, channels=3)
    assert module.training
    written = bundle.model_copy(update={"path": tmp_path, "graph": name})
    pixels = np.random.default_rng(1).integers(0, 256, (3, 24, 24, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = Net().eval()(torch.from_numpy(pixels)).numpy()
    for runner in RUNNERS:
        np.testing.assert_allclose(open_runner(written, threads=1, by=runner)(pixels), expected, atol=1e-4)
