/* SPDX-License-Identifier: MIT */
#include "http/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/text.h"

static bool read_port(const char *p, unsigned *port)
{
    unsigned v = 0;
    const char *start = p;
    for (; *p >= '0' && *p <= '9' && p - start < 6; p++)
        v = v * 10 + (unsigned)(*p - '0');
    *port = v;
    return p > start && !*p && v <= 65535;
}

enum err http_address_read(const char *text, struct http_address *out, struct errmsg *em)
{
    const char *host = text, *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    bool bracketed = len > 2 && text[0] == '[' && text[len - 1] == ']';
    if (bracketed) {
        host++;
        len -= 2;
    }
    bool plain = len > 0 && len < sizeof out->host && !memchr(host, '[', len) &&
                 !memchr(host, ']', len) && http_is_value(text) &&
                 (bracketed || !memchr(host, ':', len));
    if (!plain || !read_port(colon + 1, &out->port))
        return err_set(em, ERR_USAGE,
                       "\"%.100s\" is no address to listen on: write HOST:PORT, for example "
                       "127.0.0.1:8080 or [::1]:8080",
                       text);
    memcpy(out->host, host, len);
    out->host[len] = 0;
    return ERR_OK;
}

static enum err listen_failed(const struct http_address *a, int cause, struct errmsg *em)
{
    if (cause == EADDRINUSE)
        return err_set(em, ERR_BUSY, "port %u is taken: choose another with --listen", a->port);
    if (cause == EACCES || cause == EPERM)
        return err_set(em, ERR_IO,
                       "port %u needs a privilege (CAP_NET_BIND_SERVICE): choose one above 1023 "
                       "with --listen",
                       a->port);
    if (cause == EADDRNOTAVAIL || cause == EAFNOSUPPORT)
        return err_set(em, ERR_USAGE,
                       "%s is no address of this machine: choose another with --listen", a->host);
    return err_set(em, ERR_IO, "cannot listen on %s port %u: %s", a->host, a->port,
                   strerror(cause));
}

/* 0 and *fd, or the cause. */
static int listen_on(const struct addrinfo *ai, int *fd)
{
    int yes = 1, no = 0;
    *fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return errno;
    (void)setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (ai->ai_family == AF_INET6) /* [::] takes IPv4 too */
        (void)setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    if (bind(*fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(*fd, SOMAXCONN) == 0)
        return 0;
    int cause = errno;
    close(*fd);
    *fd = -1;
    return cause;
}

static unsigned port_of(int fd)
{
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    if (getsockname(fd, (struct sockaddr *)&at, &len))
        return 0;
    return ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port
                                          : ((struct sockaddr_in *)&at)->sin_port);
}

enum err http_listen(const char *address, int *fd, unsigned *port, struct errmsg *em)
{
    struct http_address a;
    struct addrinfo *list = NULL;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV | AI_ADDRCONFIG};
    char service[8];
    enum err rc = http_address_read(address, &a, em);
    if (rc)
        return rc;
    snprintf(service, sizeof service, "%u", a.port);
    int gai = getaddrinfo(a.host, service, &hints, &list);
    if (gai == EAI_ADDRFAMILY || gai == EAI_NONAME) { /* "::1" where only loopback has IPv6 */
        hints.ai_flags &= ~AI_ADDRCONFIG;
        gai = getaddrinfo(a.host, service, &hints, &list);
    }
    if (gai)
        return err_set(em, ERR_USAGE, "cannot find the host \"%s\" to listen on: %s", a.host,
                       gai_strerror(gai));
    int cause = EADDRNOTAVAIL;
    for (struct addrinfo *ai = list; ai && cause; ai = ai->ai_next)
        cause = listen_on(ai, fd);
    freeaddrinfo(list);
    if (cause)
        return listen_failed(&a, cause, em);
    *port = port_of(*fd);
    return ERR_OK;
}
