/* SPDX-License-Identifier: MIT */
/* Which addresses are public: for IPv4 all but the special-purpose registry (RFC 6890 and
 * what was added since); for IPv6 only global unicast, 2000::/3, less its special parts. */
#include <arpa/inet.h>
#include <string.h>

#include "webhooks/webhooks_impl.h"

static const struct {
    uint32_t prefix;
    unsigned bits;
    enum address_kind kind;
} special4[] = {
    {0x00000000, 8, ADDRESS_RESERVED}, /* "this network"; Linux takes 0.0.0.0 for itself */
    {0x0a000000, 8, ADDRESS_PRIVATE},
    {0x64400000, 10, ADDRESS_PRIVATE}, /* shared by carriers */
    {0x7f000000, 8, ADDRESS_LOOPBACK},
    {0xa9fe0000, 16, ADDRESS_LINK_LOCAL},
    {0xac100000, 12, ADDRESS_PRIVATE},
    {0xc0000000, 24, ADDRESS_RESERVED}, /* protocol assignments */
    {0xc0000200, 24, ADDRESS_RESERVED}, /* documentation, here and below */
    {0xc0586300, 24, ADDRESS_RESERVED}, /* 6to4 relays */
    {0xc0a80000, 16, ADDRESS_PRIVATE},
    {0xc6120000, 15, ADDRESS_RESERVED}, /* benchmarks */
    {0xc6336400, 24, ADDRESS_RESERVED},
    {0xcb007100, 24, ADDRESS_RESERVED},
    {0xe0000000, 4, ADDRESS_MULTICAST},
    {0xf0000000, 4, ADDRESS_RESERVED}, /* with broadcast */
};

/* The longest prefix first where they overlap. */
static const struct {
    uint8_t prefix[6];
    unsigned bits;
    enum address_kind kind;
} special6[] = {
    {{0xfe, 0x80}, 10, ADDRESS_LINK_LOCAL},
    {{0xfe, 0xc0}, 10, ADDRESS_PRIVATE}, /* site-local, deprecated */
    {{0xfc}, 7, ADDRESS_PRIVATE},
    {{0xff}, 8, ADDRESS_MULTICAST},
    {{0x20, 0x01, 0x0d, 0xb8}, 32, ADDRESS_RESERVED}, /* documentation */
    {{0x20, 0x01, 0x00}, 23, ADDRESS_RESERVED},       /* protocol assignments, Teredo */
    {{0x3f, 0xff, 0x00}, 20, ADDRESS_RESERVED},       /* documentation */
    {{0x20}, 3, ADDRESS_PUBLIC},
};

static enum address_kind kind_of_4(const uint8_t bytes[4])
{
    uint32_t v =
        (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
    for (size_t i = 0; i < sizeof special4 / sizeof special4[0]; i++)
        if ((v ^ special4[i].prefix) >> (32 - special4[i].bits) == 0)
            return special4[i].kind;
    return ADDRESS_PUBLIC;
}

static bool has_prefix(const uint8_t *bytes, const uint8_t *prefix, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(bytes, prefix, whole) != 0)
        return false;
    return rest == 0 || (bytes[whole] ^ prefix[whole]) >> (8 - rest) == 0;
}

/* The IPv4 address that packets to this one end at, or NULL. */
static const uint8_t *inner_4(const uint8_t bytes[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    if (memcmp(bytes, mapped, sizeof mapped) == 0 || memcmp(bytes, nat64, sizeof nat64) == 0)
        return bytes + 12;
    if (bytes[0] == 0x20 && bytes[1] == 0x02) /* 6to4 */
        return bytes + 2;
    return NULL;
}

static enum address_kind kind_of_6(const uint8_t bytes[16])
{
    static const uint8_t loopback[16] = {[15] = 1};
    const uint8_t *inner = inner_4(bytes);
    if (inner)
        return kind_of_4(inner);
    if (memcmp(bytes, loopback, sizeof loopback) == 0)
        return ADDRESS_LOOPBACK;
    for (size_t i = 0; i < sizeof special6 / sizeof special6[0]; i++)
        if (has_prefix(bytes, special6[i].prefix, special6[i].bits))
            return special6[i].kind;
    return ADDRESS_RESERVED;
}

enum address_kind address_kind_of(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return kind_of_4((const uint8_t *)&((const struct sockaddr_in *)sa)->sin_addr);
    if (sa->sa_family == AF_INET6)
        return kind_of_6(((const struct sockaddr_in6 *)sa)->sin6_addr.s6_addr);
    return ADDRESS_RESERVED;
}

const char *address_kind_text(enum address_kind kind)
{
    static const char *const texts[] = {
        [ADDRESS_PUBLIC] = "a public address",       [ADDRESS_LOOPBACK] = "a loopback address",
        [ADDRESS_PRIVATE] = "a private address",     [ADDRESS_LINK_LOCAL] = "a link-local address",
        [ADDRESS_MULTICAST] = "a multicast address", [ADDRESS_RESERVED] = "a reserved address",
    };
    return texts[kind];
}

bool address_allowed(enum address_kind kind, bool allow_private)
{
    return kind == ADDRESS_PUBLIC ||
           (allow_private && (kind == ADDRESS_LOOPBACK || kind == ADDRESS_PRIVATE));
}

void address_write(const struct sockaddr *sa, char out[ADDRESS_TEXT_MAX])
{
    const void *bytes = NULL;
    if (sa->sa_family == AF_INET)
        bytes = &((const struct sockaddr_in *)sa)->sin_addr;
    else if (sa->sa_family == AF_INET6)
        bytes = &((const struct sockaddr_in6 *)sa)->sin6_addr;
    if (!bytes || !inet_ntop(sa->sa_family, bytes, out, ADDRESS_TEXT_MAX))
        memcpy(out, "?", 2);
}
