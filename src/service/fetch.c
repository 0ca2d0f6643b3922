/* SPDX-License-Identifier: MIT */
#include "service/fetch.h"

#include <curl/curl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "webhooks/webhooks.h"

#define HTTP_OK 200

struct fetch {
    bool allow_private;
    size_t max_bytes, start;
    struct buf *out;
    enum err failed; /* why we ended the transfer ourselves */
    struct errmsg *em;
};

static size_t on_bytes(char *bytes, size_t size, size_t n, void *ctx)
{
    struct fetch *f = ctx;
    size_t len = size * n;
    if (f->out->len - f->start + len > f->max_bytes)
        f->failed = err_set(f->em, ERR_FORMAT, "is too large: more than %zu bytes", f->max_bytes);
    else
        f->failed = buf_append(f->out, bytes, len, f->em);
    return f->failed ? 0 : len;
}

/* The name may resolve otherwise now than when it was checked: what counts is where the
 * connection goes. */
static curl_socket_t on_connect(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct fetch *f = ctx;
    char host[NI_MAXHOST], url[NI_MAXHOST + 16];
    bool v6 = address->family == AF_INET6;
    (void)purpose;
    if (getnameinfo(&address->addr, (socklen_t)address->addrlen, host, sizeof host, NULL, 0,
                    NI_NUMERICHOST))
        return CURL_SOCKET_BAD;
    snprintf(url, sizeof url, v6 ? "http://[%s]/" : "http://%s/", host);
    f->failed = webhook_url_check(url, f->allow_private, f->em);
    if (f->failed)
        return CURL_SOCKET_BAD;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static bool set_options(CURL *curl, struct fetch *f, const char *url)
{
    return !curl_easy_setopt(curl, CURLOPT_URL, url) &&
           !curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") &&
           !curl_easy_setopt(curl, CURLOPT_PROXY, "") &&
           !curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) &&
           !curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, FETCH_TIMEOUT_MS) &&
           !curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes) &&
           !curl_easy_setopt(curl, CURLOPT_WRITEDATA, f) &&
           !curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, on_connect) &&
           !curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, f);
}

static enum err transfer(CURL *curl, struct fetch *f)
{
    long status = 0;
    CURLcode code = curl_easy_perform(curl);
    if (f->failed)
        return f->failed;
    if (code)
        return err_set(f->em, ERR_IO, "could not be fetched: %s", curl_easy_strerror(code));
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != HTTP_OK)
        return err_set(f->em, ERR_USAGE, "could not be fetched: its server answers with %ld",
                       status);
    return ERR_OK;
}

enum err fetch_url(const char *url, bool allow_private, size_t max_bytes, struct buf *out,
                   struct errmsg *em)
{
    struct fetch f = {.allow_private = allow_private,
                      .max_bytes = max_bytes,
                      .start = out->len,
                      .out = out,
                      .em = em};
    enum err rc = webhook_url_check(url, allow_private, em);
    if (rc)
        return rc;
    CURL *curl = curl_easy_init();
    if (!curl || !set_options(curl, &f, url))
        rc = err_set(em, ERR_NOMEM, "could not be fetched: out of memory");
    if (!rc)
        rc = transfer(curl, &f);
    curl_easy_cleanup(curl);
    if (rc)
        out->len = f.start;
    return rc;
}
