/* SPDX-License-Identifier: MIT */
/* One try of one delivery, as a curl handle: what is sent, what may be connected to, how much
 * is read, and what the result means. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "webhooks/webhooks_impl.h"

#define CONNECT_TIMEOUT_MS 5000u

enum err delivery_new(const struct outbox_entry *e, struct delivery **out, struct errmsg *em)
{
    struct delivery *d = calloc(1, sizeof *d);
    if (!d)
        return err_nomem(em, sizeof *d);
    d->entry = *e;
    d->entry.last_error = NULL;
    d->entry.url = strdup(e->url);
    d->entry.secret = e->secret ? strdup(e->secret) : NULL;
    if (!d->entry.url || (e->secret && !d->entry.secret)) {
        delivery_free(d);
        return err_nomem(em, strlen(e->url) + 1);
    }
    *out = d;
    return ERR_OK;
}

void delivery_free(struct delivery *d)
{
    if (!d)
        return;
    curl_easy_cleanup(d->easy);
    curl_slist_free_all(d->headers);
    buf_deinit(&d->body);
    webhook_url_deinit(&d->url);
    if (d->entry.secret)
        explicit_bzero(d->entry.secret, strlen(d->entry.secret));
    free(d->entry.secret);
    free(d->entry.url);
    free(d);
}

/* For the head and the body: counted and dropped. */
static size_t drop_answer(char *bytes, size_t size, size_t n, void *ctx)
{
    struct delivery *d = ctx;
    (void)bytes;
    d->answer_bytes += size * n;
    return d->answer_bytes <= WEBHOOK_ANSWER_BYTES_MAX ? size * n : 0;
}

static enum err add_header(struct delivery *d, const char *name, const char *value,
                           struct errmsg *em)
{
    struct buf line = {0};
    enum err rc = buf_printf(&line, em, "%s: %s", name, value);
    if (!rc) {
        struct curl_slist *list = curl_slist_append(d->headers, (const char *)line.ptr);
        if (list)
            d->headers = list;
        else
            rc = err_nomem(em, line.len);
    }
    buf_deinit(&line);
    return rc;
}

/* What receivers of that dialect check, if the caller gave a secret. */
static enum err add_bfl_signature(struct delivery *d, struct errmsg *em)
{
    struct buf signature = {0};
    if (d->entry.dialect != DIALECT_BFL || !d->entry.secret)
        return ERR_OK;
    enum err rc = webhook_sign_bfl(d->entry.secret, d->body.ptr, d->body.len, &signature, em);
    if (!rc)
        rc = add_header(d, "X-BFL-Signature", (const char *)signature.ptr, em);
    buf_deinit(&signature);
    return rc;
}

static enum err add_headers(struct delivery *d, const char *secret, struct errmsg *em)
{
    int64_t now_s = time(NULL);
    char timestamp[24];
    struct buf signature = {0};
    snprintf(timestamp, sizeof timestamp, "%" PRId64, now_s);
    enum err rc =
        webhook_sign(secret, d->entry.message_id, now_s, d->body.ptr, d->body.len, &signature, em);
    if (!rc)
        rc = add_header(d, "webhook-id", d->entry.message_id, em);
    if (!rc)
        rc = add_header(d, "webhook-timestamp", timestamp, em);
    if (!rc)
        rc = add_header(d, "webhook-signature", (const char *)signature.ptr, em);
    if (!rc)
        rc = add_bfl_signature(d, em);
    if (!rc)
        rc = add_header(d, "Content-Type", "application/json", em);
    if (!rc) /* no "100 Continue" to wait for */
        rc = add_header(d, "Expect", "", em);
    buf_deinit(&signature);
    return rc;
}

/* What is sent, and to where. */
static bool set_request(struct delivery *d)
{
    return !curl_easy_setopt(d->easy, CURLOPT_URL, d->url.url) &&
           !curl_easy_setopt(d->easy, CURLOPT_POST, 1L) &&
           !curl_easy_setopt(d->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)d->body.len) &&
           !curl_easy_setopt(d->easy, CURLOPT_POSTFIELDS, (const char *)d->body.ptr) &&
           !curl_easy_setopt(d->easy, CURLOPT_HTTPHEADER, d->headers) &&
           !curl_easy_setopt(d->easy, CURLOPT_USERAGENT, "easel/" EASEL_VERSION) &&
           !curl_easy_setopt(d->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) &&
           !curl_easy_setopt(d->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
}

/* The answer counts by its status alone. */
static bool set_answer(struct delivery *d)
{
    return !curl_easy_setopt(d->easy, CURLOPT_HEADERFUNCTION, drop_answer) &&
           !curl_easy_setopt(d->easy, CURLOPT_HEADERDATA, d) &&
           !curl_easy_setopt(d->easy, CURLOPT_WRITEFUNCTION, drop_answer) &&
           !curl_easy_setopt(d->easy, CURLOPT_WRITEDATA, d);
}

/* QUICK_EXIT: a resolver that hangs is left behind, not waited for. */
static bool set_bounds(struct delivery *d, unsigned timeout_ms)
{
    unsigned connect_ms = timeout_ms < CONNECT_TIMEOUT_MS ? timeout_ms : CONNECT_TIMEOUT_MS;
    return !curl_easy_setopt(d->easy, CURLOPT_NOSIGNAL, 1L) &&
           !curl_easy_setopt(d->easy, CURLOPT_QUICK_EXIT, 1L) &&
           !curl_easy_setopt(d->easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms) &&
           !curl_easy_setopt(d->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms) &&
           !curl_easy_setopt(d->easy, CURLOPT_ERRORBUFFER, d->curl_error) &&
           !curl_easy_setopt(d->easy, CURLOPT_PRIVATE, d);
}

enum err transfer_prepare(struct delivery *d, const struct transfer_options *o, struct errmsg *em)
{
    enum err rc = add_headers(d, d->entry.secret ? d->entry.secret : o->secret, em);
    if (rc)
        return rc;
    d->fence.allow_private = o->allow_private;
    d->easy = curl_easy_init();
    if (!d->easy || !set_request(d) || !fence_set(d->easy, &d->fence) || !set_answer(d) ||
        !set_bounds(d, o->timeout_ms))
        return err_set(em, ERR_NOMEM, "out of memory for a webhook's transfer");
    d->started_s = clock_now_s();
    return ERR_OK;
}

static unsigned retry_after_s(struct delivery *d)
{
    curl_off_t seconds = 0;
    if (curl_easy_getinfo(d->easy, CURLINFO_RETRY_AFTER, &seconds) || seconds < 0)
        return 0;
    return seconds < UINT32_MAX ? (unsigned)seconds : UINT32_MAX;
}

/* Whether it came as far as that it waited for an answer: over a connection of its own, or over one
 * that an earlier transfer left open, for which curl tells no time of connecting. */
static bool has_connected(struct delivery *d)
{
    curl_off_t connected_us = 0, begun_us = 0;
    return (!curl_easy_getinfo(d->easy, CURLINFO_CONNECT_TIME_T, &connected_us) && connected_us) ||
           (!curl_easy_getinfo(d->easy, CURLINFO_PRETRANSFER_TIME_T, &begun_us) && begun_us);
}

void transfer_judge(struct delivery *d, CURLcode result, unsigned timeout_ms, struct outcome *out)
{
    long status = 0;
    *out = (struct outcome){0};
    if (curl_easy_getinfo(d->easy, CURLINFO_RESPONSE_CODE, &status))
        status = 0;
    /* a final status decides, even if the rest did not come or was too long */
    if (status >= 200 || (status && result == CURLE_OK))
        outcome_set_status(out, (int)status, retry_after_s(d));
    else if (d->fence.refused[0])
        outcome_fail(out, "refused: %s, where webhooks must not go", d->fence.refused);
    else if (result == CURLE_OPERATION_TIMEDOUT && has_connected(d))
        outcome_fail(out, "no answer within %g s", timeout_ms / 1000.0);
    else
        outcome_fail(out, "%s", d->curl_error[0] ? d->curl_error : curl_easy_strerror(result));
}
