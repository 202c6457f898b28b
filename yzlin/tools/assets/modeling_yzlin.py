"""yzlinGPT for Hugging Face transformers. Self-contained: it needs torch and transformers, and nothing of the course.

RMSNorm, FlashAttention, MLP, Block, `embed` and `features` are those of yzlin/model.py, letter for letter; a test compares the
syntax trees. Shapes: B batch, T tokens in the window, C channels (n_embed), H heads, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput


class YzlinConfig(PretrainedConfig):
    """The numbers that fix the model's shape, under the names of yzlin's ModelArgs."""

    model_type = "yzlin"
    attribute_map = {
        "hidden_size": "n_embed",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
        "max_position_embeddings": "block_size",
    }

    def __init__(
        self,
        block_size: int = 128,
        vocab_size: int = 50304,
        n_layer: int = 8,
        n_head: int = 8,
        n_embed: int = 768,
        dropout: float = 0.0,
        bias: bool = False,
        **kwargs: Any,
    ) -> None:
        self.block_size, self.vocab_size = block_size, vocab_size
        self.n_layer, self.n_head, self.n_embed = n_layer, n_head, n_embed
        self.dropout, self.bias = dropout, bias
        kwargs.setdefault("tie_word_embeddings", True)  # the head is the token embedding
        kwargs.setdefault("use_cache", False)
        super().__init__(**kwargs)


class RMSNorm(nn.Module):
    def __init__(self, hidden_size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        x32 = x.float()
        rms = torch.sqrt(x32.pow(2).mean(-1, keepdim=True) + self.eps)
        return (self.weight * (x32 / rms)).to(x.dtype)


class FlashAttention(nn.Module):
    def __init__(self, args: YzlinConfig) -> None:
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
    def __init__(self, args: YzlinConfig) -> None:
        super().__init__()
        hidden = 4 * args.n_embed
        self.up_projection = nn.Linear(args.n_embed, hidden, bias=args.bias)
        self.gate = nn.Linear(args.n_embed, hidden, bias=args.bias)
        self.down_projection = nn.Linear(hidden, args.n_embed, bias=args.bias)
        self.dropout = nn.Dropout(args.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.down_projection(F.relu(self.gate(x)) * self.up_projection(x)))


class Block(nn.Module):
    def __init__(self, args: YzlinConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(args.n_embed)
        self.attention = FlashAttention(args)
        self.mlp_norm = RMSNorm(args.n_embed)
        self.mlp = MLP(args)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class YzlinForCausalLM(PreTrainedModel, GenerationMixin):
    """The whole model: token ids (B, T) in, logits (B, T, V) out. The head shares its matrix with the token embedding.

    `generate` computes the last block_size tokens afresh for each new one, so a story may be longer than the window.
    Texts of different lengths cannot be padded into one batch: the positions are learnt, and nothing masks the padding.
    """

    config_class = YzlinConfig
    base_model_prefix = ""
    _supports_sdpa = True
    _no_split_modules = ["Block"]
    _tied_weights_keys = {"lm_head.weight": "transformer.token_embedding.weight"}

    def __init__(self, args: YzlinConfig) -> None:
        super().__init__(args)
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
        self.post_init()  # ties the head to the token embedding

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

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
        **_: Any,
    ) -> CausalLMOutput:
        """input_ids (B, T) int64 -> logits (B, T, V), or of the last logits_to_keep tokens.

        labels (B, T) are input_ids themselves, as everywhere in transformers: they are shifted here, and -100 is left out
        of the mean loss in nats. Raises ValueError where the mask hides a token that a later one would see.
        """
        if attention_mask is not None and (attention_mask.diff(dim=1) > 0).any():
            raise ValueError("padding on the left would shift the learned positions: pad on the right, or give one text.")
        x = self.features(input_ids)
        logits = self.lm_head(x[:, -logits_to_keep:])
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].reshape(-1, logits.size(-1)), labels[:, 1:].reshape(-1), ignore_index=-100)
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> dict[str, Any]:
        """The window: the last block_size tokens. The texts of a batch must have one length."""
        if attention_mask is not None and not attention_mask.all():
            raise ValueError("a batch of texts of different lengths cannot be padded here: generate them one by one.")
        return {"input_ids": input_ids[:, -self.config.block_size :], "logits_to_keep": 1}

    def get_input_embeddings(self) -> nn.Embedding:
        return self.transformer.token_embedding

    def set_input_embeddings(self, embedding: nn.Embedding) -> None:
        self.transformer.token_embedding = embedding

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    def set_output_embeddings(self, head: nn.Linear) -> None:
        self.lm_head = head

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """For a model made from a config alone, without weights."""
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, RMSNorm):
            nn.init.ones_(module.weight)


YzlinConfig.register_for_auto_class()
YzlinForCausalLM.register_for_auto_class("AutoModelForCausalLM")
