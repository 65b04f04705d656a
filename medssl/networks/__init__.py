"""Backbones in 2D and 3D, and their weights in and out."""

from .architecture import Architecture, without_values
from .architectures import (
    ARCHITECTURES,
    fast_layout,
    find_architecture,
    is_architecture,
    last_map_layer,
    network_description,
)
from .backbone import Backbone, build_backbone, build_classifier
from .blocks import encoder_of, layers_above, named_blocks
from .decoder import LightDecoder, PyramidDecoder, TransposedDecoder
from .features import classifier_features, compute_features, new_layers, output_layer
from .headed import with_head
from .public_weights import load_init
from .recomputing import checkpoint_activations
from .segmenter import build_segmenter, segmenter_description
from .source_heads import SourceHeads, give_heads, plain_state
from .state_dicts import load_state_dict, read_description
from .transfer import (
    flexible_unet,
    load_matching_weights,
    monai_weights,
    nnunet_weights,
    repeat_input_channels,
    timm_vit_weights,
    torchvision_weights,
)
from .unet import Segmenter, UNetDecoder
from .vgg import VGG
from .weights import (
    describe_init,
    first_convolution,
    fold_input_copies,
    load_backbone,
    load_backbone_weights,
    load_model_weights,
    model_description,
    save_backbone,
    segmentation_description,
    weights_file,
)

__all__ = [
    "ARCHITECTURES",
    "VGG",
    "Architecture",
    "Backbone",
    "LightDecoder",
    "PyramidDecoder",
    "Segmenter",
    "SourceHeads",
    "TransposedDecoder",
    "UNetDecoder",
    "build_backbone",
    "build_classifier",
    "build_segmenter",
    "checkpoint_activations",
    "classifier_features",
    "compute_features",
    "describe_init",
    "encoder_of",
    "fast_layout",
    "find_architecture",
    "first_convolution",
    "flexible_unet",
    "fold_input_copies",
    "give_heads",
    "is_architecture",
    "last_map_layer",
    "layers_above",
    "load_backbone",
    "load_backbone_weights",
    "load_init",
    "load_matching_weights",
    "load_model_weights",
    "load_state_dict",
    "model_description",
    "monai_weights",
    "named_blocks",
    "network_description",
    "new_layers",
    "nnunet_weights",
    "output_layer",
    "plain_state",
    "read_description",
    "repeat_input_channels",
    "save_backbone",
    "segmentation_description",
    "segmenter_description",
    "timm_vit_weights",
    "torchvision_weights",
    "weights_file",
    "with_head",
    "without_values",
]
