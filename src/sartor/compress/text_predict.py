"""Labels for texts, without torch: reads a text a line, prints its label and how sure it is.

    pip install -r requirements.txt
    python run.py < texts.txt

Needs model.onnx, model.json and tokenizer.json beside it, and the packages numpy, onnxruntime and tokenizers. As a
module: ``Model().predict(["a text"])`` gives (label, confidence, abstain) for each text. ``--json`` prints JSON lines.

Written by Sartor; the hashed n-grams are those of scikit-learn's HashingVectorizer.
"""

import json
import re
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

_WORD = re.compile(r"(?u)\b\w+\b")
_SPACES = re.compile(r"\s\s+")


def murmur3(data):
    """Return MurmurHash3 (x86, 32 bits, seed 0) of bytes as a signed number."""
    h, mask, whole = 0, 0xFFFFFFFF, len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * 0xCC9E2D51 & mask
        k = ((k << 15 | k >> 17) & mask) * 0x1B873593 & mask
        h ^= k
        h = ((h << 13 | h >> 19) & mask) * 5 + 0xE6546B64 & mask
    if len(data) > whole:
        k = int.from_bytes(data[whole:], "little") * 0xCC9E2D51 & mask
        h ^= ((k << 15 | k >> 17) & mask) * 0x1B873593 & mask
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & mask
    h = (h ^ h >> 13) * 0xC2B2AE35 & mask
    h ^= h >> 16
    return h - (1 << 32) if h >> 31 else h


def words(text):
    """Yield words and pairs of words."""
    found = _WORD.findall(text.lower())
    yield from found
    yield from map(" ".join, pairwise(found))


def characters(text):
    """Yield runs of 2 to 5 characters within words."""
    for word in _SPACES.sub(" ", text.lower()).split():
        padded = f" {word} "
        for n in range(2, 6):
            if len(padded) <= n:  # a short word counts once
                yield padded
                break
            yield from (padded[at : at + n] for at in range(len(padded) - n + 1))


class Model:
    """A classifier that was exported by Sartor."""

    def __init__(self, folder=None):
        folder = Path(__file__).parent if folder is None else Path(folder)
        self.about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        self.labels = self.about["labels"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False
        self.session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def predict(self, texts):
        """Return (label, confidence, abstain) for each text."""
        probabilities, scope = self.scores(texts)
        best, threshold = probabilities.argmax(axis=1), self.about["threshold"]
        none = [
            not text.strip() or (threshold is not None and s < threshold) for text, s in zip(texts, scope, strict=True)
        ]
        return [
            (self.labels[at], float(row[at]), bool(abstain))
            for at, row, abstain in zip(best, probabilities, none, strict=True)
        ]

    def scores(self, texts) -> tuple[Any, Any]:
        """Return (N, C) probabilities and (N,) how much each text looks like what the model was made for."""
        texts = [text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore") for text in texts]
        most = self.about["max_tokens"]
        ids = [self.tokenizer.encode(self.about["prefix"] + text[: most * 64]).ids for text in texts]
        ids = [one if len(one) <= most else [*one[: most - 1], one[-1]] for one in ids]
        longest = max(1, *map(len, ids))
        feed = {
            "ids": np.array([one + [self.about["pad_id"]] * (longest - len(one)) for one in ids], dtype=np.int64),
            "real": np.array([[True] * len(one) + [False] * (longest - len(one)) for one in ids]),
        }
        for block, ngrams in (("words", words), ("characters", characters)):
            if block in self.about["blocks"]:
                feed[block] = np.stack([self._hashed(ngrams(text[: self.about["most_characters"]])) for text in texts])
        probabilities, scope = self.session.run(["probabilities", "scope"], feed)
        return probabilities, scope

    def _hashed(self, ngrams):
        counts = np.zeros(self.about["buckets"], dtype=np.float32)
        for ngram, times in Counter(ngrams).items():
            code = murmur3(ngram.encode("utf-8"))
            counts[abs(code) % len(counts)] += times if code >= 0 else -times
        return np.sign(counts) * np.log1p(np.abs(counts))


def main():
    """Answer each line of the standard input."""
    model, as_json = Model(), "--json" in sys.argv[1:]
    streams: list[Any] = [sys.stdin, sys.stdout]
    for stream in streams:
        stream.reconfigure(encoding="utf-8", errors="replace")
    for line in sys.stdin:
        text = line.rstrip("\r\n")
        label, confidence, abstain = model.predict([text])[0]
        if as_json:
            told = {"text": text, "label": label, "confidence": round(confidence, 6), "abstain": abstain}
            print(json.dumps(told, ensure_ascii=False), flush=True)
        else:
            print(f"{label}\t{confidence:.6f}", flush=True)


if __name__ == "__main__":
    main()
