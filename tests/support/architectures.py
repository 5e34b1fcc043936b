"""Tiny configurations of many architectures, by whether packed samples can attend to each other."""

import transformers

from tests.support.training import VOCABULARY

HEADS = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
WIDE = {**HEADS, "intermediate_size": 48}
HYBRID = {**WIDE, "num_key_value_heads": 2}
IDS = {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
WITH_IDS = {**HYBRID, **IDS}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
LATENT = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
    "n_routed_experts": 4, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
}  # fmt: skip
ISOLATE = {
    "apertus": transformers.ApertusConfig(**WITH_IDS),
    "cohere2": transformers.Cohere2Config(**WITH_IDS, sliding_window=8),
    "deepseek_v3": transformers.DeepseekV3Config(**WIDE, **IDS, num_key_value_heads=4, **LATENT, **EXPERTS),
    "gemma2": transformers.Gemma2Config(**WITH_IDS, head_dim=8, sliding_window=8),
    "glm4_moe": transformers.Glm4MoeConfig(
        **WITH_IDS, head_dim=8, n_routed_experts=4, first_k_dense_replace=1, **EXPERTS
    ),
    "gptj": transformers.GPTJConfig(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, rotary_dim=4, **IDS),
    "gpt2": transformers.GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4),
    "gpt_bigcode": transformers.GPTBigCodeConfig(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4),
    "gpt_neox": transformers.GPTNeoXConfig(**WIDE),
    "gemma3": transformers.Gemma3TextConfig(**HYBRID, head_dim=8),
    "llama": transformers.LlamaConfig(**WIDE),
    "mistral, sliding window": transformers.MistralConfig(**HYBRID, sliding_window=4),
    "mixtral": transformers.MixtralConfig(**HYBRID, num_local_experts=2),
    "jetmoe": transformers.JetMoeConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_key_value_heads=2, kv_channels=8,
        intermediate_size=48, num_local_experts=4, num_experts_per_tok=2, **IDS,
    ),
    "nemotron": transformers.NemotronConfig(**WITH_IDS),
    "olmo2": transformers.Olmo2Config(**WITH_IDS),
    "persimmon": transformers.PersimmonConfig(**WIDE, **IDS),
    "phi": transformers.PhiConfig(**WIDE),
    "phi3": transformers.Phi3Config(**WITH_IDS),
    "qwen2": transformers.Qwen2Config(**HYBRID),
    "qwen3_moe": transformers.Qwen3MoeConfig(**WITH_IDS, head_dim=8, num_experts=4, **EXPERTS),
    "smollm3": transformers.SmolLM3Config(**WITH_IDS),
    "stablelm": transformers.StableLmConfig(**WITH_IDS),
    "starcoder2": transformers.Starcoder2Config(**HYBRID),
}  # fmt: skip
MAMBA2 = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1}
SEE_EACH_OTHER = {
    "bamba": transformers.BambaConfig(**WITH_IDS, **MAMBA2, attn_layer_indices=[1]),
    "falcon_h1": transformers.FalconH1Config(**WITH_IDS, **MAMBA2, mamba_d_ssm=64),
    "minimax": transformers.MiniMaxConfig(
        **WITH_IDS, num_local_experts=4, head_dim=8, block_size=8, layer_types=["linear_attention", "full_attention"]
    ),
    "xlstm": transformers.xLSTMConfig(
        vocab_size=VOCABULARY, hidden_size=32, embedding_dim=32, num_blocks=2, num_heads=4, **IDS
    ),
    "bloom": transformers.BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4),
    "biogpt": transformers.BioGptConfig(**WIDE, max_position_embeddings=128),
    "falcon": transformers.FalconConfig(**HEADS, alibi=True),
    "gpt_oss": transformers.GptOssConfig(**{**HYBRID, "head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1}),
    "granitemoehybrid": transformers.GraniteMoeHybridConfig(
        **HYBRID,
        shared_intermediate_size=48,
        mamba_n_heads=8,
        mamba_d_head=8,
        mamba_d_state=8,
        mamba_n_groups=1,
        layer_types=["mamba", "attention"],
        num_local_experts=0,
    ),
    "jamba": transformers.JambaConfig(
        **HYBRID, attn_layer_period=2, attn_layer_offset=1, num_experts=2, mamba_d_state=8, expert_layer_offset=1
    ),
    "lfm2": transformers.Lfm2Config(**HYBRID, layer_types=["conv", "full_attention"]),
    "mamba": transformers.MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=8),
    "mamba2": transformers.Mamba2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        state_size=8,
        num_heads=8,
        head_dim=8,
        n_groups=1,
        chunk_size=8,
    ),
    "mpt": transformers.MptConfig(vocab_size=VOCABULARY, d_model=32, n_layers=2, n_heads=4),
    "opt": transformers.OPTConfig(**HEADS, ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=128),
    "qwen3_next": transformers.Qwen3NextConfig(
        **HYBRID,
        head_dim=8,
        linear_num_value_heads=4,
        linear_num_key_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        layer_types=["linear_attention", "full_attention"],
    ),
    "recurrent_gemma": transformers.RecurrentGemmaConfig(
        **{**WIDE, "num_hidden_layers": 3}, lru_width=32, attention_window_size=32
    ),
    "rwkv": transformers.RwkvConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, attention_hidden_size=32
    ),
    "xglm": transformers.XGLMConfig(vocab_size=VOCABULARY, d_model=32, num_layers=2, attention_heads=4, ffn_dim=48),
}
