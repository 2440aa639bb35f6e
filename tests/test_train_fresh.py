"""Fresh weights of v1: the same for a seed, and attention that begins like trained ones."""

import pytest

torch = pytest.importorskip("torch", reason="no torch: scripts/setup --train")
from train.model import build_model, initialise, spec_of  # noqa: E402


def fresh(seed: int):
    model = build_model(spec_of("tiny", "normal"), "normal")
    initialise(model, seed)
    return model


def test_a_seed_is_a_model():
    first, again, other = (fresh(seed).state_dict() for seed in (4, 4, 5))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert sum(not torch.equal(first[name], other[name]) for name in first) > 10


def test_tokens_attend_to_their_like_and_take_it_off_themselves():
    attention = fresh(0).backbone.layers[0].attn
    dim, heads = attention.proj.in_features, attention.heads
    torch.manual_seed(0)
    kinds = torch.nn.functional.layer_norm(torch.randn(3, dim), (dim,))
    tokens = kinds.repeat(16, 1)  # three kinds, sixteen of each
    query, key, _ = (tokens @ attention.qkv.weight.T).view(-1, 3, heads, dim // heads).permute(1, 2, 0, 3)
    shares = torch.softmax(query @ key.transpose(1, 2) / (dim // heads) ** 0.5, dim=-1)  # (heads, tokens, tokens)
    like = torch.arange(48) % 3 == (torch.arange(48) % 3)[:, None]
    assert (shares * like).sum(-1).min() > 0.9
    taken = attention(tokens[None])[0]
    torch.testing.assert_close(taken, -0.49 * tokens, atol=0.15, rtol=0)
