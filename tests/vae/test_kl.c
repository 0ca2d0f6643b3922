/* SPDX-License-Identifier: MIT */
/* AutoencoderKLFlux2 against diffusers: small models with random weights, every stage.
 * Fixtures: tools/fixtures/vae.py. */
#include "vae_test.h"

/* Float32 sums of a few hundred to a few thousand products, in another order than
 * PyTorch's, through up to thirty layers: measured 3e-6 on tokens and pictures, and
 * less than a third of this on every stage (values of up to 10). */
#define STAGE_ATOL 2e-5f
#define STAGE_RTOL 1e-5f

struct kl_case {
    const char *name, *path;
    size_t patch, latent, scale;
};
static const struct kl_case cases[] = {
    {"kl_bf16", "vae/kl_bf16", 2, 8, 8},
    {"kl_plain", "vae/kl_plain", 4, 4, 2},
    {"kl_odd", "vae/kl_odd", 2, 5, 4},
    {"kl_bfl", "vae/kl_bfl/ae.safetensors", 2, 4, 2},
};
#define N_CASES (sizeof cases / sizeof *cases)

static struct ref case_ref(const struct kl_case *c, const char *tensor)
{
    char name[96];
    snprintf(name, sizeof name, "vae/%s/ref.safetensors", c->name);
    return ref_load(data_path(name), tensor);
}

struct seen {
    const struct kl_case *c;
    const char *half;
    size_t n;
};

static void compare_stage(void *ctx, const char *stage, const float *data, size_t h, size_t w,
                          size_t channels)
{
    static const char *const large[] = {"dec.up.1", "dec.up.2", "dec.up.3"};
    struct seen *s = ctx;
    char name[64];
    snprintf(name, sizeof name, "%s.%s", s->half, stage);
    s->n++;
    if (!strcmp(s->c->name, "kl_bfl"))
        return;
    /* the fixtures leave out what is large */
    for (size_t i = 0; i < 3; i++)
        if (!strcmp(name, large[i]) && h * w * channels >= 20000)
            return;
    struct ref r = case_ref(s->c, name);
    assert_int_equal(r.h, h);
    assert_int_equal(r.w, w);
    assert_int_equal(r.c, channels);
    assert_close(name, data, r.data, r.n, STAGE_ATOL, STAGE_RTOL);
    free(r.data);
}

static void check_case(const struct kl_case *c, enum cpu_level level)
{
    struct engine e;
    struct seen seen = {.c = c, .half = "enc"};
    struct ref rgb = case_ref(c, "rgb"), tokens = case_ref(c, "tokens");
    struct ref picture = case_ref(c, "picture"), mean = case_ref(c, "mean");
    float *out = malloc((rgb.n + tokens.n) * sizeof(float));
    assert_non_null(out);
    engine_open(&e, level, 2, data_path(c->path));
    e.ae->observe = compare_stage;
    e.ae->observe_ctx = &seen;

    assert_ok(autoencoder_encode(e.ae, rgb.data, rgb.h, rgb.w, out, NULL, &em));
    float worst_tokens = assert_close("tokens", out, tokens.data, tokens.n, STAGE_ATOL, STAGE_RTOL);
    autoencoder_unpack(e.ae, out, tokens.h, tokens.w, out + tokens.n);
    assert_close("mean", out + tokens.n, mean.data, mean.n, STAGE_ATOL, STAGE_RTOL);

    seen.half = "dec";
    assert_ok(autoencoder_decode(e.ae, tokens.data, tokens.h, tokens.w, out, NULL, &em));
    for (size_t i = 0; i < picture.n; i++)
        picture.data[i] = fminf(fmaxf(picture.data[i], 0), 1);
    float worst = assert_close("picture", out, picture.data, picture.n, STAGE_ATOL, 0);
    int levels = assert_levels("picture", out, picture.data, picture.n, 1);
    assert_int_equal(seen.n, e.info.scale == 2 ? 6 : e.info.scale == 4 ? 8 : 10);
    print_message("# %s %s: tokens %.1e, picture %.1e, %d levels\n", c->name, cpu_level_name(level),
                  (double)worst_tokens, (double)worst, levels);

    engine_close(&e);
    free(out);
    free(rgb.data);
    free(tokens.data);
    free(picture.data);
    free(mean.data);
}

static void test_reference(void **state)
{
    (void)state;
    for (int level = CPU_SCALAR; level <= (int)cpu_detect(); level++)
        for (size_t i = 0; i < N_CASES; i++)
            check_case(&cases[i], (enum cpu_level)level);
}

static void test_info(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        struct engine e;
        engine_open(&e, cpu_detect(), 1, data_path(cases[i].path));
        assert_string_equal(e.info.kind, "AutoencoderKLFlux2");
        assert_int_equal(e.info.patch, cases[i].patch);
        assert_int_equal(e.info.latent_channels, cases[i].latent);
        assert_int_equal(e.info.scale, cases[i].scale);
        assert_true(e.info.has_encoder && e.info.has_decoder && e.info.has_bn);
        assert_true(e.info.n_params > 10000 && e.info.weight_bytes > 20000);
        autoencoder_release_pages(e.ae);
        engine_close(&e);
    }
}

/* Against PyTorch's FlopCounterMode over diffusers' model, for 3 x 2 tokens; of its encoder
 * the variance is taken off, which only diffusers computes. */
static void test_flops(void **state)
{
    (void)state;
    static const struct {
        double decode, encode;
    } counts[] = {{65805312, 27580416}, {9664512, 5498880}, {3683568, 1416096}};
    for (size_t i = 0; i < 3; i++) {
        struct engine e;
        engine_open(&e, cpu_detect(), 1, data_path(cases[i].path));
        size_t px = e.info.scale * e.info.patch;
        assert_near(autoencoder_decode_flops(e.ae, 3, 2), counts[i].decode, 0.5);
        assert_near(autoencoder_encode_flops(e.ae, 3 * px, 2 * px), counts[i].encode, 0.5);
        engine_close(&e);
    }
}

static void test_threads(void **state)
{
    (void)state;
    const struct kl_case *c = &cases[0];
    struct ref rgb = case_ref(c, "rgb"), tokens = case_ref(c, "tokens");
    size_t n = rgb.n + tokens.n;
    float *first = malloc(n * sizeof(float)), *again = malloc(n * sizeof(float));
    assert_non_null(first);
    assert_non_null(again);
    for (int level = CPU_SCALAR; level <= (int)cpu_detect(); level++) {
        for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
            struct engine e;
            float *out = n_threads == 1 ? first : again;
            engine_open(&e, (enum cpu_level)level, n_threads, data_path(c->path));
            assert_ok(autoencoder_decode(e.ae, tokens.data, tokens.h, tokens.w, out, NULL, &em));
            assert_ok(autoencoder_encode(e.ae, rgb.data, rgb.h, rgb.w, out + rgb.n, NULL, &em));
            assert_memory_equal(first, out, n * sizeof(float));
            engine_close(&e);
        }
    }
    free(first);
    free(again);
    free(rgb.data);
    free(tokens.data);
}

static void test_cancel(void **state)
{
    (void)state;
    const struct kl_case *c = &cases[1];
    struct ref rgb = case_ref(c, "rgb"), tokens = case_ref(c, "tokens");
    struct engine e;
    enum err rc;
    engine_open(&e, cpu_detect(), 1, data_path(c->path));
    for (size_t n = 1;; n++) {
        struct stopper s = {.stop_at = n};
        struct progress p = {stopper_tick, &s};
        rc = autoencoder_decode(e.ae, tokens.data, tokens.h, tokens.w, rgb.data, &p, &em);
        assert_false(s.backwards);
        if (!rc) {
            assert_int_equal(s.calls, n - 1);
            assert_int_equal(s.last_done, s.total);
            assert_true(n > 20);
            break;
        }
        assert_int_equal(rc, ERR_CANCELLED);
        assert_string_equal(em.text, "cancelled");
        assert_int_equal(s.calls, n);
    }
    for (size_t n = 1;; n++) {
        struct stopper s = {.stop_at = n};
        struct progress p = {stopper_tick, &s};
        rc = autoencoder_encode(e.ae, rgb.data, rgb.h, rgb.w, tokens.data, &p, &em);
        assert_false(s.backwards);
        if (!rc) {
            assert_int_equal(s.last_done, s.total);
            break;
        }
        assert_int_equal(rc, ERR_CANCELLED);
    }
    engine_close(&e);
    free(rgb.data);
    free(tokens.data);
}

/* A backend whose n-th allocation or weight fails. */
static struct backend_ops failing_ops;
static const struct backend_ops *real_ops;
static size_t fail_at;

static enum err failing_alloc(struct backend *be, size_t size, void **out, struct errmsg *m)
{
    return --fail_at ? real_ops->alloc(be, size, out, m) : err_nomem(m, size);
}

static enum err failing_weight(struct backend *be, const struct tensor *t, size_t first, size_t n,
                               struct weight **out, struct errmsg *m)
{
    return --fail_at ? real_ops->weight_new(be, t, first, n, out, m) : err_nomem(m, 1);
}

static enum err failing_conv2d(struct backend *be, const struct tensor *t, struct weight **out,
                               struct errmsg *m)
{
    return --fail_at ? real_ops->weight_conv2d(be, t, out, m) : err_nomem(m, 1);
}

static void test_no_memory(void **state)
{
    (void)state;
    const struct kl_case *c = &cases[2];
    struct ref rgb = case_ref(c, "rgb"), tokens = case_ref(c, "tokens");
    struct engine e;
    size_t n = 1;
    enum err rc;
    engine_backend(&e, cpu_detect(), 1);
    real_ops = e.be->ops;
    failing_ops = *real_ops;
    failing_ops.alloc = failing_alloc;
    failing_ops.weight_new = failing_weight;
    failing_ops.weight_conv2d = failing_conv2d;
    e.be->ops = &failing_ops;
    do {
        fail_at = n++;
        rc = autoencoder_open(e.be, data_path(c->path), &e.ae, &em);
        assert_true(rc == ERR_OK || rc == ERR_NOMEM);
    } while (rc);
    assert_true(n > 50);
    for (n = 1; n <= 3; n++) {
        fail_at = n;
        assert_int_equal(
            autoencoder_decode(e.ae, tokens.data, tokens.h, tokens.w, rgb.data, NULL, &em),
            ERR_NOMEM);
    }
    fail_at = 0;
    assert_ok(autoencoder_decode(e.ae, tokens.data, tokens.h, tokens.w, rgb.data, NULL, &em));
    e.be->ops = real_ops;
    engine_close(&e);
    free(rgb.data);
    free(tokens.data);
}

/* A backend that spoils what is given back. */
static size_t n_discarded;

static void spoiling_discard(struct backend *be, void *p, size_t size_bytes)
{
    (void)be;
    memset(p, 0xff, size_bytes); /* NaN */
    n_discarded += size_bytes / sizeof(float);
}

static void there_and_back(struct engine *e, const struct kl_case *c, float *out)
{
    struct ref rgb = case_ref(c, "rgb"), tokens = case_ref(c, "tokens");
    n_discarded = 0;
    assert_ok(autoencoder_decode(e->ae, tokens.data, tokens.h, tokens.w, out, NULL, &em));
    assert_ok(autoencoder_encode(e->ae, rgb.data, rgb.h, rgb.w, out + rgb.n, NULL, &em));
    free(rgb.data);
    free(tokens.data);
}

/* Memory is given back in the midst of the work: never what is still to be read. */
static void test_discards(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        struct engine e;
        struct ref rgb = case_ref(&cases[i], "rgb"), tokens = case_ref(&cases[i], "tokens");
        size_t n = rgb.n + tokens.n;
        float *kept = malloc(n * sizeof(float)), *spoilt = malloc(n * sizeof(float));
        assert_non_null(kept);
        assert_non_null(spoilt);
        engine_open(&e, cpu_detect(), 2, data_path(cases[i].path));
        struct backend_ops ops = *e.be->ops;
        real_ops = e.be->ops;
        ops.discard = spoiling_discard;
        e.be->ops = &ops;
        there_and_back(&e, &cases[i], kept);
        assert_int_equal(n_discarded, 0); /* so small a picture is not worth it, */
        e.ae->discard_floats_min = 1;     /* but here */
        there_and_back(&e, &cases[i], spoilt);
        assert_true(n_discarded > 10 * rgb.n);
        assert_memory_equal(kept, spoilt, n * sizeof(float));
        e.be->ops = real_ops;
        engine_close(&e);
        free(kept);
        free(spoilt);
        free(rgb.data);
        free(tokens.data);
    }
}

/* ---- What bad input gets ---- */

static void fails_to_open(struct copy *c, enum err code, const char *needle)
{
    struct engine e;
    engine_backend(&e, cpu_detect(), 1);
    assert_fails(autoencoder_open(e.be, copy_write(c), &e.ae, &em), code, needle);
    assert_null(e.ae);
    engine_close(&e);
    copy_end(c);
}

static void bad_config(const char *from, const char *to, enum err code, const char *needle)
{
    struct copy c;
    copy_begin(&c, data_path("vae/kl_odd"));
    replace(&c.config_text, from, to);
    fails_to_open(&c, code, needle);
}

static void test_bad_config(void **state)
{
    (void)state;
    bad_config("\"AutoencoderKLFlux2\"", "\"AutoencoderKL\"     ", ERR_UNSUPPORTED,
               "no autoencoder of class AutoencoderKL ");
    bad_config("\"_class_name\"", "\"_klass_name\"", ERR_FORMAT, "_class_name");
    bad_config("\"silu\"", "\"gelu\"", ERR_UNSUPPORTED, "act_fn gelu");
    bad_config("\"DownEncoderBlock2D\"", "\"AttnEncodrBlock2D\" ", ERR_UNSUPPORTED,
               "down_block_types: this program has no AttnEncodrBlock2D");
    bad_config("\"UpDecoderBlock2D\"", "\"UpDecoderBlock3D\"", ERR_UNSUPPORTED,
               "up_block_types: this program has no UpDecoderBlock3D");
    bad_config("\"norm_num_groups\": 3", "\"norm_num_groups\": 5", ERR_FORMAT,
               "6 channels cannot be normed in 5 groups");
    bad_config("\"in_channels\": 3", "\"in_channels\": 4", ERR_FORMAT, "in_channels");
    bad_config("\"layers_per_block\": 1", "\"layers_per_block\": 0", ERR_FORMAT,
               "layers_per_block");
    bad_config("\"layers_per_block\": 1", "\"layers_per_block\": 2", ERR_NOTFOUND,
               "encoder.down_blocks.0.resnets.1.norm1.weight");
    bad_config("\"use_quant_conv\": false", "\"use_quant_conv\": true ", ERR_NOTFOUND,
               "\"quant_conv.weight\"");
    bad_config("\"latent_channels\": 5", "\"latent_channels\": 6", ERR_FORMAT,
               "encoder.conv_out.weight");
    bad_config("\"batch_norm_eps\": 0.001", "\"batch_norm_eps\": -0.01", ERR_FORMAT,
               "batch_norm_eps");
}

static void test_bad_patch(void **state)
{
    (void)state;
    struct copy c;
    copy_begin(&c, data_path("vae/kl_odd"));
    char *p = strstr(find_bytes(&c.config_text, "\"patch_size\""), "2");
    *p = '3';
    fails_to_open(&c, ERR_UNSUPPORTED, "patch_size must be two equal numbers");

    copy_begin(&c, data_path("vae/kl_odd"));
    p = strstr(find_bytes(&c.config_text, "\"patch_size\""), "2");
    *p = '3';
    *strstr(p, "2") = '3';
    fails_to_open(&c, ERR_FORMAT, "bn.running_mean");
}

static void bad_weights(const char *from, const char *to, enum err code, const char *needle)
{
    struct copy c;
    copy_begin(&c, data_path("vae/kl_odd"));
    replace(&c.bytes, from, to);
    fails_to_open(&c, code, needle);
}

static void test_bad_tensors(void **state)
{
    (void)state;
    bad_weights("decoder.mid_block.resnets.1.conv2.weight",
                "decoder.mid_block.resnets.1.conv3.weight", ERR_NOTFOUND,
                "decoder.mid_block.resnets.1.conv2.weight");
    bad_weights("decoder.conv_in.weight", "decoder.conv_on.weight", ERR_NOTFOUND,
                "decoder.conv_in.weight");
    bad_weights("encoder.conv_out.weight", "encoder.conv_ouf.weight", ERR_NOTFOUND,
                "encoder.conv_out.weight");
    bad_weights("decoder.mid_block.attentions.0.to_out.0.bias",
                "decoder.mid_block.attentions.0.to_out.1.bias", ERR_NOTFOUND,
                "decoder.mid_block.attentions.0.to_out.0.bias");
    bad_weights("bn.running_var", "bn.running_vax", ERR_NOTFOUND, "bn.running_var");
    /* [12, 5, 3, 3] of conv_in, turned */
    bad_weights("[12,5,3,3]", "[5,12,3,3]", ERR_FORMAT, "decoder.conv_in.weight");
}

static void bad_value(const char *tensor, size_t i, float value, const char *needle)
{
    struct copy c;
    copy_begin(&c, data_path("vae/kl_odd"));
    memcpy(tensor_bytes(&c.bytes, tensor) + i * sizeof value, &value, sizeof value);
    fails_to_open(&c, ERR_FORMAT, needle);
}

static void test_bad_values(void **state)
{
    (void)state;
    bad_value("decoder.up_blocks.1.resnets.0.conv1.weight", 17, NAN,
              "tensor decoder.up_blocks.1.resnets.0.conv1.weight holds values that are not");
    bad_value("encoder.mid_block.attentions.0.group_norm.bias", 8, -INFINITY,
              "tensor encoder.mid_block.attentions.0.group_norm.bias holds values");
    bad_value("bn.running_mean", 3, NAN, "no statistics at channel 3");
    bad_value("bn.running_var", 19, -1, "no statistics at channel 19");
}

static void test_bad_bf16(void **state)
{
    (void)state;
    struct copy c;
    uint16_t inf = 0xff80;
    copy_begin(&c, data_path("vae/kl_bf16"));
    memcpy(tensor_bytes(&c.bytes, "decoder.conv_out.bias") + 2 * sizeof inf, &inf, sizeof inf);
    fails_to_open(&c, ERR_FORMAT, "tensor decoder.conv_out.bias holds values");
}

/* Every weight is finite, but their products are not. */
static void test_overflow(void **state)
{
    (void)state;
    struct copy c;
    struct engine e;
    float huge = 3e38f, tokens[20], rgb[8 * 8 * 3];
    for (size_t i = 0; i < 20; i++)
        tokens[i] = (float)i;
    copy_begin(&c, data_path("vae/kl_odd"));
    for (size_t i = 0; i < 81; i++)
        memcpy(tensor_bytes(&c.bytes, "decoder.conv_out.weight") + i * sizeof huge, &huge,
               sizeof huge);
    engine_open(&e, cpu_detect(), 1, copy_write(&c));
    assert_fails(autoencoder_decode(e.ae, tokens, 1, 1, rgb, NULL, &em), ERR_FORMAT,
                 "the decoded picture holds values that are not finite");
    engine_close(&e);
    copy_end(&c);
}

/* What training scripts leave behind: one half of an autoencoder. */
static void test_halves(void **state)
{
    (void)state;
    static const char *const halves[2] = {"encoder.", "decoder."};
    float tokens[20] = {0}, rgb[8 * 8 * 3] = {0};
    for (size_t gone = 0; gone < 2; gone++) {
        struct copy c;
        struct engine e;
        char *p;
        copy_begin(&c, data_path("vae/kl_odd"));
        while ((p = memmem(c.bytes.ptr, c.bytes.len, halves[gone], 8)))
            memcpy(p, "nothing.", 8);
        engine_open(&e, cpu_detect(), 1, copy_write(&c));
        assert_int_equal(e.info.has_encoder, gone == 1);
        assert_int_equal(e.info.has_decoder, gone == 0);
        if (gone == 0) {
            assert_ok(autoencoder_decode(e.ae, tokens, 1, 1, rgb, NULL, &em));
            assert_fails(autoencoder_encode(e.ae, rgb, 8, 8, tokens, NULL, &em), ERR_UNSUPPORTED,
                         "holds no encoder");
        } else {
            assert_ok(autoencoder_encode(e.ae, rgb, 8, 8, tokens, NULL, &em));
            assert_fails(autoencoder_decode(e.ae, tokens, 1, 1, rgb, NULL, &em), ERR_UNSUPPORTED,
                         "holds no decoder");
        }
        engine_close(&e);
        copy_end(&c);
    }
}

static void test_bad_calls(void **state)
{
    (void)state;
    struct engine e;
    float tokens[40] = {0}, rgb[8 * 16 * 3] = {0};
    engine_open(&e, cpu_detect(), 1, data_path("vae/kl_odd"));
    assert_fails(autoencoder_encode(e.ae, rgb, 8, 12, tokens, NULL, &em), ERR_USAGE,
                 "12x8 pixels: sides must be multiples of 8");
    assert_fails(autoencoder_encode(e.ae, rgb, 0, 8, tokens, NULL, &em), ERR_USAGE, "8x0 pixels");
    assert_fails(autoencoder_decode(e.ae, tokens, 0, 1, rgb, NULL, &em), ERR_USAGE, "8x0 pixels");
    assert_fails(autoencoder_decode(e.ae, tokens, SIZE_MAX / 4, 1, rgb, NULL, &em), ERR_USAGE,
                 "too large");
    assert_fails(autoencoder_decode_latent(e.ae, tokens, SIZE_MAX / 2, 1, rgb, NULL, &em),
                 ERR_USAGE, "too large");
    assert_fails(autoencoder_decode_latent(e.ae, tokens, 1 << 20, 1, rgb, NULL, &em), ERR_USAGE,
                 "at most");
    tokens[7] = NAN;
    assert_fails(autoencoder_decode(e.ae, tokens, 1, 1, rgb, NULL, &em), ERR_FORMAT,
                 "the latent holds values that are not finite");
    rgb[5] = INFINITY;
    assert_fails(autoencoder_encode(e.ae, rgb, 8, 8, tokens, NULL, &em), ERR_FORMAT,
                 "the picture holds values that are not finite");
    engine_close(&e);
}

static void test_bad_paths(void **state)
{
    (void)state;
    struct engine e;
    engine_backend(&e, cpu_detect(), 1);
    assert_fails(autoencoder_open(e.be, data_path("vae/none"), &e.ae, &em), ERR_NOTFOUND,
                 "vae/none");
    assert_fails(autoencoder_open(e.be, data_path("vae"), &e.ae, &em), ERR_NOTFOUND, "config.json");
    /* diffusers' names in a single file, without the configuration */
    assert_fails(autoencoder_open(e.be, data_path("vae/kl_odd/diffusion_pytorch_model.safetensors"),
                                  &e.ae, &em),
                 ERR_UNSUPPORTED, "no autoencoder in BFL's layout");
    engine_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),  cmocka_unit_test(test_info),
        cmocka_unit_test(test_flops),      cmocka_unit_test(test_threads),
        cmocka_unit_test(test_cancel),     cmocka_unit_test(test_discards),
        cmocka_unit_test(test_no_memory),  cmocka_unit_test(test_bad_config),
        cmocka_unit_test(test_bad_patch),  cmocka_unit_test(test_bad_tensors),
        cmocka_unit_test(test_bad_values), cmocka_unit_test(test_bad_bf16),
        cmocka_unit_test(test_overflow),   cmocka_unit_test(test_halves),
        cmocka_unit_test(test_bad_calls),  cmocka_unit_test(test_bad_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
