/* SPDX-License-Identifier: MIT */
/* webhooks/: where a webhook may go, by its URL and by its address. */
#include "test.h"

#include <arpa/inet.h>

#include "webhooks/webhooks_impl.h"

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

static enum err check_literally(const char *url, bool allow_private, struct errmsg *em)
{
    struct webhook_url u = {0};
    enum err rc = webhook_url_parse(url, &u, em);
    if (!rc)
        rc = webhook_url_policy(&u, allow_private, em);
    webhook_url_deinit(&u);
    return rc;
}

static void test_good_urls(void **state)
{
    (void)state;
    static const struct {
        const char *url, *for_curl, *receiver;
    } cases[] = {
        {"http://example.com", "http://example.com/", "http://example.com:80"},
        {"https://example.com/hook", "https://example.com/hook", "https://example.com:443"},
        {"HTTPS://Example.COM/Hook", "https://example.com/Hook", "https://example.com:443"},
        {"https://example.com:8443/a?b=c&d=%20", "https://example.com:8443/a?b=c&d=%20",
         "https://example.com:8443"},
        {"https://example.com/a#part", "https://example.com/a", "https://example.com:443"},
        {"https://example.com/a?b#part", "https://example.com/a?b", "https://example.com:443"},
        {"https://example.com?b", "https://example.com/?b", "https://example.com:443"},
        {"https://example.com./a", "https://example.com./a", "https://example.com:443"},
        {"https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/",
         "https://xn--bcher-kva.example:443"},
        {"http://a_b.example.com:65535/", "http://a_b.example.com:65535/",
         "http://a_b.example.com:65535"},
        {"http://8.8.8.8/", "http://8.8.8.8/", "http://8.8.8.8:80"},
        {"http://[2606:4700::1111]:81/", "http://[2606:4700::1111]:81/",
         "http://[2606:4700::1111]:81"},
        {"http://[::ffff:8.8.8.8]/", "http://[::ffff:8.8.8.8]/", "http://[::ffff:8.8.8.8]:80"},
        {"http://[2606:4700:0:0:0:0:0:AB]/", "http://[2606:4700::ab]/",
         "http://[2606:4700::ab]:80"},
        {"http://example.com/@user:pass@", "http://example.com/@user:pass@",
         "http://example.com:80"},
        {"http://1e100.net/", "http://1e100.net/", "http://1e100.net:80"},
        {"http://0x7f.example/", "http://0x7f.example/", "http://0x7f.example:80"},
    };
    struct errmsg em;
    for (size_t i = 0; i < N_OF(cases); i++) {
        struct webhook_url u = {0};
        assert_ok(webhook_url_parse(cases[i].url, &u, &em));
        assert_ok(webhook_url_policy(&u, false, &em));
        assert_string_equal(u.receiver, cases[i].receiver);
        /* curl may keep the case of the host */
        if (strcasecmp(u.url, cases[i].for_curl) != 0)
            assert_string_equal(u.url, cases[i].for_curl);
        webhook_url_deinit(&u);
    }
}

static void test_malformed_urls(void **state)
{
    (void)state;
    static const struct {
        const char *url, *why;
    } cases[] = {
        {"", "http://"},
        {"example.com", "http://"},
        {"/hook", "http://"},
        {"//example.com/hook", "http://"},
        {"http:example.com", "http://"},
        {"http:/example.com", "http://"},
        {"http:///example.com", "names no host"},
        {"http://", "names no host"},
        {"http:///", "names no host"},
        {"http://?x", "names no host"},
        {"http://#x", "names no host"},
        {"http://:80/", "names no host"},
        {"https://:@/", "user name"},
        /* other schemes */
        {"ftp://example.com/", "http://"},
        {"file:///etc/passwd", "http://"},
        {"gopher://example.com:25/xHELO", "http://"},
        {"dict://example.com:11211/stats", "http://"},
        {"javascript:alert(1)", "http://"},
        {"httpx://example.com/", "http://"},
        {"http+unix://%2Frun%2Fdocker.sock/", "http://"},
        {"url:http://example.com/", "http://"},
        {" http://example.com/", "spaces"},
        /* userinfo */
        {"http://user@example.com/", "user name"},
        {"http://user:pass@example.com/", "user name"},
        {"http://@example.com/", "user name"},
        {"http://example.com@127.0.0.1/", "user name"},
        {"http://example.com:80@127.0.0.1/", "user name"},
        {"http://127.0.0.1:80;@example.com/", "user name"},
        {"http://example.com&@127.0.0.1#@evil.example/", "user name"},
        /* characters that parsers disagree about */
        {"http://example.com\\@127.0.0.1/", "backslashes"},
        {"http:\\\\127.0.0.1\\", "backslashes"},
        {"http://example.com/\r\nX-Injected: 1", "control"},
        {"http://example.com/\tx", "control"},
        {"http://example.com/\x7f", "control"},
        {"http://exa mple.com/", "spaces"},
        {"http://b\xc3\xbc"
         "cher.example/",
         "ASCII"},
        {"http://example\xe3\x80\x82"
         "com/",
         "ASCII"},
        {"http://\xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa6.0.0.1/", "ASCII"},
        {"http://example.com/\xff", "ASCII"},
        {"http://%31%32%37.0.0.1/", "escapes"},
        {"http://localhos%74/", "escapes"},
        {"http://example.com%00.evil.example/", "escapes"},
        {"http://example.com%2f@127.0.0.1/", "user name"},
        {"http://[fe80::1%25eth0]/", "zones"},
        {"http://[fe80::1%eth0]/", "zones"},
        /* hosts that are no names */
        {"http://./", "no valid name"},
        {"http://../", "no valid name"},
        {"http://.example.com/", "no valid name"},
        {"http://example..com/", "no valid name"},
        {"http://example.com../", "no valid name"},
        {"http://exam*ple.com/", "no valid name"},
        {"http://example.com;127.0.0.1/", "no valid name"},
        {"http://example.com,127.0.0.1/", "no valid name"},
        {"http://{example}.com/", "no valid name"},
        {"http://$(id).example/", "no valid name"},
        {"http://"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example/",
         "no valid name"},
        {"http://[]/", "no IPv6"},
        {"http://[::1/", "without \"]\""},
        {"http://[::1]x/", "after the \"]\""},
        {"http://[::1].example.com/", "after the \"]\""},
        {"http://[127.0.0.1]/", "no IPv6"},
        {"http://[example.com]/", "no IPv6"},
        {"http://[1:2:3:4:5:6:7:8:9]/", "no IPv6"},
        {"http://[::ffff:127.1]/", "no IPv6"},
        {"http://[v1.x]/", "no IPv6"},
        {"http://]/", "no valid name"},
        {"http://::1/", "names no host"},
        {"http://1::1/", "port"},
        /* ports */
        {"http://example.com:/", "port"},
        {"http://example.com:0/", "port"},
        {"http://example.com:00000/", "port"},
        {"http://example.com:65536/", "port"},
        {"http://example.com:99999999999999999999/", "port"},
        {"http://example.com:-1/", "port"},
        {"http://example.com:+80/", "port"},
        {"http://example.com:8o/", "port"},
        {"http://example.com:80:80/", "port"},
        {"http://example.com:80a/", "port"},
        {"http://[::1]:/", "port"},
        /* other spellings of IPv4 addresses */
        {"http://2130706433/", "four decimal"},
        {"http://0x7f000001/", "four decimal"},
        {"http://0X7F000001/", "four decimal"},
        {"http://017700000001/", "four decimal"},
        {"http://0x7f.1/", "four decimal"},
        {"http://0177.1/", "four decimal"},
        {"http://127.1/", "four decimal"},
        {"http://127.0.1/", "four decimal"},
        {"http://0177.0.0.1/", "four decimal"},
        {"http://0x7f.0x0.0x0.0x1/", "four decimal"},
        {"http://127.0.0.01/", "four decimal"},
        {"http://127.0.0.0x1/", "four decimal"},
        {"http://127.0.0.1.0/", "four decimal"},
        {"http://127.0.0.256/", "four decimal"},
        {"http://4294967297/", "four decimal"},
        {"http://0/", "four decimal"},
        {"http://0x/", "four decimal"},
        {"http://00/", "four decimal"},
        {"http://example.1/", "four decimal"},
        {"http://127.0.0.1./", "dot after"},
        {"http://8.8.8.8./", "dot after"},
        {"http://2130706433./", "four decimal"},
    };
    struct errmsg em;
    for (size_t i = 0; i < N_OF(cases); i++)
        for (int allow = 0; allow < 2; allow++) {
            enum err rc = check_literally(cases[i].url, allow, &em);
            if (rc != ERR_USAGE || !strstr(em.text, cases[i].why))
                fail_msg("\"%s\": %d \"%s\", without \"%s\"", cases[i].url, (int)rc,
                         rc ? em.text : "", cases[i].why);
        }
}

static void test_lengths(void **state)
{
    (void)state;
    struct errmsg em;
    char url[WEBHOOK_URL_CHARS_MAX + 2];
    int n = snprintf(url, sizeof url, "https://example.com/");
    memset(url + n, 'a', sizeof url - 1 - (size_t)n);
    url[WEBHOOK_URL_CHARS_MAX] = '\0';
    assert_ok(check_literally(url, false, &em));
    url[WEBHOOK_URL_CHARS_MAX] = 'a';
    url[WEBHOOK_URL_CHARS_MAX + 1] = '\0';
    assert_fails(check_literally(url, false, &em), ERR_USAGE, "at most 2048");

    char host[300];
    memset(host, 'a', sizeof host);
    for (size_t i = 50; i < sizeof host; i += 51)
        host[i] = '.';
    snprintf(url, sizeof url, "http://%.*s/", (int)HOST_CHARS_MAX, host);
    assert_ok(check_literally(url, false, &em));
    snprintf(url, sizeof url, "http://%.*s./", (int)HOST_CHARS_MAX, host);
    assert_ok(check_literally(url, false, &em));
    snprintf(url, sizeof url, "http://%.*s/", (int)HOST_CHARS_MAX + 1, host);
    assert_fails(check_literally(url, false, &em), ERR_USAGE, "more than 253");
}

struct kind_case {
    const char *address;
    enum address_kind kind;
};

static void check_kinds(const struct kind_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct sockaddr_storage sa = {0};
        char text[ADDRESS_TEXT_MAX];
        bool v6 = strchr(cases[i].address, ':') != NULL;
        sa.ss_family = v6 ? AF_INET6 : AF_INET;
        void *bytes = v6 ? (void *)&((struct sockaddr_in6 *)&sa)->sin6_addr
                         : (void *)&((struct sockaddr_in *)&sa)->sin_addr;
        assert_int_equal(inet_pton(sa.ss_family, cases[i].address, bytes), 1);
        address_write((const struct sockaddr *)&sa, text);
        assert_string_equal(text, cases[i].address);
        enum address_kind kind = address_kind_of((const struct sockaddr *)&sa);
        if (kind != cases[i].kind)
            fail_msg("%s is %s", text, address_kind_text(kind));
    }
}

static void test_ipv4_kinds(void **state)
{
    (void)state;
    /* both ends of each range, and what lies beside them */
    static const struct kind_case cases[] = {
        {"0.0.0.0", ADDRESS_RESERVED},
        {"0.255.255.255", ADDRESS_RESERVED},
        {"1.0.0.0", ADDRESS_PUBLIC},
        {"9.255.255.255", ADDRESS_PUBLIC},
        {"10.0.0.0", ADDRESS_PRIVATE},
        {"10.255.255.255", ADDRESS_PRIVATE},
        {"11.0.0.0", ADDRESS_PUBLIC},
        {"100.63.255.255", ADDRESS_PUBLIC},
        {"100.64.0.0", ADDRESS_PRIVATE},
        {"100.127.255.255", ADDRESS_PRIVATE},
        {"100.128.0.0", ADDRESS_PUBLIC},
        {"126.255.255.255", ADDRESS_PUBLIC},
        {"127.0.0.0", ADDRESS_LOOPBACK},
        {"127.255.255.255", ADDRESS_LOOPBACK},
        {"128.0.0.0", ADDRESS_PUBLIC},
        {"169.253.255.255", ADDRESS_PUBLIC},
        {"169.254.0.0", ADDRESS_LINK_LOCAL},
        {"169.254.169.254", ADDRESS_LINK_LOCAL},
        {"169.254.255.255", ADDRESS_LINK_LOCAL},
        {"169.255.0.0", ADDRESS_PUBLIC},
        {"172.15.255.255", ADDRESS_PUBLIC},
        {"172.16.0.0", ADDRESS_PRIVATE},
        {"172.31.255.255", ADDRESS_PRIVATE},
        {"172.32.0.0", ADDRESS_PUBLIC},
        {"191.255.255.255", ADDRESS_PUBLIC},
        {"192.0.0.0", ADDRESS_RESERVED},
        {"192.0.0.255", ADDRESS_RESERVED},
        {"192.0.1.0", ADDRESS_PUBLIC},
        {"192.0.2.0", ADDRESS_RESERVED},
        {"192.0.2.255", ADDRESS_RESERVED},
        {"192.0.3.0", ADDRESS_PUBLIC},
        {"192.88.98.255", ADDRESS_PUBLIC},
        {"192.88.99.0", ADDRESS_RESERVED},
        {"192.88.99.255", ADDRESS_RESERVED},
        {"192.88.100.0", ADDRESS_PUBLIC},
        {"192.167.255.255", ADDRESS_PUBLIC},
        {"192.168.0.0", ADDRESS_PRIVATE},
        {"192.168.255.255", ADDRESS_PRIVATE},
        {"192.169.0.0", ADDRESS_PUBLIC},
        {"198.17.255.255", ADDRESS_PUBLIC},
        {"198.18.0.0", ADDRESS_RESERVED},
        {"198.19.255.255", ADDRESS_RESERVED},
        {"198.20.0.0", ADDRESS_PUBLIC},
        {"198.51.99.255", ADDRESS_PUBLIC},
        {"198.51.100.0", ADDRESS_RESERVED},
        {"198.51.100.255", ADDRESS_RESERVED},
        {"198.51.101.0", ADDRESS_PUBLIC},
        {"203.0.112.255", ADDRESS_PUBLIC},
        {"203.0.113.0", ADDRESS_RESERVED},
        {"203.0.113.255", ADDRESS_RESERVED},
        {"203.0.114.0", ADDRESS_PUBLIC},
        {"223.255.255.255", ADDRESS_PUBLIC},
        {"224.0.0.0", ADDRESS_MULTICAST},
        {"239.255.255.255", ADDRESS_MULTICAST},
        {"240.0.0.0", ADDRESS_RESERVED},
        {"255.255.255.255", ADDRESS_RESERVED},
    };
    check_kinds(cases, N_OF(cases));
}

static void test_ipv6_kinds(void **state)
{
    (void)state;
    static const struct kind_case cases[] = {
        {"::", ADDRESS_RESERVED},
        {"::1", ADDRESS_LOOPBACK},
        {"::2", ADDRESS_RESERVED},
        {"::127.0.0.1", ADDRESS_RESERVED},     /* IPv4-compatible, deprecated */
        {"::ffff:0:7f00:1", ADDRESS_RESERVED}, /* IPv4-translated */
        {"::ffff:127.0.0.1", ADDRESS_LOOPBACK},
        {"::ffff:10.0.0.1", ADDRESS_PRIVATE},
        {"::ffff:169.254.169.254", ADDRESS_LINK_LOCAL},
        {"::ffff:8.8.8.8", ADDRESS_PUBLIC},
        {"64:ff9b::7f00:1", ADDRESS_LOOPBACK},
        {"64:ff9b::a9fe:a9fe", ADDRESS_LINK_LOCAL},
        {"64:ff9b::808:808", ADDRESS_PUBLIC},
        {"64:ff9b:1::808:808", ADDRESS_RESERVED},
        {"100::1", ADDRESS_RESERVED},
        {"1fff:ffff::", ADDRESS_RESERVED},
        {"2000::", ADDRESS_PUBLIC},
        {"2001::1", ADDRESS_RESERVED}, /* Teredo */
        {"2001:0:4136:e378:8000:63bf:3fff:fdd2", ADDRESS_RESERVED},
        {"2001:1ff:ffff::", ADDRESS_RESERVED},
        {"2001:200::", ADDRESS_PUBLIC},
        {"2001:db7:ffff::", ADDRESS_PUBLIC},
        {"2001:db8::", ADDRESS_RESERVED},
        {"2001:db8:ffff::1", ADDRESS_RESERVED},
        {"2001:db9::", ADDRESS_PUBLIC},
        {"2002:7f00:1::", ADDRESS_LOOPBACK},
        {"2002:a00:1::1", ADDRESS_PRIVATE},
        {"2002:808:808::1", ADDRESS_PUBLIC},
        {"2003::", ADDRESS_PUBLIC},
        {"2606:4700::1111", ADDRESS_PUBLIC},
        {"3ffe:ffff::", ADDRESS_PUBLIC},
        {"3fff::1", ADDRESS_RESERVED},
        {"3fff:fff:ffff::", ADDRESS_RESERVED},
        {"3fff:1000::", ADDRESS_PUBLIC},
        {"4000::", ADDRESS_RESERVED},
        {"5f00::1", ADDRESS_RESERVED},
        {"fbff::1", ADDRESS_RESERVED},
        {"fc00::1", ADDRESS_PRIVATE},
        {"fd00:ec2::254", ADDRESS_PRIVATE}, /* a cloud's metadata */
        {"fdff:ffff::", ADDRESS_PRIVATE},
        {"fe00::1", ADDRESS_RESERVED},
        {"fe80::1", ADDRESS_LINK_LOCAL},
        {"febf:ffff::1", ADDRESS_LINK_LOCAL},
        {"fec0::1", ADDRESS_PRIVATE},
        {"feff:ffff::", ADDRESS_PRIVATE},
        {"ff00::", ADDRESS_MULTICAST},
        {"ff02::1", ADDRESS_MULTICAST},
    };
    check_kinds(cases, N_OF(cases));
    struct sockaddr local = {.sa_family = AF_UNIX};
    assert_int_equal(address_kind_of(&local), ADDRESS_RESERVED);
}

static void test_inner_hosts(void **state)
{
    (void)state;
    /* allowed: with allow_private */
    static const struct {
        const char *url;
        bool allowed;
    } cases[] = {
        {"http://127.0.0.1/", true},
        {"http://127.8.9.10:8080/x", true},
        {"http://10.1.2.3/", true},
        {"http://172.20.0.1/", true},
        {"http://192.168.1.1/", true},
        {"http://100.100.100.200/", true},
        {"http://[::1]/", true},
        {"http://[0:0:0:0:0:0:0:1]/", true},
        {"http://[0000::0001]:8080/", true},
        {"http://[::ffff:127.0.0.1]/", true},
        {"http://[::FFFF:7F00:1]/", true},
        {"http://[64:ff9b::10.0.0.1]/", true},
        {"http://[2002:7f00:1::]/", true},
        {"http://[fd00::1]/", true},
        {"http://localhost/", true},
        {"http://LOCALHOST:8080/", true},
        {"http://localhost./", true},
        {"http://foo.localhost/", true},
        {"http://localhost.localdomain/", true},
        {"http://ip6-localhost/", true},
        {"http://printer.local/", true},
        {"http://metadata.google.internal./computeMetadata/", true},
        {"http://nas.home.arpa/", true},
        {"http://0.0.0.0/", false},
        {"http://169.254.169.254/latest/meta-data/", false},
        {"http://224.0.0.1/", false},
        {"http://255.255.255.255/", false},
        {"http://198.18.0.1/", false},
        {"http://[::]/", false},
        {"http://[::ffff:169.254.169.254]/", false},
        {"http://[::ffff:0.0.0.0]/", false},
        {"http://[::127.0.0.1]/", false},
        {"http://[fe80::1]/", false},
        {"http://[ff02::1]/", false},
        {"http://[64:ff9b:1::1]/", false},
        {"http://[2001:db8::1]/", false},
    };
    struct errmsg em;
    for (size_t i = 0; i < N_OF(cases); i++) {
        assert_fails(check_literally(cases[i].url, false, &em), ERR_USAGE,
                     "must lead to a public address");
        enum err rc = check_literally(cases[i].url, true, &em);
        if (rc != (cases[i].allowed ? ERR_OK : ERR_USAGE))
            fail_msg("%s with allow_private: %d", cases[i].url, (int)rc);
    }
}

/* The whole check. */
static void test_check(void **state)
{
    (void)state;
    struct errmsg em;
    assert_fails(webhook_url_check("http://localhost:8080/", false, &em), ERR_USAGE,
                 "localhost is a name of an inner network");
    assert_ok(webhook_url_check("http://localhost:8080/", true, &em));
    assert_ok(webhook_url_check("https://8.8.8.8/hook", false, &em));
    assert_fails(webhook_url_check("http://169.254.169.254/", true, &em), ERR_USAGE,
                 "169.254.169.254 is a link-local address");
    assert_fails(webhook_url_check("ftp://localhost/", true, &em), ERR_USAGE, "http://");
    assert_ok(webhook_url_check("https://does-not-resolve.invalid/", false, &em));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_urls),  cmocka_unit_test(test_malformed_urls),
        cmocka_unit_test(test_lengths),    cmocka_unit_test(test_ipv4_kinds),
        cmocka_unit_test(test_ipv6_kinds), cmocka_unit_test(test_inner_hosts),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
