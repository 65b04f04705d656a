"""The weights, read and put into no network yet: tensors alone, and finite."""

from collections.abc import Iterator

from medssl.errors import UserError
from medssl.networks import load_state_dict

from .bundle import Bundle


def loadable(bundle: Bundle) -> Iterator[str]:
    """Name weights that are no plain state dict by ``torch.load(…, weights_only=True)``, or not finite."""
    for file in bundle.files:
        if not file.endswith((".pt", ".pth")):
            continue
        try:
            state = load_state_dict(bundle.folder / file)
        except UserError as error:
            yield str(error)
            continue
        if not state:
            yield f"{file} holds no weights."
        bad = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
        if bad:
            yield f"{file} is not finite in {len(bad)} of its {len(state)} weights, the first is {bad[0]}."
