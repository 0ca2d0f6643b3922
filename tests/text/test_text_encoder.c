/* SPDX-License-Identifier: MIT */
/* The text encoder against transformers and diffusers, and against bad models. */
#include "text_fixture.h"

#include "base/size.h"

/* Every layer of the model, 0 first. */
static size_t all_layers(const struct text_encoder *te, size_t layers[16])
{
    size_t n = text_encoder_info(te).n_layers + 1;
    assert_true(n <= 16);
    for (size_t i = 0; i < n; i++)
        layers[i] = i;
    return n;
}

/* A prompt of the reference: "padded", "left", "long", or "" for the one without padding. Free
 * its ids. */
static struct padded_ids reference_prompt(const struct fixture *f, const char *name)
{
    char field[32];
    const char *dot = *name ? "." : "";
    struct padded_ids p = {.side = strcmp(name, "left") ? PAD_RIGHT : PAD_LEFT};
    snprintf(field, sizeof field, "%s%sids", name, dot);
    p.ids = reference_ids(f, field, &p.n);
    snprintf(field, sizeof field, "%s%sn_valid", name, dot);
    p.n_valid = *name ? reference_size(f, field) : p.n;
    return p;
}

static void prompt_free(struct padded_ids *p)
{
    free((void *)(uintptr_t)p->ids);
}

static float *encode(const struct fixture *f, const struct padded_ids *prompt, const size_t *layers,
                     size_t n_layers)
{
    struct errmsg em;
    float *out = malloc(prompt->n * n_layers * text_encoder_info(f->te).hidden * sizeof *out);
    assert_non_null(out);
    assert_ok(text_encoder_hidden_states(f->te, prompt, layers, n_layers, out, NULL, &em));
    return out;
}

/* The layers one after the other, as the reference has them: [n_layers, n, hidden]. */
static float *apart(const float *joined, size_t n, size_t n_layers, size_t hidden)
{
    float *out = malloc(n * n_layers * hidden * sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < n; i++) {
        for (size_t l = 0; l < n_layers; l++)
            memcpy(out + (l * n + i) * hidden, joined + (i * n_layers + l) * hidden,
                   hidden * sizeof *out);
    }
    return out;
}

static void check_every_layer(const struct fixture *f, const char *model, const char *prompt_name)
{
    size_t n_want, layers[16];
    size_t n_layers = all_layers(f->te, layers);
    size_t hidden = text_encoder_info(f->te).hidden;
    char hidden_name[32];
    snprintf(hidden_name, sizeof hidden_name, "%s%shidden", prompt_name, *prompt_name ? "." : "");
    struct padded_ids prompt = reference_prompt(f, prompt_name);
    float *want = reference_floats(f, hidden_name, &n_want);
    assert_int_equal(n_want, prompt.n * n_layers * hidden);

    float *joined = encode(f, &prompt, layers, n_layers);
    float *got = apart(joined, prompt.n, n_layers, hidden);
    for (size_t l = 0; l < n_layers; l++) {
        size_t at = l * prompt.n * hidden;
        double e = relative_error(got + at, want + at, prompt.n * hidden);
        if (!(e <= FIXTURE_TOLERANCE))
            fail_msg("%s, %s, layer %zu: relative error %.2e", model, hidden_name, l, e);
        if (l == 0) /* a table look-up */
            assert_memory_equal(got, want, prompt.n * hidden * sizeof *got);
    }
    free(got);
    free(joined);
    free(want);
    prompt_free(&prompt);
}

static void check_embeddings(const struct fixture *f, const char *prompt_name)
{
    size_t n_layers, n_want, layers[3];
    char name[32];
    struct padded_ids prompt = reference_prompt(f, prompt_name);
    snprintf(name, sizeof name, "%s.layers", prompt_name);
    int32_t *picked = reference_ids(f, name, &n_layers);
    snprintf(name, sizeof name, "%s.embeds", prompt_name);
    float *want = reference_floats(f, name, &n_want);
    assert_int_equal(n_layers, 3);
    for (size_t i = 0; i < 3; i++)
        layers[i] = (size_t)picked[i];
    float *got = encode(f, &prompt, layers, n_layers);
    assert_true(relative_error(got, want, n_want) <= FIXTURE_TOLERANCE);
    free(got);
    free(want);
    free(picked);
    prompt_free(&prompt);
}

/* Only Mistral's prompts are padded on the left. */
static bool has_left(const struct fixture *f)
{
    return weights_has(f->reference, "left.ids");
}

static void test_every_hidden_state(void **state)
{
    (void)state;
    for (enum cpu_level level = CPU_SCALAR; level <= cpu_detect(); level++) {
        size_t n_left = 0;
        for (size_t m = 0; m < n_fixtures; m++) {
            struct fixture f = fixture_open(fixture_names[m], level, 2);
            check_every_layer(&f, fixture_names[m], "");
            check_every_layer(&f, fixture_names[m], "padded");
            if (has_left(&f)) {
                check_every_layer(&f, fixture_names[m], "left");
                n_left++;
            }
            fixture_close(&f);
        }
        assert_true(n_left > 0);
    }
}

static void test_prompt_embeddings_of_diffusers(void **state)
{
    (void)state;
    for (enum cpu_level level = CPU_SCALAR; level <= cpu_detect(); level++) {
        for (size_t m = 0; m < n_fixtures; m++) {
            struct fixture f = fixture_open(fixture_names[m], level, 2);
            check_embeddings(&f, "padded");
            if (has_left(&f))
                check_embeddings(&f, "left");
            fixture_close(&f);
        }
    }
}

/* Without padding it makes no difference on which side it would be. */
static void test_no_padding_on_the_left(void **state)
{
    (void)state;
    struct fixture f = fixture_open("f16-mistral", cpu_detect(), 2);
    size_t last = text_encoder_info(f.te).n_layers;
    struct padded_ids prompt = reference_prompt(&f, "");
    float *right = encode(&f, &prompt, &last, 1);
    prompt.side = PAD_LEFT;
    float *left = encode(&f, &prompt, &last, 1);
    assert_memory_equal(left, right, prompt.n * text_encoder_info(f.te).hidden * sizeof *left);
    free(left);
    free(right);
    prompt_free(&prompt);
    fixture_close(&f);
}

/* Far positions turn by large angles, of which float32 keeps few digits. */
static void test_512_positions(void **state)
{
    (void)state;
    struct fixture f = fixture_open("f32-tied", cpu_detect(), 2);
    size_t n_rows, n_want, hidden = text_encoder_info(f.te).hidden;
    size_t last = text_encoder_info(f.te).n_layers;
    struct padded_ids prompt = reference_prompt(&f, "long");
    int32_t *rows = reference_ids(&f, "long.rows", &n_rows);
    float *want = reference_floats(&f, "long.hidden", &n_want);
    float *got = encode(&f, &prompt, &last, 1);
    assert_int_equal(prompt.n, 512);
    for (size_t i = 0; i < n_rows; i++) {
        double e = relative_error(got + (size_t)rows[i] * hidden, want + i * hidden, hidden);
        if (!(e <= FIXTURE_TOLERANCE))
            fail_msg("row %d: relative error %.2e", (int)rows[i], e);
    }
    free(got);
    free(want);
    free(rows);
    prompt_free(&prompt);
    fixture_close(&f);
}

static void test_layers_in_any_order(void **state)
{
    (void)state;
    struct fixture f = fixture_open("bf16-sharded", cpu_detect(), 2);
    static const size_t order[] = {4, 0, 2, 4, 1};
    size_t hidden = text_encoder_info(f.te).hidden;
    struct padded_ids prompt = reference_prompt(&f, "");
    size_t n_floats = prompt.n * hidden;
    float *joined = encode(&f, &prompt, order, 5);
    float *each = apart(joined, prompt.n, 5, hidden);
    for (size_t i = 0; i < 5; i++) {
        float *alone = encode(&f, &prompt, &order[i], 1);
        assert_memory_equal(alone, each + i * n_floats, n_floats * sizeof *alone);
        free(alone);
    }
    free(each);
    free(joined);
    prompt_free(&prompt);
    fixture_close(&f);
}

/* The first result of each model at this level is kept in first; the others must equal it. */
static void check_same_bytes(enum cpu_level level, unsigned n_threads, float **first)
{
    for (size_t m = 0; m < n_fixtures; m++) {
        struct fixture f = fixture_open(fixture_names[m], level, n_threads);
        size_t layers[16], n_layers = all_layers(f.te, layers);
        struct padded_ids prompt = reference_prompt(&f, has_left(&f) ? "left" : "padded");
        size_t n_floats = prompt.n * n_layers * text_encoder_info(f.te).hidden;
        for (int again = 0; again < 2; again++) {
            float *got = encode(&f, &prompt, layers, n_layers);
            if (!first[m]) {
                first[m] = got;
                continue;
            }
            assert_memory_equal(got, first[m], n_floats * sizeof *got);
            free(got);
        }
        prompt_free(&prompt);
        fixture_close(&f);
    }
}

static void test_same_bytes_for_any_threads(void **state)
{
    (void)state;
    for (enum cpu_level level = CPU_SCALAR; level <= cpu_detect(); level++) {
        float *first[8] = {NULL};
        for (unsigned n_threads = 1; n_threads <= 3; n_threads++)
            check_same_bytes(level, n_threads, first);
        for (size_t m = 0; m < n_fixtures; m++)
            free(first[m]);
    }
}

static void test_padding_is_no_key(void **state)
{
    (void)state;
    struct fixture f = fixture_open("bf16-sharded", cpu_detect(), 2);
    size_t n, hidden = text_encoder_info(f.te).hidden, last = text_encoder_info(f.te).n_layers;
    int32_t *ids = reference_ids(&f, "padded.ids", &n);
    struct padded_ids prompt = {ids, n, reference_size(&f, "padded.n_valid"), PAD_RIGHT};
    float *before = encode(&f, &prompt, &last, 1);
    ids[n - 2] = 99;
    float *after = encode(&f, &prompt, &last, 1);
    for (size_t i = 0; i < n; i++) {
        bool same = !memcmp(before + i * hidden, after + i * hidden, hidden * sizeof *before);
        assert_int_equal(same, i != n - 2);
    }
    free(after);
    free(before);
    free(ids);
    fixture_close(&f);
}

static void test_info(void **state)
{
    (void)state;
    struct fixture f = fixture_open("bf16-sharded", cpu_detect(), 1);
    struct text_encoder_info info = text_encoder_info(f.te);
    assert_int_equal(info.n_layers, 4);
    assert_int_equal(info.hidden, 40);
    assert_int_equal(info.n_heads, 4);
    assert_int_equal(info.n_kv_heads, 2);
    assert_int_equal(info.head_dim, 64);
    assert_int_equal(info.mlp, 72);
    assert_int_equal(info.vocab, 320);
    assert_true(info.has_head);
    assert_int_equal(info.weight_bytes, 2 * info.n_params);
    fixture_close(&f);
}

/* The count, taken again from the stored matrices and the mask. */
static void check_flops(const char *name, struct padded_ids prompt, size_t last)
{
    struct fixture f = fixture_open(name, cpu_detect(), 1);
    struct text_encoder_info info = text_encoder_info(f.te);
    last = last < info.n_layers ? last : info.n_layers;
    double expected = 0;
    /* padding on the left never attends, and is computed once */
    bool left = prompt.side == PAD_LEFT;
    size_t n_queries = left ? prompt.n_valid : prompt.n;
    size_t n_rows = left && prompt.n > prompt.n_valid ? prompt.n_valid + 1 : n_queries;
    char **names = tensor_names(name);
    for (size_t i = 0; names[i]; i++) {
        struct errmsg em;
        struct tensor t;
        assert_ok(weights_get(f.te->weights, names[i], &t, &em));
        const char *layer = strstr(names[i], "layers.");
        bool of_keys = strstr(names[i], "k_proj") || strstr(names[i], "v_proj");
        size_t rows = of_keys ? prompt.n_valid : strstr(names[i], "mlp.") ? n_rows : n_queries;
        if (layer && t.n_dims == 2 && strtoul(layer + 7, NULL, 10) < last)
            expected += 2.0 * (double)t.n_elems * (double)rows;
    }
    names_free(names);
    for (size_t q = 0; q < n_queries; q++)
        for (size_t k = 0; k < prompt.n_valid; k++)
            expected += k <= q ? 4.0 * (double)(last * info.n_heads * info.head_dim) : 0;
    assert_near(text_encoder_flops(&info, &prompt, last), expected, 1e-12 * expected);
    fixture_close(&f);
}

static void test_flops(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_fixtures; i++) {
        check_flops(fixture_names[i], (struct padded_ids){NULL, 12, 5, PAD_RIGHT}, SIZE_MAX);
        check_flops(fixture_names[i], (struct padded_ids){NULL, 9, 9, PAD_RIGHT}, 1);
        check_flops(fixture_names[i], (struct padded_ids){NULL, 12, 5, PAD_LEFT}, SIZE_MAX);
        check_flops(fixture_names[i], (struct padded_ids){NULL, 9, 9, PAD_LEFT}, 1);
    }
}

static void test_pages_given_back_come_again(void **state)
{
    (void)state;
    struct fixture f = fixture_open("bf16-sharded", cpu_detect(), 2);
    text_encoder_release_pages(f.te);
    check_every_layer(&f, "after release", "");
    fixture_close(&f);
}

static void test_cancel_at_every_tick(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture f = fixture_open("bf16-sharded", cpu_detect(), 2);
    static const size_t layers[] = {1, 3};
    static const int32_t ids[] = {1, 2, 3};
    static const struct padded_ids prompt = {ids, 3, 3, PAD_RIGHT};
    float *out = malloc(3 * 2 * 40 * sizeof *out);
    struct stopper s = {.stop_at = SIZE_MAX};
    struct progress p = {stopper_tick, &s};
    assert_ok(text_encoder_hidden_states(f.te, &prompt, layers, 2, out, &p, &em));
    assert_true(s.monotonic);
    assert_int_equal(s.n_calls, 4); /* the blocks up to the last layer, and the end */
    assert_int_equal(s.last_done, 3);
    assert_int_equal(s.last_total, 3);
    for (size_t stop = 0; stop < 4; stop++) {
        s = (struct stopper){.stop_at = stop};
        assert_fails(text_encoder_hidden_states(f.te, &prompt, layers, 2, out, &p, &em),
                     ERR_CANCELLED, "cancelled");
        assert_int_equal(s.n_calls, stop + 1);
    }
    free(out);
    fixture_close(&f);
}

static void test_usage(void **state)
{
    (void)state;
    struct fixture f = fixture_open("bf16-sharded", cpu_detect(), 1);
    float out[4 * 40];
    static const int32_t ids[] = {1, 2, 319}, large[] = {1, 2, 320}, negative[] = {-1, 2, 3};
    static const struct {
        struct padded_ids prompt;
        size_t layer, n_layers;
        const char *message; /* NULL: it works */
    } cases[] = {
        {{ids, 3, 3, PAD_RIGHT}, 2, 1, NULL},
        {{large, 3, 3, PAD_RIGHT}, 2, 1, "token 2 is 320, but the vocabulary has only 320"},
        {{negative, 3, 3, PAD_RIGHT}, 2, 1, "token 0 is -1"},
        {{ids, 3, 3, PAD_RIGHT}, 5, 1, "hidden state 5 was asked for, the last is 4"},
        {{ids, 3, 0, PAD_RIGHT}, 2, 1, "0 of 3 tokens"},
        {{ids, 3, 4, PAD_LEFT}, 2, 1, "4 of 3 tokens"},
        {{ids, 3, 3, PAD_RIGHT}, 2, 0, "no hidden state was asked for"},
        {{ids, 3, 2, PAD_LEFT}, 2, 1, NULL},
        {{ids, 3, 1, PAD_LEFT}, 2, 1, "the padding on the left is of several kinds"},
        {{negative, 3, 2, PAD_LEFT}, 2, 1, "token 0 is -1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct errmsg em;
        enum err rc = text_encoder_hidden_states(f.te, &cases[i].prompt, &cases[i].layer,
                                                 cases[i].n_layers, out, NULL, &em);
        if (cases[i].message)
            assert_fails(rc, ERR_USAGE, cases[i].message);
        else
            assert_ok(rc);
    }
    fixture_close(&f);
}

/* The hidden states that the first blocks give must not depend on what is absent. */
static void test_without_last_blocks_norm_and_head(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture whole = fixture_open("bf16-sharded", cpu_detect(), 2);
    static const struct {
        const char *drop;
        size_t last;
    } cases[] = {{"model.layers.3", 3}, {"model.norm", 4}, {"lm_head", 4}};
    struct padded_ids prompt = reference_prompt(&whole, "");
    for (size_t i = 0; i < 3; i++) {
        char *dir = variant_write(&(struct variant){.from = "bf16-sharded", .drop = cases[i].drop});
        struct fixture f = fixture_open_dir(dir);
        float *want = encode(&whole, &prompt, &cases[i].last, 1);
        float *got = encode(&f, &prompt, &cases[i].last, 1);
        assert_memory_equal(got, want, prompt.n * 40 * sizeof *got);
        assert_false(text_encoder_info(f.te).has_head);
        if (cases[i].last < 4) {
            const size_t layer = 4;
            assert_fails(text_encoder_hidden_states(f.te, &prompt, &layer, 1, got, NULL, &em),
                         ERR_NOTFOUND, "hold only the first 3 of 4");
        }
        free(got);
        free(want);
        fixture_close(&f);
        variant_remove(dir);
    }
    prompt_free(&prompt);
    fixture_close(&whole);
}

static void check_same_states(const struct variant *v)
{
    struct fixture plain = fixture_open(v->from, cpu_detect(), 2);
    char *dir = variant_write(v);
    struct fixture f = fixture_open_dir(dir);
    size_t last = text_encoder_info(f.te).n_layers, hidden = text_encoder_info(f.te).hidden;
    struct padded_ids prompt = reference_prompt(&plain, "");
    float *want = encode(&plain, &prompt, &last, 1);
    float *got = encode(&f, &prompt, &last, 1);
    assert_memory_equal(got, want, prompt.n * hidden * sizeof *got);
    assert_true(text_encoder_info(f.te).has_head);
    free(got);
    free(want);
    prompt_free(&prompt);
    fixture_close(&f);
    variant_remove(dir);
    fixture_close(&plain);
}

#define MISTRAL3(more)                                                                             \
    "{\"model_type\": \"mistral3\", " more "\"text_config\": {\"hidden_size\": 48, "               \
    "\"num_hidden_layers\": 3, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "           \
    "\"head_dim\": 32, \"intermediate_size\": 80, \"vocab_size\": 288, \"rope_theta\": 1e9, "      \
    "\"rms_norm_eps\": 1e-5, \"tie_word_embeddings\": false}}"

static void test_names_and_configs_of_other_makers(void **state)
{
    (void)state;
    check_same_states(&(struct variant){.from = "bf16-sharded", .prefix = ""});
    check_same_states(&(struct variant){.from = "bf16-head128", .prefix = "language_model."});
    /* a model that also sees keeps the text half's fields one level down */
    check_same_states(&(struct variant){
        .from = "f16-mistral", .prefix = "language_model.model.", .config = MISTRAL3("")});
}

/* Where a model that also sees says that its head is the embedding, and what counts when its
 * files hold one none the less. */
static void test_tied_head_beside_the_text_part(void **state)
{
    (void)state;
    static const struct {
        const char *config, *drop;
        bool has_head, tied;
    } cases[] = {
        {MISTRAL3("\"tie_word_embeddings\": true, "), "lm_head", true, true},
        {MISTRAL3("\"tie_word_embeddings\": true, "), NULL, true, false},
        {MISTRAL3("\"tie_word_embeddings\": false, "), "lm_head", false, false},
        {MISTRAL3(""), "lm_head", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *dir = variant_write(&(struct variant){
            .from = "f16-mistral", .config = cases[i].config, .drop = cases[i].drop});
        struct fixture f = fixture_open_dir(dir);
        assert_int_equal(text_encoder_info(f.te).has_head, cases[i].has_head);
        assert_int_equal(f.te->head == f.te->embed, cases[i].tied);
        fixture_close(&f);
        variant_remove(dir);
    }
}

static void check_refused(const struct variant *v, enum err code, const char *needle)
{
    struct errmsg em;
    struct text_encoder *te = NULL;
    char *dir = variant_write(v);
    assert_fails(text_encoder_open(shared_backend(CPU_SCALAR, 1), dir, &te, &em), code, needle);
    assert_null(te);
    assert_non_null(strstr(em.text, dir)); /* every message says which file */
    variant_remove(dir);
}

static bool starts(const char *s, const char *with)
{
    return !strncmp(s, with, strlen(with));
}

static void test_each_missing_tensor_is_named(void **state)
{
    (void)state;
    char **names = tensor_names("f32-tied");
    size_t n_tried = 0;
    for (size_t i = 0; names[i]; i++) {
        if (starts(names[i], "model.norm"))
            continue; /* may be absent */
        check_refused(&(struct variant){.from = "f32-tied", .drop = names[i]}, ERR_NOTFOUND,
                      names[i]);
        n_tried++;
    }
    assert_int_equal(n_tried, 1 + 2 * 11);
    names_free(names);
    check_refused(&(struct variant){.from = "bf16-sharded", .drop = "model.layers"}, ERR_NOTFOUND,
                  "model.layers.0.input_layernorm.weight");
    check_refused(&(struct variant){.from = "bf16-sharded", .drop = "model.layers.1"}, ERR_NOTFOUND,
                  "model.layers.1.input_layernorm.weight");
    check_refused(&(struct variant){.from = "bf16-sharded", .prefix = "transformer."}, ERR_NOTFOUND,
                  "model.embed_tokens.weight");
}

static void test_each_wrong_shape_is_named(void **state)
{
    (void)state;
    char **names = tensor_names("f32-tied");
    for (size_t i = 0; names[i]; i++)
        check_refused(&(struct variant){.from = "f32-tied", .reshape = names[i]}, ERR_FORMAT,
                      names[i]);
    names_free(names);
    check_refused(&(struct variant){.from = "bf16-sharded", .reshape = "lm_head.weight"},
                  ERR_FORMAT, "lm_head.weight");
}

/* Lead to a message, and not to a picture that is wrong without a word. */
static void test_configs_that_cannot_be_run(void **state)
{
    (void)state;
    static const struct {
        const char *from, *old, *new;
        enum err code;
        const char *needle;
    } cases[] = {
        {"f32-tied", "\"model_type\": \"qwen3\"", "\"model_type\": \"llama\"", ERR_UNSUPPORTED,
         "\"llama\""},
        {"f32-tied", "\"model_type\": \"qwen3\"", "\"x\": 1", ERR_FORMAT, "model_type"},
        {"f32-tied", "\"model_type\": \"qwen3\"", "\"model_type\": 3", ERR_FORMAT, "model_type"},
        {"f32-tied", "\"model_type\": \"qwen3\"",
         "\"model_type\": \"mistral3\", \"text_config\": {\"model_type\": \"llama\"}",
         ERR_UNSUPPORTED, "\"llama\""},
        {"f32-tied", "\"silu\"", "\"gelu\"", ERR_UNSUPPORTED, "gelu"},
        {"f32-tied", "\"attention_bias\": false", "\"attention_bias\": true", ERR_UNSUPPORTED,
         "attention_bias"},
        {"f32-tied", "\"rope_type\": \"default\"", "\"rope_type\": \"yarn\"", ERR_UNSUPPORTED,
         "yarn"},
        {"bf16-sharded", "\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"linear\"}",
         ERR_UNSUPPORTED, "linear"},
        {"bf16-sharded", "\"rope_theta\": 1000000.0", "\"x\": 1", ERR_FORMAT, "rope_theta"},
        {"bf16-sharded", "\"rope_theta\": 1000000.0", "\"rope_theta\": 0", ERR_FORMAT,
         "rope_theta"},
        {"f32-tied", "\"full_attention\"", "\"sliding_attention\"", ERR_UNSUPPORTED,
         "sliding-window"},
        {"f32-tied", "\"use_sliding_window\": false", "\"use_sliding_window\": true",
         ERR_UNSUPPORTED, "sliding-window"},
        {"f16-mistral", "\"sliding_window\": null", "\"sliding_window\": 4096", ERR_UNSUPPORTED,
         "sliding-window"},
        {"f32-tied", "\"hidden_size\": 44", "\"hidden_size\": 48", ERR_FORMAT,
         "model.embed_tokens.weight"},
        {"f32-tied", "\"hidden_size\": 44", "\"hidden_size\": 0", ERR_FORMAT, "hidden_size"},
        {"f32-tied", "\"hidden_size\": 44", "\"hidden_size\": -44", ERR_FORMAT, "hidden_size"},
        {"f32-tied", "\"hidden_size\": 44", "\"hidden_size\": 1e99", ERR_FORMAT, "hidden_size"},
        {"f32-tied", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 100000", ERR_FORMAT,
         "num_hidden_layers"},
        {"f32-tied", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", ERR_FORMAT,
         "the weights hold block 1"},
        {"f32-tied", "\"num_key_value_heads\": 3", "\"num_key_value_heads\": 2", ERR_FORMAT,
         "num_key_value_heads"},
        {"f32-tied", "\"head_dim\": 32", "\"head_dim\": 33", ERR_FORMAT, "head_dim"},
        {"f32-tied", "\"head_dim\": 32", "\"head_dim\": 65536", ERR_FORMAT, "head_dim"},
        {"f32-tied", "\"head_dim\": 32", "\"head_dim\": 64", ERR_FORMAT, "q_proj"},
        {"f32-tied", "\"vocab_size\": 257", "\"vocab_size\": 258", ERR_FORMAT,
         "model.embed_tokens.weight"},
        {"f32-tied", "\"intermediate_size\": 101", "\"x\": 1", ERR_FORMAT, "intermediate_size"},
        {"f32-tied", "{", "[", ERR_FORMAT, "config.json"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_refused(&(struct variant){.from = cases[i].from,
                                        .config_old = cases[i].old,
                                        .config_new = cases[i].new},
                      cases[i].code, cases[i].needle);
}

static void test_no_such_folder(void **state)
{
    (void)state;
    struct errmsg em;
    struct text_encoder *te = NULL;
    struct fixture f = fixture_open("f32-tied", CPU_SCALAR, 1);
    assert_fails(text_encoder_open(f.be, "/nonexistent/text_encoder", &te, &em), ERR_NOTFOUND,
                 "/nonexistent/text_encoder");
    fixture_close(&f);
    text_encoder_close(NULL);
}

/* One bad number in any tensor that the result depends on. */
static void check_bad_number_is_found(const char *tensor, float bad, enum cpu_level level)
{
    enum { N = 40 };
    struct errmsg em;
    struct text_encoder *te = NULL;
    const size_t last = 2;
    int32_t ids[N];
    float out[N * 44];
    for (size_t i = 0; i < N; i++)
        ids[i] = (int32_t)(100 + i); /* the middle row of the embedding is in it */
    char *dir =
        variant_write(&(struct variant){.from = "f32-tied", .poison = tensor, .value = bad});
    assert_ok(text_encoder_open(shared_backend(level, 1), dir, &te, &em));
    const struct padded_ids prompt = {ids, N, N, PAD_RIGHT};
    enum err rc = text_encoder_hidden_states(te, &prompt, &last, 1, out, NULL, &em);
    if (rc != ERR_FORMAT || !strstr(em.text, "the weights hold NaN"))
        fail_msg("%s = %g at level %s: %d", tensor, (double)bad, cpu_level_name(level), (int)rc);
    text_encoder_close(te);
    variant_remove(dir);
}

static void test_nan_in_any_weight(void **state)
{
    (void)state;
    char **names = tensor_names("f32-tied");
    for (enum cpu_level level = CPU_SCALAR; level <= cpu_detect(); level++) {
        for (size_t i = 0; names[i]; i++) {
            if (starts(names[i], "model.norm"))
                continue; /* not part of any hidden state */
            check_bad_number_is_found(names[i], NAN, level);
            check_bad_number_is_found(names[i], INFINITY, level);
        }
    }
    names_free(names);
}

static void test_every_backend_failure_is_returned(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture f = fixture_open("f32-tied", cpu_detect(), 1);
    static const int32_t ids[] = {1, 2, 3, 4};
    static const struct padded_ids prompt = {ids, 4, 4, PAD_RIGHT};
    const size_t layers[] = {0, 2};
    float out[4 * 2 * 44];
    bool done = false;
    size_t n_failures = 0;
    for (size_t nth = 0; !done; nth++) {
        struct text_encoder *te = NULL;
        faults_arm(f.be, nth);
        enum err rc = text_encoder_open(f.be, data_path("text/f32-tied"), &te, &em);
        if (!rc)
            rc = text_encoder_hidden_states(te, &prompt, layers, 2, out, NULL, &em);
        text_encoder_close(te);
        assert_int_equal(rc != ERR_OK, faults_fired());
        if (rc)
            assert_true(rc == ERR_NOMEM || rc == ERR_DEVICE);
        n_failures += rc != ERR_OK;
        done = !faults_fired();
        faults_disarm(f.be);
    }
    assert_true(n_failures > 24); /* 24 weights, memory, tables, syncs, downloads */
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_hidden_state),
        cmocka_unit_test(test_prompt_embeddings_of_diffusers),
        cmocka_unit_test(test_no_padding_on_the_left),
        cmocka_unit_test(test_512_positions),
        cmocka_unit_test(test_layers_in_any_order),
        cmocka_unit_test(test_same_bytes_for_any_threads),
        cmocka_unit_test(test_padding_is_no_key),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_flops),
        cmocka_unit_test(test_pages_given_back_come_again),
        cmocka_unit_test(test_cancel_at_every_tick),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_without_last_blocks_norm_and_head),
        cmocka_unit_test(test_names_and_configs_of_other_makers),
        cmocka_unit_test(test_tied_head_beside_the_text_part),
        cmocka_unit_test(test_each_missing_tensor_is_named),
        cmocka_unit_test(test_each_wrong_shape_is_named),
        cmocka_unit_test(test_configs_that_cannot_be_run),
        cmocka_unit_test(test_no_such_folder),
        cmocka_unit_test(test_nan_in_any_weight),
        cmocka_unit_test(test_every_backend_failure_is_returned),
    };
    return cmocka_run_group_tests_name("text_encoder", tests, NULL, shared_backend_free);
}
