/* SPDX-License-Identifier: MIT */
/* Results behind signed URLs. The URL of a task's picture is a function of the task, so that
 * every answer and every webhook says the same: it expires a fixed time after the task ended. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "api/core_impl.h"
#include "crypto/crypto.h"

#define HOST_BYTES_MAX 255u
#define EXPIRES_DIGITS_MAX 12u

void url_sign(const char *secret, const char *name, int64_t expires_s,
              char out[URL_SIGNATURE_CHARS + 1])
{
    char text[BLOB_NAME_CHARS + 32];
    uint8_t mac[SHA256_BYTES];
    int n = snprintf(text, sizeof text, "%.*s\n%" PRId64, (int)BLOB_NAME_CHARS, name, expires_s);
    crypto_hmac_sha256(secret, strlen(secret), text, (size_t)n, mac);
    hex_encode(mac, sizeof mac, out);
}

enum err url_verify(const char *secret, const char *name, const char *expires,
                    const char *signature, int64_t now_s, int64_t *expires_s)
{
    char good[URL_SIGNATURE_CHARS + 1];
    if (!expires || !signature || !blob_name_valid(name))
        return ERR_DENIED;
    size_t n = strspn(expires, "0123456789");
    if (n == 0 || n > EXPIRES_DIGITS_MAX || expires[n] || expires[0] == '0' ||
        strlen(signature) != URL_SIGNATURE_CHARS)
        return ERR_DENIED;
    *expires_s = strtoll(expires, NULL, 10);
    url_sign(secret, name, *expires_s, good);
    if (!crypto_equal(good, signature, URL_SIGNATURE_CHARS))
        return ERR_DENIED;
    return now_s < *expires_s ? ERR_OK : ERR_NOTFOUND;
}

static const char *port_valid(const char *p)
{
    size_t n = strspn(p, "0123456789");
    return n >= 1 && n <= 5 ? p + n : NULL;
}

bool host_valid(const char *host)
{
    static const char alnum[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    size_t len = strnlen(host, HOST_BYTES_MAX + 1);
    const char *p = host;
    if (len == 0 || len > HOST_BYTES_MAX)
        return false;
    if (*p == '[') {
        size_t n = strspn(p + 1, "0123456789abcdefABCDEF:.");
        if (n < 2 || p[1 + n] != ']')
            return false;
        p += n + 2;
    } else {
        for (size_t n = 0; *p && *p != ':'; p += n)
            if ((n = strspn(p, alnum)) == 0 && (n = strspn(p, "-._")) == 0)
                return false;
        if (p == host)
            return false;
    }
    if (*p == ':')
        p = port_valid(p + 1);
    return p && !*p;
}

char *base_url(struct api *a, struct http_request *r)
{
    const char *host = r ? http_header(r, "Host") : NULL;
    char url[sizeof "http://" + HOST_BYTES_MAX];
    if (a->o.public_url)
        return strdup(a->o.public_url);
    if (!host || !host_valid(host))
        return strdup(a->local_url ? a->local_url : "http://localhost");
    snprintf(url, sizeof url, "http://%s", host);
    return strdup(url);
}

char *result_url(const struct api *a, const struct task *t, const char *base)
{
    char signature[URL_SIGNATURE_CHARS + 1];
    struct buf url = {0};
    if (!t->result || t->state != TASK_COMPLETED)
        return NULL;
    int64_t expires_s = (t->finished_ms + a->o.url_lifetime_ms) / 1000;
    url_sign(a->o.signing_secret, t->result, expires_s, signature);
    if (buf_printf(&url, NULL, "%s/v1/files/%s?expires=%" PRId64 "&signature=%s", base, t->result,
                   expires_s, signature))
        return NULL;
    return (char *)url.ptr;
}

enum err blob_read(struct api *a, const char *name, struct buf *out, struct errmsg *em)
{
    int fd;
    uint64_t size;
    time_t modified;
    enum err rc = blobs_get(a->o.blobs, name, &fd, &size, &modified, em);
    if (rc)
        return rc;
    if (size > LIMIT_PICTURE_FILE_BYTES_MAX)
        rc = err_set(em, ERR_FORMAT, "the picture %s is too large", name);
    if (!rc)
        rc = buf_reserve(out, size, em);
    for (uint64_t done = 0; !rc && done < size;) {
        ssize_t n = pread(fd, out->ptr + out->len, size - done, (off_t)done);
        if (n <= 0)
            rc = err_set(em, ERR_IO, "the picture %s cannot be read", name);
        else
            out->len += (size_t)n;
        done += n > 0 ? (uint64_t)n : 0;
    }
    close(fd);
    return rc;
}

static void send_file(struct request *q, const char *name, int64_t expires_s, int fd, uint64_t size,
                      time_t modified)
{
    char text[BLOB_NAME_CHARS + 64];
    int64_t left_s = expires_s - unix_ms() / 1000;
    snprintf(text, sizeof text, "private, max-age=%" PRId64 ", immutable", left_s > 0 ? left_s : 0);
    http_add_header(q->http, "Cache-Control", text);
    snprintf(text, sizeof text, "inline; filename=\"easel-%.8s%s\"", name, strchr(name, '.'));
    http_add_header(q->http, "Content-Disposition", text);
    snprintf(text, sizeof text, "\"%s\"", name);
    http_reply_file(q->http, blob_media_type(name), fd, size, text, modified);
}

void files_handle(struct request *q)
{
    struct api *a = q->api;
    const char *name = q->args[0];
    struct errmsg em;
    int64_t expires_s;
    int fd;
    uint64_t size;
    time_t modified;
    enum err rc = url_verify(a->o.signing_secret, name, http_query(q->http, "expires"),
                             http_query(q->http, "signature"), unix_ms() / 1000, &expires_s);
    if (rc) {
        reply_failure(q, rc == ERR_DENIED ? FAIL_DENIED : FAIL_GONE, NULL);
        return;
    }
    rc = blobs_get(a->o.blobs, name, &fd, &size, &modified, &em);
    if (rc == ERR_NOTFOUND)
        reply_failure(q, FAIL_NO_TASK,
                      "This picture is gone: pictures are kept for a limited time.");
    else if (rc)
        reply_err(q, rc, &em);
    else
        send_file(q, name, expires_s, fd, size, modified);
}
