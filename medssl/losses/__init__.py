"""The losses as pure functions, and as small modules where a config needs an object. One kind a file."""

from .agreement import barlow_twins, negative_cosine, variance_floor, vicreg
from .classification import (
    LABEL_LOSSES,
    AsymmetricPartialLoss,
    PartialBCELoss,
    PartialCrossEntropyLoss,
    asymmetric_partial,
    label_loss,
    partial_bce,
    partial_cross_entropy,
)
from .contrast import info_nce, mixture_info_nce, nt_xent, predictive_ratio, queue_info_nce
from .distillation import dino, distance_distillation
from .gathering import gather_with_gradient
from .isotropy import lejepa, sigreg
from .position import voco
from .segmentation import (
    SEGMENTATION_LOSSES,
    SegmentationLoss,
    class_masks,
    class_probabilities,
    marginal_exclusion,
    partial_dice_bce,
    soft_dice,
)
from .similarity import linear_cka

__all__ = [
    "LABEL_LOSSES",
    "SEGMENTATION_LOSSES",
    "AsymmetricPartialLoss",
    "PartialBCELoss",
    "PartialCrossEntropyLoss",
    "SegmentationLoss",
    "asymmetric_partial",
    "barlow_twins",
    "class_masks",
    "class_probabilities",
    "dino",
    "distance_distillation",
    "gather_with_gradient",
    "info_nce",
    "label_loss",
    "lejepa",
    "linear_cka",
    "marginal_exclusion",
    "mixture_info_nce",
    "negative_cosine",
    "nt_xent",
    "partial_bce",
    "partial_cross_entropy",
    "partial_dice_bce",
    "predictive_ratio",
    "queue_info_nce",
    "sigreg",
    "soft_dice",
    "variance_floor",
    "vicreg",
    "voco",
]
