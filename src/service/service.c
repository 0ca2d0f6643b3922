/* SPDX-License-Identifier: MIT */
/* The server: everything is started in the order of its needs, and stopped in the reverse. */
#include "service/service.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "api/api.h"
#include "base/clock.h"
#include "base/pool.h"
#include "easel.h"
#include "http/http.h"
#include "service/data_dir.h"
#include "service/fetch.h"
#include "service/log.h"
#include "service/notify.h"
#include "service/secrets.h"
#include "service/supervisor.h"
#include "service/upkeep.h"
#include "webhooks/webhooks.h"

#define URL_BYTES_MAX 512u
#define WEBHOOKS_GRACE_MS 5000u

struct service {
    const struct service_options *o;
    struct service_options workers; /* as the workers get them */
    struct log *log, *access;
    struct data_dir data;
    struct store *store;
    struct blobs *blobs;
    struct fetcher *fetcher;
    struct api *api;
    _Atomic(struct webhooks *) webhooks;
    struct http_server *http;
    struct upkeep *upkeep;
    struct supervisor *supervisor;
    char *signing_secret, *webhook_secret, *public_url;
    char listening[URL_BYTES_MAX], local_url[URL_BYTES_MAX + 8], model_name[64];
    unsigned references_max;
    bool can_enhance;
    int signal_fd;
    bool on_terminal; /* SIGHUP says that it is gone */
    bool announced, stopping;
    void (*started)(void *ctx, const char *url, const char *first_key);
    void *started_ctx;
};

void service_defaults(struct service_options *o)
{
    *o = (struct service_options){
        .listen = "127.0.0.1:8080",
        .n_workers = 1,
        .previews = true,
        .queue_max = 1000,
        .result_lifetime_ms = INT64_C(24) * 3600 * 1000,
        .price_output_mp = 1,
        .price_reference_mp = 1,
        .grace_s = 30,
        .make_first_key = true,
        .program = "/proc/self/exe",
        .ready_fd = -1,
    };
}

/* ---- what the parts call back ---- */

static void on_log(void *ctx, const char *level, const char *message)
{
    const struct service *s = ctx;
    log_write(s->log, level, message);
}

static void on_access(void *ctx, const char *json_line)
{
    const struct service *s = ctx;
    log_raw(s->access, json_line);
}

static void on_webhook_owed(void *ctx)
{
    struct service *s = ctx;
    struct webhooks *w = atomic_load(&s->webhooks);
    if (w) /* requests come in a moment before it is started */
        webhooks_wake(w);
}

static void on_task_queued(void *ctx)
{
    const struct service *s = ctx;
    supervisor_wake(s->supervisor);
}

static bool worker_ready(void *ctx)
{
    const struct service *s = ctx;
    return s->o->n_workers ? supervisor_n_ready(s->supervisor) > 0
                           : upkeep_n_workers(s->upkeep) > 0;
}

static enum err on_reach_begin(void *ctx, struct reach *r, struct errmsg *em)
{
    const struct service *s = ctx;
    return fetcher_begin(s->fetcher, r, em);
}

static void on_reach_end(void *ctx, struct reach *r)
{
    const struct service *s = ctx;
    fetcher_end(s->fetcher, r);
}

static enum err render_webhook(void *ctx, const struct outbox_entry *e, struct buf *out,
                               struct errmsg *em)
{
    const struct service *s = ctx;
    return api_render_webhook(s->api, e, out, em);
}

static void on_store_change(void *ctx)
{
    const struct service *s = ctx;
    api_store_changed(s->api);
    on_webhook_owed(ctx);
}

static void on_worker_death(void *ctx)
{
    const struct service *s = ctx;
    upkeep_call_roll(s->upkeep);
}

/* ---- start, in order ---- */

/* Blocked before any thread starts, so that all inherit it: signals are read, not suffered. */
static enum err take_signals(struct service *s, struct errmsg *em)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on files' sizes is as a full disk: an error, no death */
    if (pthread_sigmask(SIG_BLOCK, &set, NULL))
        return err_set(em, ERR_IO, "cannot block signals");
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signal_fd < 0)
        return err_set(em, ERR_IO, "cannot read signals: %s", strerror(errno));
    s->on_terminal = !s->o->log_file && isatty(STDERR_FILENO);
    return ERR_OK;
}

static enum err open_logs(struct service *s, struct errmsg *em)
{
    enum err rc = log_open(s->o->log_file, &s->log, em);
    if (!rc && s->o->access_log_file)
        rc = log_open(s->o->access_log_file, &s->access, em);
    return rc;
}

/* A worker opens the model to draw with it; we, to know what to promise, and to say at once
 * what is wrong with it. */
static enum err learn_model(struct service *s, struct errmsg *em)
{
    struct easel_model_options options;
    struct easel_error error;
    struct easel_model *model = NULL;
    if (s->o->stub) {
        snprintf(s->model_name, sizeof s->model_name, "stub");
        s->references_max = EASEL_REFERENCES_MAX;
        s->can_enhance = true;
        return ERR_OK;
    }
    easel_model_defaults(&options);
    options.n_threads = 1;
    options.cpu = getenv("EASEL_CPU");
    enum easel_status status = easel_model_open(s->o->model, &options, &model, &error);
    if (status)
        return err_set(em, (enum err)status, "%s", error.message);
    const struct easel_model_info *info = easel_model_info(model);
    snprintf(s->model_name, sizeof s->model_name, "%s", info->name);
    s->references_max = info->references_max;
    s->can_enhance = info->can_enhance;
    easel_model_close(model);
    return ERR_OK;
}

static enum err open_data(struct service *s, struct errmsg *em)
{
    return data_dir_open_locked(s->o->data_dir, &s->data, em);
}

static enum err open_store(struct service *s, struct errmsg *em)
{
    struct store_options options = {.path = s->data.database,
                                    .queue_max = s->o->queue_max,
                                    .result_lifetime_ms = s->o->result_lifetime_ms};
    enum err rc = store_open(&options, &s->store, em);
    if (!rc)
        rc = blobs_open(s->data.blobs, &s->blobs, em);
    if (!rc)
        rc = secrets_signing(s->store, &s->signing_secret, em);
    if (rc)
        return rc;
    if (!s->o->webhook_secret)
        return service_webhook_secret(s->store, &s->webhook_secret, em);
    s->webhook_secret = strdup(s->o->webhook_secret);
    return s->webhook_secret ? webhook_secret_check(s->webhook_secret, em)
                             : err_nomem(em, strlen(s->o->webhook_secret));
}

static enum err copy_public_url(struct service *s, struct errmsg *em)
{
    if (!s->o->public_url)
        return ERR_OK;
    s->public_url = strdup(s->o->public_url);
    if (!s->public_url)
        return err_nomem(em, strlen(s->o->public_url));
    size_t n = strlen(s->public_url);
    while (n && s->public_url[n - 1] == '/')
        s->public_url[--n] = '\0';
    return ERR_OK;
}

static enum err start_fetcher(struct service *s, struct errmsg *em)
{
    struct fetcher_options options = {.dir = s->data.temporary,
                                      .allow_private = s->o->allow_private_webhooks};
    return fetcher_new(&options, &s->fetcher, em);
}

static enum err start_api(struct service *s, struct errmsg *em)
{
    const struct service_options *o = s->o;
    struct api_options options = {
        .store = s->store,
        .blobs = s->blobs,
        .public_url = s->public_url,
        .model = s->model_name,
        .references_max = s->references_max,
        .can_enhance = s->can_enhance,
        .signing_secret = s->signing_secret,
        .url_lifetime_ms = o->result_lifetime_ms,
        .prices = {.output_mp = o->price_output_mp, .reference_mp = o->price_reference_mp},
        .reach_begin = on_reach_begin,
        .reach_end = on_reach_end,
        .webhook_owed = on_webhook_owed,
        .task_queued = on_task_queued,
        .worker_ready = worker_ready,
        .log = on_log,
        .access = s->access ? on_access : NULL,
        .ctx = s,
    };
    return api_new(&options, &s->api, em);
}

static enum err start_webhooks(struct service *s, struct errmsg *em)
{
    struct webhooks_options options = {
        .store = s->store,
        .secret = s->webhook_secret,
        .allow_private = s->o->allow_private_webhooks,
        .render = render_webhook,
        .log = on_log,
        .ctx = s,
    };
    struct webhooks *w = NULL;
    enum err rc = webhooks_start(&options, &w, em);
    atomic_store(&s->webhooks, w);
    return rc;
}

static enum err start_upkeep(struct service *s, struct errmsg *em)
{
    struct upkeep_options options = {
        .store = s->store,
        .blobs = s->blobs,
        .data = &s->data,
        .log = s->log,
        .on_change = on_store_change,
        .ctx = s,
    };
    return upkeep_start(&options, &s->upkeep, em);
}

static enum err new_supervisor(struct service *s, struct errmsg *em)
{
    s->workers = *s->o;
    unsigned share = pool_usable_processors() / (s->o->n_workers ? s->o->n_workers : 1);
    if (!s->workers.n_threads)
        s->workers.n_threads = share ? share : 1;
    struct supervisor_options options = {
        .service = &s->workers, .log = s->log, .on_death = on_worker_death, .ctx = s};
    return supervisor_new(&options, &s->supervisor, em);
}

/* Where it listens, with the port that it got, and how it is reached from this machine. */
static void set_addresses(struct service *s)
{
    const char *listen = s->o->listen, *colon = strrchr(listen, ':');
    int len = colon ? (int)(colon - listen) : 0;
    unsigned port = http_server_port(s->http);
    snprintf(s->listening, sizeof s->listening, "%.*s:%u", len, listen, port);
    bool any = !len || !strncmp(listen, "0.0.0.0:", 8) || !strncmp(listen, "[::]:", 5) ||
               !strncmp(listen, "*:", 2);
    if (any)
        snprintf(s->local_url, sizeof s->local_url, "http://127.0.0.1:%u", port);
    else
        snprintf(s->local_url, sizeof s->local_url, "http://%s", s->listening);
}

static enum err start_http(struct service *s, struct errmsg *em)
{
    struct http_options options = {
        .listen = s->o->listen,
        .n_threads = s->o->http_threads,
        .body_dir = s->data.temporary,
    };
    enum err rc = http_server_start(&options, api_handler(), s->api, &s->http, em);
    if (rc)
        return rc;
    set_addresses(s);
    return api_set_local_url(s->api, s->local_url, em);
}

static enum err start(struct service *s, struct errmsg *em)
{
    static enum err (*const steps[])(struct service *, struct errmsg *) = {
        take_signals,  open_logs, copy_public_url, learn_model,    open_data,  open_store,
        start_fetcher, start_api, start_upkeep,    new_supervisor, start_http, start_webhooks,
    };
    enum err rc = ERR_OK;
    for (size_t i = 0; !rc && i < sizeof steps / sizeof *steps; i++)
        rc = steps[i](s, em);
    return rc;
}

/* ---- running ---- */

static void log_start(const struct service *s, const char *url)
{
    bool elsewhere = strcmp(url + strcspn(url, ":") + 3, s->listening) != 0;
    log_printf(
        s->log, "info", "easel %s serves %s%s%s: model %s, %u worker%s of %u thread%s, data in %s",
        easel_version(), url, elsewhere ? ", listening on " : "", elsewhere ? s->listening : "",
        s->model_name, s->o->n_workers, s->o->n_workers == 1 ? "" : "s", s->workers.n_threads,
        s->workers.n_threads == 1 ? "" : "s", s->data.path);
}

static enum err announce(struct service *s, struct errmsg *em)
{
    const char *url = s->public_url ? s->public_url : s->local_url;
    char *key = NULL;
    enum err rc = s->o->make_first_key ? secrets_first_key(s->store, &key, em) : ERR_OK;
    if (rc)
        return rc;
    s->announced = true;
    log_start(s, url);
    s->started(s->started_ctx, url, key);
    notify_systemd("READY=1");
    free(key);
    return ERR_OK;
}

static void reopen_logs(struct service *s)
{
    struct errmsg em;
    if (log_reopen(s->log, &em) || (s->access && log_reopen(s->access, &em)))
        log_write(s->log, "error", em.text);
    else
        log_write(s->log, "info", "logs reopened");
    supervisor_signal(s->supervisor, SIGHUP);
}

static void read_signals(struct service *s)
{
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        int number = (int)info.ssi_signo;
        if (number == SIGHUP && !s->on_terminal)
            reopen_logs(s);
        else if (number != SIGCHLD)
            s->stopping = true;
    }
}

static enum err run(struct service *s, struct errmsg *em)
{
    struct pollfd fds[WORKERS_MAX + 1];
    enum err rc = ERR_OK;
    while (!rc && !s->stopping) {
        rc = supervisor_tend(s->supervisor, em);
        if (!rc && !s->announced && (!s->o->n_workers || supervisor_n_ready(s->supervisor)))
            rc = announce(s, em);
        if (rc)
            break;
        fds[0] = (struct pollfd){.fd = s->signal_fd, .events = POLLIN};
        size_t n = 1 + supervisor_poll_fds(s->supervisor, fds + 1);
        (void)poll(fds, n, supervisor_timeout_ms(s->supervisor));
        read_signals(s);
    }
    return rc;
}

/* ---- stop, in reverse ---- */

/* When the first signal came. Tools such as timeout(1) send theirs twice, to us and to our
 * group: what comes this soon is no second one. */
#define SAME_SIGNAL_S 0.5
static double stopping_since_s;

static void end_at_once(int number)
{
    if (clock_now_s() - stopping_since_s < SAME_SIGNAL_S)
        return;
    _exit(128 + number); /* the workers die with us; the store is whole at any moment */
}

/* A second signal. A handler, since the kernel spares a container's first process what it has
 * none for. */
static void release_signals(void)
{
    struct sigaction sa = {.sa_handler = end_at_once};
    sigset_t set;
    stopping_since_s = clock_now_s();
    sigemptyset(&sa.sa_mask);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static unsigned remaining_ms(double until_s)
{
    double left = until_s - clock_now_s();
    return left > 0 ? (unsigned)(left * 1000) : 0;
}

/* The workers are told first, so that a client who waits for a picture may still get it. */
static void finish(struct service *s)
{
    double until = clock_now_s() + s->o->grace_s;
    notify_systemd("STOPPING=1");
    log_printf(s->log, "info", "stopping: no new requests; a running picture has %u s to finish",
               s->o->grace_s);
    release_signals();
    upkeep_set_stopping(s->upkeep);
    supervisor_signal(s->supervisor, SIGINT);
    http_server_stop(s->http, remaining_ms(until));
    s->http = NULL;
    supervisor_stop(s->supervisor, (remaining_ms(until) + 999) / 1000);
}

static void close_all(struct service *s)
{
    if (s->http)
        http_server_stop(s->http, 0);
    supervisor_free(s->supervisor);
    upkeep_stop(s->upkeep);
    webhooks_stop(s->webhooks, WEBHOOKS_GRACE_MS);
    api_free(s->api);
    fetcher_free(s->fetcher);
    blobs_close(s->blobs);
    store_close(s->store);
    data_dir_close(&s->data);
    free(s->signing_secret);
    free(s->webhook_secret);
    free(s->public_url);
    if (s->announced)
        log_write(s->log, "info", "stopped");
    log_close(s->access);
    log_close(s->log);
    if (s->signal_fd >= 0)
        close(s->signal_fd);
}

enum err service_run(const struct service_options *o,
                     void (*started)(void *ctx, const char *url, const char *first_key), void *ctx,
                     struct errmsg *em)
{
    struct service s = {
        .o = o, .data = {.lock_fd = -1}, .signal_fd = -1, .started = started, .started_ctx = ctx};
    enum err rc = start(&s, em);
    if (!rc)
        rc = run(&s, em);
    if (!rc)
        finish(&s);
    close_all(&s);
    return rc;
}
