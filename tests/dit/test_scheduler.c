/* SPDX-License-Identifier: MIT */
/* The sigmas are diffusers' to the last bit; what the scheduler cannot do it refuses. */
#include "base/buf.h"
#include "base/file.h"
#include "made.h"
#include "models/scheduler.h"
#include "test.h"

static void test_sigmas(void **state)
{
    (void)state;
    struct errmsg em;
    struct buf text = {0};
    assert_ok(file_read(data_path("dit/sigmas.txt"), 1 << 20, &text, &em));
    char *save = NULL;
    size_t n_lines = 0;
    for (char *line = strtok_r((char *)text.ptr, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        struct scheduler s;
        float sigmas[64];
        char *p = line;
        s.dynamic_shifting = (int)strtol(p, &p, 10);
        s.shift = strtod(p, &p);
        size_t n_steps = strtoul(p, &p, 10);
        size_t n_image = strtoul(p, &p, 10);
        assert_in_range(n_steps, 1, 63);
        scheduler_sigmas(&s, n_steps, n_image, sigmas);
        for (size_t i = 0; i <= n_steps; i++) {
            float expected = strtof(p, &p);
            if (memcmp(&sigmas[i], &expected, sizeof expected))
                fail_msg("dynamic %d, shift %g, %zu steps, %zu tokens: sigma %zu is %a, not %a",
                         s.dynamic_shifting, s.shift, n_steps, n_image, i, (double)sigmas[i],
                         (double)expected);
        }
        assert_true(sigmas[n_steps] == 0.0f);
        n_lines++;
    }
    assert_in_range(n_lines, 130, 140);
    buf_deinit(&text);
}

static enum err open_text(const char *dir, const char *json, struct scheduler *out,
                          struct errmsg *em)
{
    made_file(dir, "scheduler_config.json", json, strlen(json));
    char *path = path_join(dir, "scheduler_config.json");
    assert_non_null(path);
    enum err rc = scheduler_open(path, out, em);
    free(path);
    return rc;
}

#define CLASS "\"_class_name\": \"FlowMatchEulerDiscreteScheduler\""

static void test_config(void **state)
{
    (void)state;
    struct errmsg em;
    struct scheduler s;
    char *dir = made_dir();
    assert_ok(open_text(dir, "{" CLASS "}", &s, &em));
    assert_false(s.dynamic_shifting);
    assert_true(s.shift == 1.0);
    /* klein's own */
    assert_ok(open_text(dir,
                        "{" CLASS
                        ", \"_diffusers_version\": \"0.37.0.dev0\", \"base_image_seq_len\": "
                        "256, \"base_shift\": 0.5, \"invert_sigmas\": false, "
                        "\"max_image_seq_len\": 4096, \"max_shift\": 1.15, "
                        "\"num_train_timesteps\": 1000, \"shift\": 3.0, \"shift_terminal\": null, "
                        "\"stochastic_sampling\": false, \"time_shift_type\": \"exponential\", "
                        "\"use_beta_sigmas\": false, \"use_dynamic_shifting\": true, "
                        "\"use_exponential_sigmas\": false, \"use_karras_sigmas\": false}",
                        &s, &em));
    assert_true(s.dynamic_shifting);
    assert_true(s.shift == 3.0);

    static const struct {
        const char *json;
        enum err code;
        const char *needle;
    } bad[] = {
        {"{\"_class_name\": \"EulerDiscreteScheduler\"}", ERR_UNSUPPORTED,
         "_class_name \"EulerDiscreteScheduler\" is not supported; only "
         "\"FlowMatchEulerDiscreteScheduler\""},
        {"{\"_class_name\": 3}", ERR_FORMAT, "_class_name"},
        {"{" CLASS ", \"time_shift_type\": \"linear\"}", ERR_UNSUPPORTED,
         "time_shift_type \"linear\""},
        {"{" CLASS ", \"use_karras_sigmas\": true}", ERR_UNSUPPORTED,
         "\"use_karras_sigmas\" is on"},
        {"{" CLASS ", \"use_exponential_sigmas\": true}", ERR_UNSUPPORTED,
         "\"use_exponential_sigmas\" is on"},
        {"{" CLASS ", \"use_beta_sigmas\": true}", ERR_UNSUPPORTED, "\"use_beta_sigmas\" is on"},
        {"{" CLASS ", \"use_flow_sigmas\": true}", ERR_UNSUPPORTED, "\"use_flow_sigmas\" is on"},
        {"{" CLASS ", \"invert_sigmas\": true}", ERR_UNSUPPORTED, "\"invert_sigmas\" is on"},
        {"{" CLASS ", \"stochastic_sampling\": true}", ERR_UNSUPPORTED,
         "\"stochastic_sampling\" is on"},
        {"{" CLASS ", \"use_karras_sigmas\": 1}", ERR_FORMAT, "use_karras_sigmas"},
        {"{" CLASS ", \"shift_terminal\": 0.1}", ERR_UNSUPPORTED, "\"shift_terminal\" is set"},
        {"{" CLASS ", \"shift_terminal\": \"x\"}", ERR_FORMAT, "shift_terminal"},
        {"{" CLASS ", \"num_train_timesteps\": 500}", ERR_UNSUPPORTED,
         "\"num_train_timesteps\" is 500, and only 1000"},
        {"{" CLASS ", \"num_train_timesteps\": 0}", ERR_FORMAT, "num_train_timesteps"},
        {"{" CLASS ", \"shift\": 0.0}", ERR_FORMAT, "shift"},
        {"{" CLASS ", \"use_dynamic_shifting\": \"yes\"}", ERR_FORMAT, "use_dynamic_shifting"},
        {"{", ERR_FORMAT, "scheduler_config.json"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_fails(open_text(dir, bad[i].json, &s, &em), bad[i].code, bad[i].needle);
        assert_non_null(strstr(em.text, "scheduler_config.json"));
    }
    assert_fails(scheduler_open("/nonexistent/scheduler_config.json", &s, &em), ERR_NOTFOUND,
                 "/nonexistent/scheduler_config.json");
    made_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sigmas),
        cmocka_unit_test(test_config),
    };
    return cmocka_run_group_tests_name("scheduler", tests, NULL, NULL);
}
