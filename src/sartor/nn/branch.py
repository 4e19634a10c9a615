"""An encoder with a second way through its upper layers: the frozen one, and one with an adapter.

The frozen states stay what they were, so that whatever was built on them still holds; the adapted last layer comes
beside them. The layers below the adapter are run once.
"""

from collections.abc import Mapping

from torch import Tensor, nn
from typing_extensions import override

from sartor.errors import BundleError
from sartor.nn import lora
from sartor.nn.encoder import BertEncoder, EncoderConfig
from sartor.types import Weights

_LAYER = "encoder.layer."


def first_layer(adapter: Weights) -> int:
    """Return the lowest layer that an adapter changes, 0 being the one above the embeddings.

    Raises:
        BundleError: if it changes anything but layers.
    """
    places = [name.removeprefix(_LAYER).partition(".")[0] for name in adapter]
    if not places or not all(
        name.startswith(_LAYER) and at.isdigit() for name, at in zip(adapter, places, strict=True)
    ):
        raise BundleError(
            "An adapter beside the frozen encoder must name layers, as encoder.layer.3; this one does not."
        )
    return min(map(int, places))


class BranchedEncoder(nn.Module):
    """Token ids to the frozen states of every layer, and the last layer's with an adapter."""

    def __init__(self, encoder: BertEncoder, adapter: Weights) -> None:
        super().__init__()
        self._set(encoder, lora.merged(encoder, adapter), first_layer(adapter))

    def _set(self, encoder: BertEncoder, other: BertEncoder, start: int) -> None:
        self.config: EncoderConfig = encoder.config
        self.start = start
        self.frozen = encoder
        self.upper = nn.ModuleList(list(_layers(other))[start:])

    @override
    def forward(self, ids_BT: Tensor, keep_BT: Tensor | None = None) -> list[Tensor]:
        """Return ``layers + 2`` tensors (B, T, H): the frozen states as the encoder gives them, then the adapted last.

        Args:
            ids_BT: token ids.
            keep_BT: True for real tokens, False for padding; None when there is no padding.
        """
        states = self.frozen(ids_BT, keep_BT)
        keep_B11T = None if keep_BT is None else keep_BT[:, None, None, :]
        state_BTH = states[self.start]
        for layer in self.upper:
            state_BTH = layer(state_BTH, keep_B11T)
        return [*states, state_BTH]


def beside(encoder: BertEncoder, other: BertEncoder, start: int) -> BranchedEncoder:
    """Return a frozen encoder with another one's layers from ``start`` on as the second way."""
    made = BranchedEncoder.__new__(BranchedEncoder)
    nn.Module.__init__(made)
    made._set(encoder, other, start)
    return made


def upper_states(
    encoder: BertEncoder, adapter: Mapping[str, Tensor], states_BTH: Tensor, keep_BT: Tensor | None
) -> Tensor:
    """Return the last layer (B, T, H) from the states below the adapter; differentiable in the adapter.

    What training needs: the layers below never change, and their states are computed once for the whole run.
    """
    keep_B11T = None if keep_BT is None else keep_BT[:, None, None, :]
    for layer in list(_layers(lora.bypassed(encoder, adapter)))[first_layer(adapter) :]:
        states_BTH = layer(states_BTH, keep_B11T)
    return states_BTH


def _layers(encoder: nn.Module) -> nn.ModuleList:
    return encoder.encoder["layer"]  # pyright: ignore[reportIndexIssue, reportArgumentType, reportReturnType]
