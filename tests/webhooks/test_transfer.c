/* SPDX-License-Identifier: MIT */
/* webhooks/: a transfer connects only where it may, whatever a name resolves to by then. */
#include "test.h"

#include <arpa/inet.h>
#include <poll.h>
#include <unistd.h>

#include "webhooks/webhooks_impl.h"

#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

static int listen_at(int family, uint16_t *port)
{
    struct sockaddr_in6 sa6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    struct sockaddr_in sa4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr *sa = family == AF_INET ? (struct sockaddr *)&sa4 : (struct sockaddr *)&sa6;
    socklen_t len = family == AF_INET ? sizeof sa4 : sizeof sa6;
    int fd = socket(family, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, sa, len) || listen(fd, 8) || getsockname(fd, sa, &len)) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    *port = ntohs(family == AF_INET ? sa4.sin_port : sa6.sin6_port);
    return fd;
}

/* Past all checks of the URL, as if its name had changed its mind. */
static void try_url(char *url, bool allow_private, struct outcome *o)
{
    struct errmsg em;
    struct delivery *d;
    struct outbox_entry e = {.id = 1, .url = url, .message_id = "msg_1"};
    struct transfer_options options = {allow_private, 300, SECRET};
    assert_ok(delivery_new(&e, &d, &em));
    assert_ok(webhook_url_parse(url, &d->url, &em));
    assert_ok(buf_append(&d->body, "{}", 2, &em));
    assert_ok(transfer_prepare(d, &options, &em));
    transfer_judge(d, curl_easy_perform(d->easy), 300, o);
    delivery_free(d);
}

/* Did anybody connect? */
static bool was_visited(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    bool visited = poll(&p, 1, 50) == 1;
    if (visited)
        close(accept(fd, NULL, NULL));
    return visited;
}

static void check_host(int fd, const char *host, uint16_t port, const char *kind)
{
    char url[128];
    struct outcome o;
    snprintf(url, sizeof url, "http://%s:%u/", host, (unsigned)port);
    try_url(url, false, &o);
    assert_false(o.delivered || o.hopeless);
    if (!strstr(o.error, "refused: ") || !strstr(o.error, kind))
        fail_msg("%s: %s", url, o.error);
    assert_false(was_visited(fd));
    try_url(url, true, &o);
    assert_true(was_visited(fd));
    assert_string_equal(o.error, "no answer within 0.3 s");
}

static void test_ipv4(void **state)
{
    (void)state;
    uint16_t port = 0;
    int fd = listen_at(AF_INET, &port);
    assert_true(fd >= 0);
    check_host(fd, "127.0.0.1", port, "127.0.0.1 is a loopback address");
    check_host(fd, "[::ffff:127.0.0.1]", port, "is a loopback address");
    check_host(fd, "localhost", port, "is a loopback address");
    close(fd);
}

static void test_ipv6(void **state)
{
    (void)state;
    uint16_t port = 0;
    int fd = listen_at(AF_INET6, &port);
    if (fd < 0)
        skip_because("this machine has no IPv6 loopback");
    check_host(fd, "[::1]", port, "::1 is a loopback address");
    close(fd);
}

/* Linux takes 0.0.0.0 for this machine; that is no private address, and never allowed. */
static void test_never_allowed(void **state)
{
    (void)state;
    uint16_t port = 0;
    char url[128];
    struct outcome o;
    int fd = listen_at(AF_INET, &port);
    assert_true(fd >= 0);
    snprintf(url, sizeof url, "http://0.0.0.0:%u/", (unsigned)port);
    try_url(url, true, &o);
    assert_non_null(strstr(o.error, "refused: 0.0.0.0 is a reserved address"));
    assert_false(was_visited(fd));
    close(fd);
}

/* Nor is a proxy that the environment names asked to go there. */
static void test_no_proxy(void **state)
{
    (void)state;
    uint16_t port = 0, proxy_port = 0;
    char url[128];
    struct outcome o;
    int fd = listen_at(AF_INET, &port), proxy = listen_at(AF_INET, &proxy_port);
    assert_true(fd >= 0 && proxy >= 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", (unsigned)proxy_port);
    static const char *const names[] = {"http_proxy", "ALL_PROXY", "all_proxy", "https_proxy"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(setenv(names[i], url, 1), 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", (unsigned)port);
    try_url(url, true, &o);
    assert_true(was_visited(fd));
    assert_false(was_visited(proxy));
    for (size_t i = 0; i < 4; i++)
        unsetenv(names[i]);
    close(fd);
    close(proxy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ipv4),
        cmocka_unit_test(test_ipv6),
        cmocka_unit_test(test_never_allowed),
        cmocka_unit_test(test_no_proxy),
    };
    return cmocka_run_group_tests_name("transfer", tests, NULL, NULL);
}
