/* SPDX-License-Identifier: MIT */
/* Webhook addresses. A URL is taken apart here, strictly, and once more by curl, whose parser
 * also serves the transfer; where the two do not agree the URL is refused, so that nothing can
 * be checked as one host and contacted as another. */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "webhooks/webhooks_impl.h"

#define LABEL_CHARS_MAX 63u

struct span {
    const char *ptr;
    size_t len;
};

void webhook_url_deinit(struct webhook_url *u)
{
    if (!u)
        return;
    free(u->url);
    *u = (struct webhook_url){0};
}

static enum err check_characters(const char *url, struct errmsg *em)
{
    size_t len = strnlen(url, WEBHOOK_URL_CHARS_MAX + 1);
    if (len > WEBHOOK_URL_CHARS_MAX)
        return err_set(em, ERR_USAGE, "must have at most %u characters", WEBHOOK_URL_CHARS_MAX);
    for (const char *p = url; *p; p++)
        if (*p <= ' ' || *p > '~' || *p == '\\')
            return err_set(em, ERR_USAGE,
                           "must not hold spaces, control characters, backslashes or letters "
                           "outside of ASCII: write them as %%XX, and a host's in its xn-- form");
    return ERR_OK;
}

/* Cuts the scheme off; *rest follows the two slashes. */
static enum err take_scheme(const char *url, bool *https, const char **rest, struct errmsg *em)
{
    *https = strncasecmp(url, "https://", 8) == 0;
    if (!*https && strncasecmp(url, "http://", 7) != 0)
        return err_set(em, ERR_USAGE,
                       "must be an absolute URL that starts with http:// or "
                       "https://");
    *rest = url + (*https ? 8 : 7);
    return ERR_OK;
}

/* What stands between the slashes and the path: host and port, perhaps in brackets. */
static enum err split_authority(struct span authority, struct span *host, struct span *port,
                                struct errmsg *em)
{
    if (memchr(authority.ptr, '@', authority.len))
        return err_set(em, ERR_USAGE, "must not hold a user name or password (\"@\")");
    if (memchr(authority.ptr, '%', authority.len))
        return err_set(em, ERR_USAGE, "must not hold %% in its host: neither escapes nor zones");
    const char *end = authority.ptr + authority.len, *colon, *after;
    if (authority.len && authority.ptr[0] == '[') {
        const char *bracket = memchr(authority.ptr, ']', authority.len);
        if (!bracket)
            return err_set(em, ERR_USAGE, "has a \"[\" without \"]\" in its host");
        *host = (struct span){authority.ptr, (size_t)(bracket + 1 - authority.ptr)};
        after = bracket + 1;
    } else {
        colon = memchr(authority.ptr, ':', authority.len);
        after = colon ? colon : end;
        *host = (struct span){authority.ptr, (size_t)(after - authority.ptr)};
    }
    *port = (struct span){NULL, 0};
    if (after < end && *after != ':')
        return err_set(em, ERR_USAGE, "has text after the \"]\" of its host");
    if (after < end)
        *port = (struct span){after + 1, (size_t)(end - after - 1)};
    if (host->len == 0)
        return err_set(em, ERR_USAGE, "names no host");
    return ERR_OK;
}

static enum err read_port(struct span text, bool https, uint16_t *port, struct errmsg *em)
{
    unsigned value = 0;
    if (!text.ptr) {
        *port = https ? 443 : 80;
        return ERR_OK;
    }
    bool valid = text.len >= 1 && text.len <= 5;
    for (size_t i = 0; valid && i < text.len; i++) {
        valid = text.ptr[i] >= '0' && text.ptr[i] <= '9';
        value = 10 * value + (unsigned)(text.ptr[i] - '0');
    }
    if (!valid || value == 0 || value > 65535)
        return err_set(em, ERR_USAGE, "must have a port from 1 to 65535");
    *port = (uint16_t)value;
    return ERR_OK;
}

static void set_address(struct webhook_url *u, int family, const void *bytes)
{
    u->is_address = true;
    if (family == AF_INET) {
        struct sockaddr_in *sa = (struct sockaddr_in *)&u->address;
        sa->sin_family = AF_INET;
        sa->sin_port = htons(u->port);
        memcpy(&sa->sin_addr, bytes, sizeof sa->sin_addr);
    } else {
        struct sockaddr_in6 *sa = (struct sockaddr_in6 *)&u->address;
        sa->sin6_family = AF_INET6;
        sa->sin6_port = htons(u->port);
        memcpy(&sa->sin6_addr, bytes, sizeof sa->sin6_addr);
    }
}

static bool label_is_valid(const char *label, size_t len)
{
    if (len == 0 || len > LABEL_CHARS_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)label[i]) && label[i] != '-' && label[i] != '_')
            return false;
    return true;
}

/* Do resolvers take a name with this last label for an IPv4 address? */
static bool label_is_number(const char *label)
{
    if (label[0] == '0' && label[1] == 'x')
        return label[2 + strspn(label + 2, "0123456789abcdef")] == '\0';
    return label[strspn(label, "0123456789")] == '\0';
}

/* u->host is in lower case. Addresses have one spelling: short, octal and hexadecimal ones
 * are read differently by different programs. */
static enum err read_name(struct webhook_url *u, struct errmsg *em)
{
    const char *label = u->host, *dot;
    bool valid = true;
    while (valid && (dot = strchr(label, '.')) != NULL) {
        valid = label_is_valid(label, (size_t)(dot - label));
        label = dot + 1;
    }
    if (!valid || !label_is_valid(label, strlen(label)))
        return err_set(em, ERR_USAGE, "has a host that is no valid name");
    struct in_addr address;
    if (!label_is_number(label))
        return ERR_OK;
    if (inet_pton(AF_INET, u->host, &address) != 1)
        return err_set(em, ERR_USAGE, "must write an IPv4 address as four decimal numbers");
    set_address(u, AF_INET, &address);
    return ERR_OK;
}

static enum err read_host(struct webhook_url *u, struct span text, struct errmsg *em)
{
    bool brackets = text.ptr[0] == '[', dot = text.ptr[text.len - 1] == '.';
    if (brackets)
        text = (struct span){text.ptr + 1, text.len - 2};
    if (text.len > HOST_CHARS_MAX + (dot ? 1 : 0))
        return err_set(em, ERR_USAGE, "has a host of more than %u characters", HOST_CHARS_MAX);
    for (size_t i = 0; i < text.len; i++)
        if (!dot || i + 1 < text.len)
            u->host[i] = (char)tolower((unsigned char)text.ptr[i]);
    struct in6_addr address;
    if (!brackets) {
        enum err rc = read_name(u, em);
        if (!rc && dot && u->is_address)
            return err_set(em, ERR_USAGE, "has a dot after its IPv4 address");
        return rc;
    }
    if (inet_pton(AF_INET6, u->host, &address) != 1)
        return err_set(em, ERR_USAGE, "has no IPv6 address between its brackets");
    set_address(u, AF_INET6, &address);
    address_write((const struct sockaddr *)&u->address, u->host); /* one spelling */
    return ERR_OK;
}

/* curl's host against ours: addresses by value, names without case and final dot. */
static bool host_is_same(const struct webhook_url *u, char *host)
{
    size_t len = strlen(host);
    struct in6_addr address;
    if (u->address.ss_family == AF_INET6) {
        if (len < 2 || host[0] != '[' || host[len - 1] != ']')
            return false;
        host[len - 1] = '\0';
        return inet_pton(AF_INET6, host + 1, &address) == 1 &&
               memcmp(&address, &((const struct sockaddr_in6 *)&u->address)->sin6_addr,
                      sizeof address) == 0;
    }
    if (len && host[len - 1] == '.')
        host[len - 1] = '\0';
    return strcasecmp(host, u->host) == 0;
}

static bool part_is_absent(CURLU *parsed, CURLUPart part)
{
    char *text = NULL;
    CURLUcode rc = curl_url_get(parsed, part, &text, 0);
    curl_free(text);
    return rc == CURLUE_NO_USER || rc == CURLUE_NO_PASSWORD || rc == CURLUE_NO_ZONEID ||
           rc == CURLUE_NO_OPTIONS;
}

static bool curl_agrees(CURLU *parsed, const struct webhook_url *u)
{
    char *scheme = NULL, *host = NULL, *port = NULL;
    bool same = !curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) &&
                !curl_url_get(parsed, CURLUPART_HOST, &host, 0) &&
                !curl_url_get(parsed, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) &&
                strcmp(scheme, u->https ? "https" : "http") == 0 && host_is_same(u, host) &&
                strtoul(port, NULL, 10) == u->port && part_is_absent(parsed, CURLUPART_USER) &&
                part_is_absent(parsed, CURLUPART_PASSWORD) &&
                part_is_absent(parsed, CURLUPART_OPTIONS) &&
                part_is_absent(parsed, CURLUPART_ZONEID);
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    return same;
}

/* curl's reading, and its spelling without the fragment as u->url. */
static enum err read_with_curl(struct webhook_url *u, const char *url, struct errmsg *em)
{
    enum err rc = ERR_NOMEM;
    char *text = NULL;
    CURLU *parsed = curl_url();
    if (!parsed)
        goto out;
    CURLUcode code = curl_url_set(parsed, CURLUPART_URL, url, 0);
    if (code == CURLUE_OUT_OF_MEMORY)
        goto out;
    if (code || !curl_agrees(parsed, u)) {
        rc = err_set(em, ERR_USAGE, "is not a valid URL");
        goto out;
    }
    if (curl_url_set(parsed, CURLUPART_FRAGMENT, NULL, 0) ||
        curl_url_get(parsed, CURLUPART_URL, &text, 0))
        goto out;
    u->url = strdup(text);
    rc = u->url ? ERR_OK : ERR_NOMEM;
out:
    curl_free(text);
    curl_url_cleanup(parsed);
    return rc == ERR_NOMEM ? err_nomem(em, strlen(url) + 1) : rc;
}

enum err webhook_url_parse(const char *url, struct webhook_url *out, struct errmsg *em)
{
    struct webhook_url u = {0};
    struct span authority, host, port;
    enum err rc = check_characters(url, em);
    if (!rc)
        rc = take_scheme(url, &u.https, &authority.ptr, em);
    if (rc)
        return rc;
    authority.len = strcspn(authority.ptr, "/?#");
    rc = split_authority(authority, &host, &port, em);
    if (!rc)
        rc = read_port(port, u.https, &u.port, em);
    if (!rc)
        rc = read_host(&u, host, em);
    if (!rc)
        rc = read_with_curl(&u, url, em);
    if (rc)
        return rc;
    bool v6 = u.address.ss_family == AF_INET6;
    snprintf(u.receiver, sizeof u.receiver, "%s://%s%s%s:%u", u.https ? "https" : "http",
             v6 ? "[" : "", u.host, v6 ? "]" : "", (unsigned)u.port);
    *out = u;
    return ERR_OK;
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), n = strlen(end);
    return len >= n && strcmp(text + len - n, end) == 0;
}

/* Names that stand for this machine or an inner network by convention (RFC 6761, 6762, 8375
 * and ICANN's .internal), whatever a resolver says of them. */
static bool name_is_inner(const char *host)
{
    static const char *const ends[] = {".localhost", ".localdomain", ".local", ".internal",
                                       ".home.arpa"};
    if (strcmp(host, "localhost") == 0 || strcmp(host, "ip6-localhost") == 0 ||
        strcmp(host, "ip6-loopback") == 0)
        return true;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (ends_with(host, ends[i]))
            return true;
    return false;
}

static enum err address_check(const struct sockaddr *sa, bool allow_private, struct errmsg *em)
{
    enum address_kind kind = address_kind_of(sa);
    char text[ADDRESS_TEXT_MAX];
    if (address_allowed(kind, allow_private))
        return ERR_OK;
    address_write(sa, text);
    return err_set(em, ERR_USAGE, "must lead to a public address: %s is %s", text,
                   address_kind_text(kind));
}

enum err webhook_url_policy(const struct webhook_url *u, bool allow_private, struct errmsg *em)
{
    if (u->is_address)
        return address_check((const struct sockaddr *)&u->address, allow_private, em);
    if (!allow_private && name_is_inner(u->host))
        return err_set(em, ERR_USAGE,
                       "must lead to a public address: %s is a name of an inner network", u->host);
    return ERR_OK;
}

enum err webhook_url_check(const char *url, bool allow_private, struct errmsg *em)
{
    struct webhook_url u = {0};
    enum err rc = webhook_url_parse(url, &u, em);
    if (!rc)
        rc = webhook_url_policy(&u, allow_private, em);
    webhook_url_deinit(&u);
    return rc;
}
