/* SPDX-License-Identifier: MIT */
/* One address: what is asked for, how much is taken, and what the outcome means to a client. */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "service/fetch_impl.h"
#include "webhooks/webhooks.h"

#define HTTP_OK 200
#define IN_MIB(bytes) ((bytes) >> 20)

/* ---- what comes ---- */

static enum err judge_status(struct fetch *f)
{
    long status = 0;
    curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status == HTTP_OK)
        return ERR_OK;
    if (status >= 300 && status < 400)
        return err_set(&f->em, ERR_FORMAT,
                       "could not be fetched: its server redirects (%ld), which is not followed; "
                       "send the URL of the picture itself",
                       status);
    return err_set(&f->em, ERR_FORMAT,
                   "could not be fetched: its server answers with %ld; send a URL that opens "
                   "without a login, or the picture in base64",
                   status);
}

static enum err check_room(struct fetch *f, size_t len)
{
    if (f->len + len > FETCH_BYTES_MAX)
        return err_set(&f->em, ERR_FORMAT, "is too large: more than %zu MiB",
                       IN_MIB(FETCH_BYTES_MAX));
    if (*f->request_bytes + len > FETCH_REQUEST_BYTES_MAX)
        return err_set(&f->em, ERR_FORMAT,
                       "is too large: the pictures at URLs may have %zu MiB together",
                       IN_MIB(FETCH_REQUEST_BYTES_MAX));
    if (atomic_load(f->all_bytes) + len > FETCH_ALL_BYTES_MAX)
        return err_set(&f->em, ERR_BUSY, "too many large pictures are being fetched");
    return ERR_OK;
}

static enum err write_all(struct fetch *f, const char *bytes, size_t len)
{
    if (f->fd < 0)
        f->fd = file_open_nameless(f->dir);
    while (f->fd >= 0 && len) {
        ssize_t n = write(f->fd, bytes, len);
        if (n < 0 && errno != EINTR)
            break;
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return len ? err_set(&f->em, ERR_IO, "a fetched picture cannot be written to %s: %s", f->dir,
                         strerror(errno))
               : ERR_OK;
}

static size_t on_bytes(char *bytes, size_t size, size_t n, void *ctx)
{
    struct fetch *f = ctx;
    size_t len = size * n;
    f->rc = judge_status(f); /* a refusal's text is not waited for */
    if (!f->rc)
        f->rc = check_room(f, len);
    if (!f->rc)
        f->rc = write_all(f, bytes, len);
    if (f->rc)
        return 0;
    f->len += len;
    *f->request_bytes += len;
    atomic_fetch_add(f->all_bytes, len);
    return len;
}

static size_t on_head(char *bytes, size_t size, size_t n, void *ctx)
{
    struct fetch *f = ctx;
    (void)bytes;
    f->head_bytes += size * n;
    if (f->head_bytes <= FETCH_HEAD_BYTES_MAX)
        return size * n;
    f->rc = err_set(&f->em, ERR_FORMAT, "could not be fetched: its server sends endless headers");
    return 0;
}

/* ---- the handle ---- */

static bool set_transfer(struct fetch *f)
{
    return !curl_easy_setopt(f->easy, CURLOPT_USERAGENT, "easel/" EASEL_VERSION) &&
           !curl_easy_setopt(f->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) &&
           !curl_easy_setopt(f->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
           !curl_easy_setopt(f->easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)FETCH_BYTES_MAX) &&
           !curl_easy_setopt(f->easy, CURLOPT_HEADERFUNCTION, on_head) &&
           !curl_easy_setopt(f->easy, CURLOPT_HEADERDATA, f) &&
           !curl_easy_setopt(f->easy, CURLOPT_WRITEFUNCTION, on_bytes) &&
           !curl_easy_setopt(f->easy, CURLOPT_WRITEDATA, f);
}

/* QUICK_EXIT: a resolver that hangs is left behind, not waited for. No connection is kept: each
 * was allowed for its own transfer. */
static bool set_bounds(struct fetch *f, void *private)
{
    long timeout_ms = f->fence.look ? FETCH_LOOK_TIMEOUT_MS : FETCH_TIMEOUT_MS;
    return !curl_easy_setopt(f->easy, CURLOPT_NOSIGNAL, 1L) &&
           !curl_easy_setopt(f->easy, CURLOPT_QUICK_EXIT, 1L) &&
           !curl_easy_setopt(f->easy, CURLOPT_FORBID_REUSE, 1L) &&
           !curl_easy_setopt(f->easy, CURLOPT_CONNECT_ONLY, f->fence.look ? 1L : 0L) &&
           !curl_easy_setopt(f->easy, CURLOPT_TIMEOUT_MS, timeout_ms) &&
           !curl_easy_setopt(f->easy, CURLOPT_ERRORBUFFER, f->curl_error) &&
           !curl_easy_setopt(f->easy, CURLOPT_PRIVATE, private);
}

enum err fetch_prepare(struct fetch *f, const char *url, void *private, struct errmsg *em)
{
    f->fd = -1;
    enum err rc = webhook_url_check(url, f->fence.allow_private, &f->em);
    if (rc == ERR_USAGE) {
        f->rc = ERR_FORMAT;
        return ERR_OK;
    }
    if (!rc && (f->easy = curl_easy_init()) && !curl_easy_setopt(f->easy, CURLOPT_URL, url) &&
        set_transfer(f) && set_bounds(f, private) && fence_set(f->easy, &f->fence))
        return ERR_OK;
    return err_set(em, ERR_NOMEM, "out of memory for fetching a picture");
}

/* ---- the outcome ---- */

/* Not unpacked, since nothing was asked for in a packed form: it might be a bomb. */
static enum err judge_encoding(struct fetch *f)
{
    struct curl_header *header;
    if (curl_easy_header(f->easy, "Content-Encoding", 0, CURLH_HEADER, -1, &header) ||
        strcasecmp(header->value, "identity") == 0)
        return ERR_OK;
    return err_set(&f->em, ERR_FORMAT,
                   "could not be fetched: its server sends it compressed (Content-Encoding: %.32s) "
                   "without being asked; send the picture in base64",
                   header->value);
}

static enum err judge(struct fetch *f, CURLcode code)
{
    if (f->rc)
        return f->rc;
    if (f->fence.refused[0] && (code || f->fence.look))
        return err_set(&f->em, ERR_FORMAT, "must lead to a public address: %s", f->fence.refused);
    if (f->fence.look)
        return ERR_OK;
    if (code == CURLE_FILESIZE_EXCEEDED)
        return err_set(&f->em, ERR_FORMAT, "is too large: more than %zu MiB",
                       IN_MIB(FETCH_BYTES_MAX));
    if (code == CURLE_OPERATION_TIMEDOUT)
        return err_set(&f->em, ERR_FORMAT,
                       "could not be fetched: it did not come within %u s; send the picture in "
                       "base64",
                       FETCH_TIMEOUT_MS / 1000);
    if (code)
        return err_set(&f->em, ERR_FORMAT,
                       "could not be fetched: %.120s; check the URL, or send the picture in base64",
                       f->curl_error[0] ? f->curl_error : curl_easy_strerror(code));
    enum err rc = judge_status(f);
    return rc ? rc : judge_encoding(f);
}

static enum err map_file(struct fetch *f)
{
    if (!f->len)
        return ERR_OK;
    void *p = mmap(NULL, f->len, PROT_READ, MAP_SHARED, f->fd, 0);
    if (p == MAP_FAILED)
        return err_set(&f->em, ERR_NOMEM, "a fetched picture cannot be read back: %s",
                       strerror(errno));
    f->map = p;
    return ERR_OK;
}

void fetch_settle(struct fetch *f, CURLcode code)
{
    f->rc = judge(f, code);
    if (!f->rc)
        f->rc = map_file(f);
    curl_easy_cleanup(f->easy);
    f->easy = NULL;
}

void fetch_deinit(struct fetch *f)
{
    curl_easy_cleanup(f->easy);
    if (f->map)
        munmap((void *)(uintptr_t)f->map, f->len);
    if (f->fd >= 0)
        close(f->fd);
    atomic_fetch_sub(f->all_bytes, f->len);
}
