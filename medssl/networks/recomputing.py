"""Less memory for more time: of each block the input alone is kept, and the rest computed again for the gradient.

(Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost.)
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache, partial
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils.checkpoint import checkpoint

from .blocks import named_blocks
from .unet import Block


def checkpoint_activations(network: nn.Module, architecture: str, enabled: bool = True) -> nn.Module:
    """Let the blocks of a backbone, and of the U-Net decoder on it, keep no activations for the gradient.

    A step gives the same numbers, and costs about one forward pass more. Names of weights stay.

    Args:
        network: a pre-training's model, a classifier or a segmenter, which is changed.
        architecture: a key of ``ARCHITECTURES``.
        enabled: whether to do so.

    Returns:
        The network.

    Raises:
        UserError: the backbone is no sequence of blocks.
    """
    if not enabled:
        return network
    decoder: list[Any] = [module for module in network.modules() if isinstance(module, Block)]
    for block in [*(block for _, block in named_blocks(network, architecture)), *decoder]:
        block.__class__ = _recomputing(block.__class__)
    return network


@cache
def _recomputing(kind: Any) -> type[nn.Module]:
    """A class of the same name and members that computes its answer again for the gradient."""

    def forward(self: nn.Module, *inputs: Any, **values: Any) -> Any:
        if not torch.is_grad_enabled():
            return kind.forward(self, *inputs, **values)
        contexts = partial(_contexts, self)
        return checkpoint(partial(kind.forward, self), *inputs, use_reentrant=False, context_fn=contexts, **values)

    return type(kind.__name__, (kind,), {"forward": forward, "__doc__": kind.__doc__})


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """In what a block is computed for the first and for the second time."""
    # torch restores autocast by itself, but no modes, such as that of `medssl.training.MixedPrecision`.
    return nullcontext(), _once_more(block, _get_current_function_mode_stack())


@contextmanager
def _once_more(block: nn.Module, modes: Sequence[TorchFunctionMode]) -> Iterator[None]:
    """Batch normalisation counts the same images a second time in copies of its statistics, which are thrown away."""
    norms = [module for module in block.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    kept = [dict(norm.named_buffers(recurse=False)) for norm in norms]
    for norm, buffers in zip(norms, kept, strict=True):
        for name, buffer in buffers.items():
            setattr(norm, name, buffer.clone())
    try:
        with ExitStack() as stack:
            for mode in modes:
                stack.enter_context(mode)
            yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
