"""What a device could do at best: FLOPs of a token, FLOPs a second of the device, and the most memory that was taken.

MFU, the share of its peak at which a device trains, is tokens a second times the one over the other.
"""

from __future__ import annotations

import re
import sys
import time

import torch

from yzlin.device import bfloat16_gain
from yzlin.model import ModelArgs, yzlinGPT

# Dense bfloat16 (float16 for the T4 and V100) TFLOP/s with float32 sums, from NVIDIA's data sheets of each card. The first
# that stands in a card's name as a word is taken.
PEAK_TFLOPS = {
    "H200 NVL": 835, "H200": 989, "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "A100": 312, "L40S": 362, "L40": 181,
    "L4": 121, "RTX 4090 D": 147, "RTX 4090": 165, "RTX 3090 Ti": 80, "RTX 3090": 71, "T4": 65, "V100-PCIE": 112, "V100": 125,
}  # fmt: skip


def flops_per_token(args: ModelArgs) -> float:
    """Of training: 6 for each parameter a token meets, and 12 * layers * C * T for attention (Chowdhery et al., 2022).

    The position table is left out: a token only looks one row up. The head counts: it is a matrix product.
    """
    with torch.device("meta"):
        model = yzlinGPT(args)
    parameters = sum(p.numel() for p in model.parameters()) - args.block_size * args.n_embed
    return 6 * parameters + 12 * args.n_layer * args.n_embed * args.block_size


def peak_flops(device: torch.device) -> tuple[float, str]:
    """What the device could do in a second, and where the number is from. Without a data sheet a large product is timed."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        if (peak := data_sheet_tflops(name)) is not None:
            return peak * 1e12, f"{name}, by its data sheet"
    size, best, threads = 1024 if device.type == "cpu" else 8192, 0.0, torch.get_num_threads()
    dtypes = [torch.float32]
    if device.type != "cpu" or bfloat16_gain() > 0.5:  # else each product may take seconds
        dtypes.append(torch.bfloat16)
    if device.type == "cuda":  # slow on most CPUs
        dtypes.append(torch.float16)
    for dtype in dtypes:
        a = torch.randn(size, size, device=device).to(dtype)
        for number in [threads, 1] * 6:  # where other programs are busy, one thread may be the fastest
            torch.set_num_threads(number)
            start = time.perf_counter()
            (a @ a)[0, 0].item()
            best = max(best, 2 * size**3 / (time.perf_counter() - start))
    torch.set_num_threads(threads)
    if device.type == "cuda":
        del a
        torch.cuda.empty_cache()  # the card belongs to what is measured next, perhaps in another process
    names = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
    return best, f"measured: the fastest product of two {size} x {size} matrices in {names}"


def data_sheet_tflops(name: str) -> float | None:
    """The peak of a card by its name, as CUDA gives it; None for one that is not known, a laptop's, and a part (MIG)."""
    if "Laptop" in name or " MIG " in name:
        return None
    return next((peak for card, peak in PEAK_TFLOPS.items() if re.search(rf"\b{card}\b", name)), None)


def peak_memory(device: torch.device) -> float:
    """The most bytes that this process has held so far; nan on Windows, which does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
