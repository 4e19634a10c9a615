"""An encoder that onnxruntime runs: the same pooled vectors as the torch encoder's, from a file in a bundle.

Dimension key:   B: texts in a batch   T: tokens   H: hidden width   P: pooled blocks
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartor.errors import BundleError, UserError

MISSING = "This model's encoder is run by the package onnxruntime: say pip install 'sartor[onnx]'."


@dataclass(frozen=True, slots=True)
class Engine:
    """A loaded graph of ``sartor.compress.text_onnx``."""

    session: Any = field(repr=False)
    blocks: int
    """P."""

    def pooled(self, ids_BT: NDArray[np.int64], real_BT: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return (B, P, H) unit vectors.

        Args:
            ids_BT: token ids, padded.
            real_BT: True where a token is no padding.
        """
        return self.session.run(["pooled"], {"ids": ids_BT, "real": real_BT})[0]


def load_engine(content: bytes, blocks: int, threads: int) -> Engine:
    """Return the engine in a file of a bundle.

    Raises:
        UserError: if onnxruntime is not there.
        BundleError: if it cannot read the file.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError(MISSING) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # threads that spin while they wait take the cores of whoever works beside us
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the package has no error of its own
        message = str(error).split("\n", 1)[0][:200]
        raise BundleError(f"The encoder in this bundle cannot be read ({message}). Take the bundle again.") from error
    return Engine(session, blocks)
