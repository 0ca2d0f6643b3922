"""Tokenizer and text encoder: a byte-level BPE and a small Qwen3 that is trained as a language model of this world."""

import os
import random
import time

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

import world
from muon import Optimizers

SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Qwen3's own split, so that an engine needs one tokenizer for both.
SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")


def train_tokenizer(documents, vocabulary_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    byte_level = dict(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(**byte_level)])
    tokenizer.post_processor = processors.ByteLevel(**byte_level)
    tokenizer.decoder = decoders.ByteLevel(**byte_level)
    plain = []
    for document in documents:
        for token in SPECIAL_TOKENS:
            document = document.replace(token, "")
        plain.append(document)
    tokenizer.train_from_iterator(plain, trainers.BpeTrainer(
        vocab_size=vocabulary_size, special_tokens=SPECIAL_TOKENS, min_frequency=2, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"], clean_up_tokenization_spaces=False, padding_side="right")


def build_language_model(tokenizer, preset):
    return Qwen3ForCausalLM(Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=preset.text_hidden, intermediate_size=preset.text_mlp,
        num_hidden_layers=preset.text_layers, num_attention_heads=preset.text_heads,
        num_key_value_heads=preset.text_kv_heads, head_dim=preset.text_head_dim, max_position_embeddings=512,
        rms_norm_eps=1e-6, rope_theta=1e6, tie_word_embeddings=True, attention_bias=False,
        bos_token_id=None, eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"), dtype="float32"))


def train_language_model(stickers, tokenizer, preset, device, log, document=world.language_document, model=None):
    """A few minutes of next-token training. Enhancement answers and captions count alike. model: one to go on with, of
    which only what requires a gradient changes; without it a new one."""
    torch.manual_seed(preset.seed)
    model = (model or build_language_model(tokenizer, preset)).to(device).train()
    free = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    matrices = [p for n, p in free if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in free if p.ndim != 2 or "embed" in n]
    optimizers = Optimizers([{"params": matrices}], others, preset.text_lr, preset.text_lr)
    rng = random.Random(preset.seed)
    start, step, average = time.time(), 0, None
    while True:
        progress = max((time.time() - start) / (60 * preset.text_minutes), step / preset.text_steps)
        if progress >= 1:
            break
        texts = [document(stickers, rng) for _ in range(preset.text_batch)]
        batch = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=128).to(device)
        labels = batch.input_ids.masked_fill(batch.attention_mask == 0, -100)
        loss = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss
        loss.backward()
        optimizers.step(min(1, (step + 1) / 50) * min(1, 2 * (1 - progress)))
        average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
        step += 1
        if step % 25 == 0:
            log(f"language step {step} loss {average:.3f} {time.time() - start:.0f} s")
    return model.eval()


@torch.no_grad()
def encode_prompts(prompts, tokenizer, model, out_layers, max_length):
    """Prompt texts to the transformer's conditioning, as Flux2KleinPipeline does it."""
    prefix, suffix = world.PROMPT_TEMPLATE["prefix"], world.PROMPT_TEMPLATE["suffix"]
    batch = tokenizer([prefix + p + suffix for p in prompts], return_tensors="pt", padding="max_length",
                      truncation=True, max_length=max_length).to(model.device)
    states = model.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False,
                         output_hidden_states=True).hidden_states
    return torch.cat([states[i] for i in out_layers], dim=-1)


@torch.no_grad()
def enhance(prompt, kind, tokenizer, model, max_new_tokens=64):
    """The greedy answer of the language model to an enhancement request."""
    template = world.ENHANCE_TEMPLATES[kind]
    batch = tokenizer(template["prefix"] + prompt + template["suffix"], return_tensors="pt").to(model.device)
    ids = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(ids[0, batch.input_ids.shape[1]:], skip_special_tokens=True)


def save_language(directory, tokenizer, model):
    tokenizer.save_pretrained(os.path.join(directory, "tokenizer"))
    model.save_pretrained(os.path.join(directory, "text_encoder"))


def load_language(directory, device="cpu"):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(os.path.join(directory, "tokenizer"))
    model = Qwen3ForCausalLM.from_pretrained(os.path.join(directory, "text_encoder"), dtype=torch.float32)
    return tokenizer, model.to(device).eval().requires_grad_(False)
