"""yzlinGPT: a decoder-only Transformer with RMSNorm, flash attention and a ReLU-gated MLP.

Shapes are written with these letters: B batch, T tokens in the window, C channels (n_embed), H heads, D = C / H, V vocabulary.
The layout is GPT-2's (Radford et al., 2019), with the norm of Zhang and Sennrich (2019) and the gate of Shazeer (2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class ModelArgs:
    """The numbers that fix the model's shape. The defaults are the original yzlin-GPT's."""

    block_size: int = 128  # T at most: the window the model sees
    vocab_size: int = 50304  # V: GPT-2's 50,257, padded to a multiple of 64
    n_layer: int = 8
    n_head: int = 8
    n_embed: int = 768  # C
    dropout: float = 0.0
    bias: bool = False

    def __post_init__(self) -> None:
        for name in ("block_size", "vocab_size", "n_layer", "n_head", "n_embed"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be a whole number of 1 or more.")
        if self.n_embed % self.n_head != 0:
            raise ValueError(
                f"n_embed {self.n_embed} cannot be divided among {self.n_head} heads: choose an n_embed divisible by n_head."
            )
        if not isinstance(self.dropout, (int, float)) or not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout is {self.dropout}: it must be at least 0 and less than 1.")


class RMSNorm(nn.Module):
    """Root mean square norm (Zhang and Sennrich, 2019): y = weight * x / sqrt(mean(x^2) + eps), over the last axis.

    Any shape (..., hidden_size) and any float dtype; computed in float32, returned in the input's dtype.
    """

    def __init__(self, hidden_size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        x32 = x.float()
        rms = torch.sqrt(x32.pow(2).mean(-1, keepdim=True) + self.eps)
        return (self.weight * (x32 / rms)).to(x.dtype)


class FlashAttention(nn.Module):
    """Causal self-attention (Vaswani et al., 2017) by PyTorch's fused kernel (Dao et al., 2022). (B, T, C) -> (B, T, C)."""

    def __init__(self, args: ModelArgs) -> None:
        super().__init__()
        self.n_head = args.n_head
        self.qkv_attention = nn.Linear(args.n_embed, 3 * args.n_embed, bias=args.bias)
        self.context_projection = nn.Linear(args.n_embed, args.n_embed, bias=args.bias)
        self.residual_dropout = nn.Dropout(args.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(F.scaled_dot_product_attention(*self.heads(x), is_causal=True))

    def heads(self, x: Tensor, start: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, T, C) -> queries, keys and values, (B, H, T, D) each. `start` is the position of the first token: learned
        positions are in x already, so it does not matter here; an attention that turns q and k by position needs it.
        """
        B, T, C = x.shape
        q, k, v = self.qkv_attention(x).split(C, dim=2)
        q, k, v = (t.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for t in (q, k, v))
        return q, k, v

    def join(self, y: Tensor) -> Tensor:
        """What the heads fetched (B, H, T, D) -> side by side again and projected, (B, T, C)."""
        B, H, T, D = y.shape
        y = y.transpose(1, 2).reshape(B, T, H * D)
        return self.residual_dropout(self.context_projection(y))


class MLP(nn.Module):
    """The ReLU-gated MLP (ReGLU of Shazeer, 2020): down(relu(gate(x)) * up(x)), 4C wide. (B, T, C) -> (B, T, C)."""

    def __init__(self, args: ModelArgs) -> None:
        super().__init__()
        hidden = 4 * args.n_embed
        self.up_projection = nn.Linear(args.n_embed, hidden, bias=args.bias)
        self.gate = nn.Linear(args.n_embed, hidden, bias=args.bias)
        self.down_projection = nn.Linear(hidden, args.n_embed, bias=args.bias)
        self.dropout = nn.Dropout(args.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.down_projection(F.relu(self.gate(x)) * self.up_projection(x)))


class Block(nn.Module):
    """One layer: attention, then the MLP, each added to the residual stream after its own norm. (B, T, C) -> (B, T, C)."""

    def __init__(self, args: ModelArgs) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(args.n_embed)
        self.attention = FlashAttention(args)
        self.mlp_norm = RMSNorm(args.n_embed)
        self.mlp = MLP(args)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class yzlinGPT(nn.Module):
    """The whole model: token ids (B, T) in, logits (B, T, V) out. The head shares its matrix with the token embedding."""

    def __init__(self, args: ModelArgs) -> None:
        super().__init__()
        self.args = args
        self.transformer = nn.ModuleDict(
            dict(
                token_embedding=nn.Embedding(args.vocab_size, args.n_embed),
                position_embedding=nn.Embedding(args.block_size, args.n_embed),
                dropout=nn.Dropout(args.dropout),
                blocks=nn.ModuleList([Block(args) for _ in range(args.n_layer)]),
                norm=RMSNorm(args.n_embed),
            )
        )
        self.lm_head = nn.Linear(args.n_embed, args.vocab_size, bias=False)
        self.lm_head.weight = self.transformer.token_embedding.weight
        self.apply(self._init_weights)
        for name, weight in self.named_parameters():
            # GPT-2's rule: 2 * n_layer branches add to the residual stream, so each starts smaller.
            if name.endswith(("context_projection.weight", "down_projection.weight")):
                nn.init.normal_(weight, mean=0.0, std=0.02 / math.sqrt(2 * args.n_layer))

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def embed(self, idx: Tensor, start: int = 0) -> Tensor:
        """Token ids (B, T) -> token plus position, (B, T, C). `start` is the position of the first token.

        Raises ValueError on a window or an id out of range.
        """
        T = idx.shape[1]
        if start + T > self.args.block_size:
            raise ValueError(
                f"{start + T} tokens do not fit the window of {self.args.block_size}: pass the last block_size of them."
            )
        # On a GPU this check would force a sync at every step, and compiled code would break at it.
        look = idx.device.type == "cpu" and idx.numel() and not torch.compiler.is_compiling()
        if look and not 0 <= int(idx.min()) <= int(idx.max()) < self.args.vocab_size:
            raise ValueError(
                f"token ids run from {int(idx.min())} to {int(idx.max())}, but the vocabulary has the ids 0 to "
                f"{self.args.vocab_size - 1}: use the tokenizer that the model was trained with."
            )
        position = torch.arange(start, start + T, device=idx.device)
        x = self.transformer.token_embedding(idx) + self.transformer.position_embedding(position)
        return self.transformer.dropout(x)

    def features(self, idx: Tensor) -> Tensor:
        """Token ids (B, T) -> what the head reads (B, T, C)."""
        x = self.embed(idx)
        for block in self.transformer.blocks:
            x = block(x)
        return self.transformer.norm(x)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """idx (B, T) int64, targets (B, T) int64 or None -> logits (B, T, V) and the mean loss in nats, or None.

        Targets of -1 are left out of the loss.
        """
        logits = self.lm_head(self.features(idx))
        if targets is None:
            return logits, None
        loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1), ignore_index=-1)
        return logits, loss

    def configure_optimizers(
        self, weight_decay: float, learning_rate: float, betas: tuple[float, float], device_type: str
    ) -> torch.optim.AdamW:
        """AdamW (Loshchilov and Hutter, 2019): matrices decay, vectors (norm weights, biases) do not."""
        params = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in params if p.dim() >= 2], "weight_decay": weight_decay},
            {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
        ]
        fused = device_type in ("cpu", "cuda") or None  # one kernel for all weights, where PyTorch has it; else its default
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=fused)

    @torch.no_grad()
    def generate(self, idx: Tensor, max_generate_tokens: int, temperature: float = 1.0, top_k: int | None = None) -> Tensor:
        """Appends max_generate_tokens sampled ids to idx (B, T) -> (B, T + max_generate_tokens).

        The whole text is kept, but the model sees only its last block_size tokens. Plain and slow: it computes the
        whole window for each token. `yzlin.generate.stream` is the fast way.
        """
        for _ in range(max_generate_tokens):
            x = self.features(idx[:, -self.args.block_size :])
            next_idx = sample_next(self.lm_head(x[:, -1]), temperature, top_k)
            idx = torch.cat((idx, next_idx), dim=1)
        return idx


def sample_next(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """logits (B, V) -> one sampled id a row, (B, 1) int64. Temperature 0 takes the likeliest (greedy).

    top_k leaves the k likeliest ids. top_p (Holtzman et al., 2020) leaves the fewest of the likeliest that together have at
    least the share p. The rest is drawn from in proportion.
    """
    if temperature < 0 or not math.isfinite(temperature):
        raise ValueError(f"temperature is {temperature}: use 0 (always the likeliest token) or a positive number.")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}: use 1 or more, or None for the whole vocabulary.")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}: use a share above 0 and up to 1, or None for the whole vocabulary.")
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    shares = (logits.float() / temperature).softmax(-1)
    if top_k is None and top_p is None:
        return torch.multinomial(shares, num_samples=1, generator=generator)
    # Drawn among the few that are left, not in the whole vocabulary: ten times faster at 50,304 ids.
    shares, ids = shares.topk(min(top_k or shares.size(-1), shares.size(-1)))  # the largest first
    if top_p is not None:
        before = shares.cumsum(-1) - shares  # what the likelier ones have together
        shares = shares.masked_fill(before >= top_p * shares.sum(-1, keepdim=True), 0.0)
    return ids.gather(-1, torch.multinomial(shares, num_samples=1, generator=generator))
