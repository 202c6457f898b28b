"""The peak of a device: FLOPs are counted rightly, and a card is known by its name."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from yzlin.model import ModelArgs, yzlinGPT
from yzlin.tools import peak


def test_flops_per_token_at_full_size():
    # By hand: 6 x (50,304 x 768 + 8 x 16 x 768^2 + 17 x 768) + 12 x 8 x 768 x 128.
    assert peak.flops_per_token(ModelArgs()) == 6 * (50304 * 768 + 8 * 16 * 768**2 + 17 * 768) + 12 * 8 * 768 * 128
    assert peak.flops_per_token(ModelArgs()) / 1e6 == pytest.approx(694.3, abs=0.1)


def test_flops_per_token_are_those_of_pytorchs_counter():
    args = ModelArgs(n_layer=2)
    with torch.device("meta"):
        model, ids = yzlinGPT(args), torch.zeros(2, 128, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            model(ids, ids)[1].backward()
    assert counter.get_total_flops() / ids.numel() == pytest.approx(peak.flops_per_token(args), rel=0.03)


@pytest.mark.parametrize(
    "name, tflops",
    [
        ("NVIDIA H200", 989),
        ("NVIDIA H200 NVL", 835),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA L40", 181),
        ("NVIDIA L4", 121),
        ("NVIDIA GeForce RTX 3090", 71),
        ("NVIDIA GeForce RTX 3090 Ti", 80),
        ("Tesla T4", 65),
        ("Tesla V100-SXM2-16GB", 125),
        ("Tesla V100-PCIE-16GB", 112),
        ("NVIDIA GeForce RTX 4090", 165),
        ("NVIDIA GeForce RTX 4090 D", 147),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA H200 MIG 1g.18gb", None),
        ("NVIDIA GeForce GTX 1080", None),
    ],
)
def test_a_card_is_known_by_its_whole_name(name, tflops):
    assert peak.data_sheet_tflops(name) == tflops
