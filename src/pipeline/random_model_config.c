/* SPDX-License-Identifier: MIT */
/* The configuration files of a random model. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "pipeline/random_model_impl.h"

static enum err write_text(const char *dir, const char *name, struct errmsg *em, const char *fmt,
                           ...) PRINTF_LIKE(4, 5);

static enum err write_text(const char *dir, const char *name, struct errmsg *em, const char *fmt,
                           ...)
{
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    char *path = path_join(dir, name);
    if (!path || n < 0 || (size_t)n >= sizeof text) {
        free(path);
        return err_nomem(em, sizeof text);
    }
    enum err rc = file_write_atomic(path, text, (size_t)n, em);
    free(path);
    return rc;
}

/* The parts of a Mistral that also sees lie one level down; it has no eyes here. */
static enum err write_text_encoder_config(const struct shape *s, const char *dir, struct errmsg *em)
{
    const char *before =
        s->is_dev ? "{\"architectures\": [\"Mistral3ForConditionalGeneration\"], "
                    "\"model_type\": \"mistral3\", \"text_config\": {\"model_type\": \"mistral\", "
                  : "{\"architectures\": [\"Qwen3ForCausalLM\"], \"model_type\": \"qwen3\", ";
    return write_text(dir, "text_encoder/config.json", em,
                      "%s\"hidden_size\": %zu, \"num_hidden_layers\": %zu, "
                      "\"num_attention_heads\": %zu, \"num_key_value_heads\": %zu, "
                      "\"head_dim\": %zu, \"intermediate_size\": %zu, \"vocab_size\": %zu, "
                      "\"rms_norm_eps\": %s, \"rope_theta\": %s, "
                      "\"hidden_act\": \"silu\", \"attention_bias\": false, "
                      "\"tie_word_embeddings\": %s}%s\n",
                      before, s->te_hidden, s->te_layers, s->te_heads, s->te_kv_heads,
                      s->te_head_dim, s->te_mlp, s->te_vocab, s->is_dev ? "1e-05" : "1e-06",
                      s->is_dev ? "1000000000" : "1000000", s->te_tied ? "true" : "false",
                      s->is_dev ? "}" : "");
}

enum err random_write_configs(const struct shape *s, const char *dir, struct errmsg *em)
{
    enum err rc = write_text(dir, "model_index.json", em, "{\"_class_name\": \"%s\"%s}\n",
                             s->is_dev ? "Flux2Pipeline" : "Flux2KleinPipeline",
                             s->is_distilled ? ", \"is_distilled\": true" : "");
    if (!rc)
        rc = write_text(dir, "easel.json", em,
                        "{\"name\": \"random-%s\", \"licence\": \"none\",\n"
                        " \"description\": \"Random weights in the shape of %s: for timing; its "
                        "pictures are noise.\",\n"
                        " \"max_sequence_length\": %zu, \"text_encoder_out_layers\": "
                        "[%zu, %zu, %zu]}\n",
                        s->name, s->name, s->max_tokens, s->text_layers[0], s->text_layers[1],
                        s->text_layers[2]);
    if (!rc)
        rc = write_text(dir, "scheduler/scheduler_config.json", em,
                        "{\"_class_name\": \"FlowMatchEulerDiscreteScheduler\", "
                        "\"num_train_timesteps\": 1000, \"shift\": 3.0, "
                        "\"use_dynamic_shifting\": true, \"time_shift_type\": "
                        "\"exponential\"}\n");
    if (!rc)
        rc = write_text(dir, "transformer/config.json", em,
                        "{\"_class_name\": \"Flux2Transformer2DModel\", \"patch_size\": 1, "
                        "\"in_channels\": 128, \"num_layers\": %zu, \"num_single_layers\": %zu, "
                        "\"attention_head_dim\": %zu, \"num_attention_heads\": %zu, "
                        "\"joint_attention_dim\": %zu, \"timestep_guidance_channels\": 256, "
                        "\"mlp_ratio\": 3.0, \"axes_dims_rope\": [%zu, %zu, %zu, %zu], "
                        "\"rope_theta\": 2000, \"eps\": 1e-06, \"guidance_embeds\": %s}\n",
                        s->n_double, s->n_single, s->head_dim, s->n_heads, 3 * s->te_hidden,
                        s->head_dim / 4, s->head_dim / 4, s->head_dim / 4, s->head_dim / 4,
                        s->is_dev ? "true" : "false");
    if (!rc)
        rc = write_text_encoder_config(s, dir, em);
    if (!rc) /* the special tokens are those of the tokenizer that is copied */
        rc = write_text(dir, "tokenizer/tokenizer_config.json", em,
                        "{\"pad_token\": \"<|endoftext|>\", \"eos_token\": \"<|im_end|>\"}\n");
    if (!rc)
        rc = write_text(dir, "vae/config.json", em,
                        "{\"_class_name\": \"AutoencoderKLFlux2\", \"in_channels\": 3, "
                        "\"out_channels\": 3, \"down_block_types\": [\"DownEncoderBlock2D\", "
                        "\"DownEncoderBlock2D\", \"DownEncoderBlock2D\", "
                        "\"DownEncoderBlock2D\"], \"up_block_types\": [\"UpDecoderBlock2D\", "
                        "\"UpDecoderBlock2D\", \"UpDecoderBlock2D\", \"UpDecoderBlock2D\"], "
                        "\"block_out_channels\": [128, 256, 512, 512], \"layers_per_block\": 2, "
                        "\"act_fn\": \"silu\", \"latent_channels\": 32, \"norm_num_groups\": 32, "
                        "\"use_quant_conv\": true, \"use_post_quant_conv\": true, "
                        "\"mid_block_add_attention\": true, \"batch_norm_eps\": 0.0001, "
                        "\"patch_size\": [2, 2]}\n");
    return rc;
}
