/* SPDX-License-Identifier: MIT */
/* Bodies as they arrive: in memory while they are small, else in a file without a name, which
 * the system removes with the last descriptor, whatever becomes of this process. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/size.h"
#include "http/http_impl.h"

#define FIRST_BYTES ((size_t)8 << 10)
/* Up to this much a body stays in memory however many there are. */
#define SMALL_BYTES ((size_t)64 << 10)

static enum err write_all(int fd, const uint8_t *p, size_t len, int *os_error)
{
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            *os_error = n < 0 ? errno : EIO;
            return ERR_IO;
        }
        p += n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

static void memory_free(struct http_server *s, struct http_body_store *b)
{
    free(b->ptr);
    atomic_fetch_sub(&s->bodies_bytes, b->cap);
    b->ptr = NULL;
    b->cap = 0;
}

static enum err spill(struct http_server *s, struct http_body_store *b, int *os_error)
{
    b->fd = file_open_nameless(s->body_dir);
    if (b->fd < 0) {
        *os_error = errno;
        return ERR_IO;
    }
    enum err rc = write_all(b->fd, b->ptr, b->len, os_error);
    memory_free(s, b);
    return rc;
}

/* Room for need bytes in memory. ERR_BUSY: it should go to a file. */
static enum err memory_grow(struct http_server *s, struct http_body_store *b, size_t need)
{
    if (need > s->body_memory_bytes)
        return ERR_BUSY;
    size_t cap = min_size(max_size(max_size(need, b->cap * 2), FIRST_BYTES), s->body_memory_bytes);
    size_t all = atomic_fetch_add(&s->bodies_bytes, cap - b->cap) + cap - b->cap;
    bool too_much = need > SMALL_BYTES && all > HTTP_BODIES_MEMORY_MAX;
    uint8_t *p = too_much ? NULL : realloc(b->ptr, cap + 1);
    if (!p) {
        atomic_fetch_sub(&s->bodies_bytes, cap - b->cap);
        return too_much ? ERR_BUSY : ERR_NOMEM;
    }
    b->ptr = p;
    b->cap = cap;
    return ERR_OK;
}

enum err http_body_append(struct http_server *s, struct http_body_store *b, const void *bytes,
                          size_t len, int *os_error)
{
    size_t need;
    enum err rc = ERR_OK;
    if (!add_size(b->len, len, &need))
        return ERR_NOMEM;
    if (b->fd < 0 && need > b->cap) {
        rc = memory_grow(s, b, need);
        if (rc == ERR_BUSY)
            rc = spill(s, b, os_error);
    }
    if (rc)
        return rc;
    if (b->fd >= 0)
        rc = write_all(b->fd, bytes, len, os_error);
    else
        memcpy(b->ptr + b->len, bytes, len);
    if (!rc)
        b->len = need;
    return rc;
}

enum err http_body_finish(struct http_body_store *b, int *os_error)
{
    if (b->fd < 0) {
        if (b->ptr)
            b->ptr[b->len] = 0;
        return ERR_OK;
    }
    void *p = mmap(NULL, b->len, PROT_READ, MAP_SHARED, b->fd, 0);
    if (p == MAP_FAILED) {
        *os_error = errno;
        return ERR_IO;
    }
    b->ptr = p;
    b->mapped = true;
    close(b->fd);
    b->fd = -1;
    return ERR_OK;
}

void http_body_deinit(struct http_server *s, struct http_body_store *b)
{
    if (b->mapped)
        munmap(b->ptr, b->len);
    else
        memory_free(s, b);
    if (b->fd >= 0)
        close(b->fd);
    *b = (struct http_body_store){.fd = -1};
}
