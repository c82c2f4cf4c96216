"""Studies: whole experiments, from arms to a table and a verdict, by name."""

from __future__ import annotations

from collections.abc import Callable

from lightmeter.studies.alexnet import alexnet, alexnet_two_classes
from lightmeter.studies.base import Arm, Pictures, Scale, Study
from lightmeter.studies.epochs import epochs
from lightmeter.studies.frozen_batchnorm import frozen_batchnorm
from lightmeter.studies.ladder import ladder
from lightmeter.studies.mobilenet_finetune import mobilenet_finetune
from lightmeter.studies.own_transfer import more_data, own_transfer
from lightmeter.studies.tiny_cnn import tiny_cnn
from lightmeter.studies.tiny_search import tiny_search
from lightmeter.studies.unfreeze_sweep import unfreeze_sweep
from lightmeter.studies.vgg_ablation import vgg_ablation

STUDIES: dict[str, Callable[[], Study]] = {
    "ladder": ladder,
    "vgg-ablation": vgg_ablation,
    "tiny-cnn": tiny_cnn,
    "tiny-search": tiny_search,
    "alexnet": alexnet,
    "alexnet-two-classes": alexnet_two_classes,
    "frozen-batchnorm": frozen_batchnorm,
    "own-transfer": own_transfer,
    "more-data": more_data,
    "unfreeze-sweep": unfreeze_sweep,
    "mobilenet-finetune": mobilenet_finetune,
    "epochs": epochs,
}
"""Name to function() -> Study."""

__all__ = ["STUDIES", "Arm", "Pictures", "Scale", "Study"]
