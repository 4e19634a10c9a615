"""Numbers in float64 that only a change of meaning can change. ``python -m tests.nn.test_golden`` prints new ones."""

import sys
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # as conftest does, for the command above

import tiny_base
from sartor.nn import solve
from sartor.nn.features import unit

ENCODER = {
    "layer 0": [-0.6594842096983196, 1.1460514848959746, -0.01961747075749143, 0.9218773933354565],
    "layer 1": [-1.0022105743211458, 1.2779147145306047, -0.8017560988168146, -0.6186152344708464],
    "layer 2": [-2.482154470088778, -0.4827910804651593, -2.418862998337259, -1.3359414304504655],
}
SOLVER = {
    "out of sample": [
        0.7365966752471764,
        0.2806678074675988,
        0.46534390450899676,
        0.14965472500230656,
        0.831181830507959,
        0.514619462072876,
    ],
    "bias": [0.6669514879881576, 0.3316738503819314, 0.5003554772338451],
    "last": [-0.07977452440072386, 0.08055372920188059, 0.0],
    "words": [0.008505993256828562, -0.00888386248071899, 0.0],
    "rest": [0.04426995540154234, 0.2305084600577334, 0.0967829903870471, 0.21371099066059981],
    "temperature": [5.454811378383336],
}


def encoder_values() -> dict[str, list[float]]:
    """Return the first numbers of the closing token after the embeddings and after each layer."""
    encoder = tiny_base.encoder(seed=7).double()
    ids_BT = torch.tensor([tiny_base.tokenizer().encode("refund the broken app").ids, [2, 5, 3, 0, 0, 0]])
    with torch.inference_mode():
        states = encoder(ids_BT, ids_BT != 0)
    return {f"layer {at}": states_BTH[:, 2, :2].flatten().tolist() for at, states_BTH in enumerate(states)}


def problem() -> solve.Problem:
    """Twelve rows of waves, three labels of which the last has no row."""
    n = np.arange(12.0)[:, None]
    targets = np.array([0, 1] * 6)
    blocks = {
        name: unit(np.sin((1 + at) * n + np.arange(4) ** 2) + 0.8 * targets[:, None])
        for at, name in enumerate(("first", "low", "mid", "last", "peak"))
    }
    sparse = np.where(blocks["low"] > 0.3, blocks["low"], 0)
    similarity = np.cos(n + np.arange(3))
    return solve.Problem(
        {**blocks, "words": sp.csr_matrix(sparse), "characters": sp.csr_matrix(blocks["mid"])},
        similarity - similarity.mean(axis=1, keepdims=True),
        targets,
        n_labels=3,
    )


def solver_values() -> dict[str, list[float]]:
    """Return numbers of every part of a solution."""
    found = solve.solve(problem(), seed=0)
    return {
        "out of sample": found.out_of_sample[[0, 11]].flatten().tolist(),
        "bias": found.bias.tolist(),
        "last": found.weights["last"][0].tolist(),
        "words": found.weights["words"][1].tolist(),
        "rest": [found.prior, found.penalty, found.loss, float(found.block_weights["mid"])],
        "temperature": [solve.temperature(found.out_of_sample, problem().targets, guess=3.5)],
    }


def test_the_encoder_gives_the_numbers_it_always_gave():
    for name, values in encoder_values().items():
        np.testing.assert_allclose(values, ENCODER[name], rtol=1e-9, err_msg=name)


def test_the_solver_gives_the_numbers_it_always_gave():
    for name, values in solver_values().items():
        # weights pass through single precision on their way back to features
        exact = name in ("out of sample", "rest")
        np.testing.assert_allclose(values, SOLVER[name], rtol=1e-9 if exact else 1e-5, err_msg=name)


if __name__ == "__main__":
    for title, values in (("ENCODER", encoder_values()), ("SOLVER", solver_values())):
        print(f"{title} = {{")  # noqa: T201
        for name, numbers in values.items():
            print(f'    "{name}": {numbers},')  # noqa: T201
        print("}")  # noqa: T201
