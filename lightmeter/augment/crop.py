"""Random crops, enlarged to the whole picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from lightmeter.augment.base import BatchContext, Drawn, is_number, like, require, require_share
from lightmeter.augment.singly import Change, Picture, one_by_one


@dataclass(frozen=True, slots=True)
class RandomResizedCrop:
    """A box of random area, shape and place, resized bilinearly to the size of the picture.

    A box is never larger than the picture, so it is only ever enlarged and needs no antialiasing. It is cut from the
    canvas, not from the original file: a small box is softer than the same box of a large photograph would be, which
    is the price of decoding each file once. Edges lie between whole pixels.

    Args:
        min_area: smallest share of the picture's area; shares up to 1 are as likely.
        max_ratio: widest shape, width over height; 1 / max_ratio is the narrowest, and logarithms are as likely.

    Source: Szegedy et al., 2014. Ours cuts a box that would not fit to the picture's side instead of drawing again.
    """

    min_area: float = 0.25
    max_ratio: float = 4 / 3

    def __post_init__(self) -> None:
        require_share("random_resized_crop", "min_area", self.min_area, above=0.01)
        wide = is_number(self.max_ratio) and 1 <= self.max_ratio <= 10
        require(wide, f"random_resized_crop was given max_ratio={self.max_ratio!r}", "a number 1 to 10")

    def draw(self, shape: torch.Size, context: BatchContext, generator: torch.Generator) -> Drawn:
        """box: int64[N, 4], top, left, height and width in whole pixels."""
        n, height, width, _ = shape
        area, ratio, down, right = torch.rand(4, n, generator=generator)
        area = self.min_area + (1 - self.min_area) * area
        ratio = torch.exp((2 * ratio - 1) * math.log(self.max_ratio))
        tall = ((area / ratio).sqrt() * height).round().clamp(1, height)
        wide = ((area * ratio).sqrt() * width).round().clamp(1, width)
        top, left = (down * (height - tall + 1)).floor(), (right * (width - wide + 1)).floor()
        return {"box": torch.stack([top, left, tall, wide], dim=1).long()}

    def apply(self, pixels: Tensor, targets: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """See `Augmentation`."""
        if pixels.device.type != "cpu":
            return sampled(pixels, drawn["box"]), targets
        return one_by_one(pixels.numpy(), [self.change(pixels.shape, drawn)]), targets

    def change(self, shape: torch.Size, drawn: Drawn) -> Change:
        """See `Singly`."""
        boxes, (_, height, width, _) = drawn["box"].tolist(), shape

        def crop(place: int, picture: Picture, room: Picture) -> Picture:
            top, left, tall, wide = boxes[place]
            cv2.resize(picture[top : top + tall, left : left + wide], (width, height), dst=room)
            return room

        return crop


def sampled(pixels: Tensor, box: Tensor) -> Tensor:
    """Boxes int64[N, 4] of pictures [N, S, S, C], resized for the whole batch at once, as a GPU wants it.

    OpenCV's bilinear filter one by one, which is several times faster on a processor, agrees to a grey level.
    """
    n, height, width, _ = pixels.shape
    top, left, tall, wide = box.to(torch.float32).unsqueeze(2).unbind(1)  # [N, 1] each
    # Centres of pixels, kept inside the box, so that nothing beyond it comes in; then grid_sample's own count, from
    # -1 at the outer edge of the first pixel to 1 at that of the last.
    down = (torch.arange(height, device=pixels.device) + 0.5) / height
    right = (torch.arange(width, device=pixels.device) + 0.5) / width
    y = 2 * torch.clamp(top + tall * down, top + 0.5, top + tall - 0.5) / height - 1
    x = 2 * torch.clamp(left + wide * right, left + 0.5, left + wide - 0.5) / width - 1
    shape = (n, height, width)
    grid = torch.stack([x.unsqueeze(1).expand(shape), y.unsqueeze(2).expand(shape)], dim=3)
    planes = pixels.permute(0, 3, 1, 2).to(torch.float32).contiguous()  # its kernel is fastest on whole planes
    planes = F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return like(planes, pixels).permute(0, 2, 3, 1).contiguous()
