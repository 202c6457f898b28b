"""Telling a story: tokens one by one, with a KV cache, as text that never breaks inside a character."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

import tiktoken
import torch
import torch.nn.functional as F
from torch import Tensor

from yzlin.model import yzlinGPT, sample_next
