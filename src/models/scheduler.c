/* SPDX-License-Identifier: MIT */
/* The sigmas, with numpy's roundings: the even schedule in float64, rounded to
 * float32, shifted in float32 by constants that were made in float64. */
#include "models/scheduler.h"

#include <math.h>
#include <string.h>

#include "formats/config.h"

static enum err refuse_if_on(const struct config *c, const char *path, const char *key,
                             struct errmsg *em)
{
    bool on = false;
    enum err rc = config_bool(c, key, 0, &on, em);
    if (rc)
        return rc;
    if (on)
        return err_set(em, ERR_UNSUPPORTED, "%s: \"%s\" is on, which is not supported", path, key);
    return ERR_OK;
}

static enum err read_string(const struct config *c, const char *path, const char *key,
                            const char *wanted, struct errmsg *em)
{
    const char *value = NULL;
    enum err rc = config_string(c, key, wanted, &value, em);
    if (rc)
        return rc;
    if (strcmp(value, wanted))
        return err_set(em, ERR_UNSUPPORTED, "%s: %s \"%.100s\" is not supported; only \"%s\" is",
                       path, key, value, wanted);
    return ERR_OK;
}

static enum err read_config(const struct config *c, const char *path, struct scheduler *out,
                            struct errmsg *em)
{
    static const char *const switches[] = {
        "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas",
        "use_flow_sigmas",   "invert_sigmas",          "stochastic_sampling",
    };
    enum err rc = read_string(c, path, "_class_name", "FlowMatchEulerDiscreteScheduler", em);
    if (rc)
        return rc;
    rc = read_string(c, path, "time_shift_type", "exponential", em);
    if (rc)
        return rc;
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++) {
        rc = refuse_if_on(c, path, switches[i], em);
        if (rc)
            return rc;
    }

    double terminal = 0.0;
    rc = config_double(c, "shift_terminal", -1e9, 1e9, 0.0, &terminal, em);
    if (rc)
        return rc;
    if (terminal != 0.0)
        return err_set(em, ERR_UNSUPPORTED, "%s: \"shift_terminal\" is set, which is not supported",
                       path);
    /* The transformer multiplies sigma by 1000 whatever this says. */
    size_t train_steps = 0;
    rc = config_size(c, "num_train_timesteps", 1, 1000000, 1000, &train_steps, em);
    if (rc)
        return rc;
    if (train_steps != 1000)
        return err_set(em, ERR_UNSUPPORTED,
                       "%s: \"num_train_timesteps\" is %zu, and only 1000 is supported", path,
                       train_steps);

    bool dynamic = false;
    rc = config_bool(c, "use_dynamic_shifting", 0, &dynamic, em);
    if (rc)
        return rc;
    double shift = 1.0;
    rc = config_double(c, "shift", 1e-6, 1e6, 1.0, &shift, em);
    if (rc)
        return rc;
    out->dynamic_shifting = dynamic;
    out->shift = shift;
    return ERR_OK;
}

enum err scheduler_open(const char *path, struct scheduler *out, struct errmsg *em)
{
    struct config *c = NULL;
    enum err rc = config_open(path, &c, em);
    if (rc)
        return rc;
    rc = read_config(c, path, out, em);
    config_close(c);
    return rc;
}

/* compute_empirical_mu of pipeline_flux2.py. */
static double empirical_mu(size_t n_image, size_t n_steps)
{
    double n = (double)n_image;
    double m200 = 0.00016927 * n + 0.45666666;
    if (n_image > 4300)
        return m200;
    double m10 = 8.73809524e-05 * n + 1.89833333;
    double a = (m200 - m10) / 190.0;
    double b = m200 - 200.0 * a;
    return a * (double)n_steps + b;
}

/* numpy.linspace(1, 1/n, n)[i] */
static double even_sigma(size_t i, size_t n)
{
    double last = 1.0 / (double)n;
    if (i + 1 == n)
        return last;
    double step = (last - 1.0) / (double)(n - 1);
    return (double)i * step + 1.0;
}

void scheduler_sigmas(const struct scheduler *s, size_t n_steps, size_t n_image, float *sigmas)
{
    float e = (float)exp(empirical_mu(n_image, n_steps));
    float shift = (float)s->shift;
    float shift_minus_1 = (float)(s->shift - 1.0);
    for (size_t i = 0; i < n_steps; i++) {
        float x = (float)even_sigma(i, n_steps);
        if (s->dynamic_shifting)
            sigmas[i] = e / (e + (1.0f / x - 1.0f));
        else
            sigmas[i] = shift * x / (1.0f + shift_minus_1 * x);
    }
    sigmas[n_steps] = 0.0f;
}
